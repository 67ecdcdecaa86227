//! The state that all admin calls share, and the state of one connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinError;

use super::connection_limits::ConnectionSlot;
use super::rates::Rates;
use super::traffic::Traffic;
use super::work_in_a_row::WorkInARow;
use crate::access::Access;
use crate::control_handle::ControlHandle;
use crate::fleet_view::{FleetView, RehearsalView};
use crate::gate::Gate;
use crate::liveness::Liveness;
use crate::policy::mode::ModeChange;
use crate::reloads::Reloads;
use crate::telemetry::Metrics;
use crate::transport::{ClientCertificate, Peer, TlsServer};

/// Reads the newest journal entries, newest first, or says why it cannot; blocking.
pub(crate) type JournalReader = dyn Fn(usize) -> Result<Vec<serde_json::Value>, String> + Send + Sync;

/// The way to the fleet's store, for the admin port.
#[derive(Clone, Debug)]
pub(crate) struct FleetReader {
    /// The fleet at control's last read; `None` before the first.
    pub(crate) latest: watch::Receiver<Option<Arc<FleetView>>>,
    /// Asks for a read of now. Without the store, the reply is the last known fleet, and says so.
    pub(crate) read: mpsc::Sender<oneshot::Sender<Option<Arc<FleetView>>>>,
    /// Asks for a rehearsal of a change with a drain timeout; one after the other. The reply is `None` without the store.
    pub(crate) rehearse: mpsc::Sender<(ModeChange, oneshot::Sender<Option<RehearsalView>>)>,
}

/// The parts of the gateway that the admin API works with.
pub(crate) struct AdminParts {
    pub(crate) gate: Arc<Gate>,
    pub(crate) control_handle: ControlHandle,
    pub(crate) access: Arc<Access>,
    pub(crate) reloads: Arc<Reloads>,
    /// `GET /livez`.
    pub(crate) liveness: Liveness,
    /// `GET /mode/history`.
    pub(crate) journal: Arc<JournalReader>,
    /// `GET /fleet`; `None` for a gateway alone.
    pub(crate) fleet: Option<FleetReader>,
    /// `GET /metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether `GET /metrics` requires no credential.
    pub(crate) metrics_open: bool,
    /// Accepted host names, beside `localhost`, loopback addresses and the own address.
    pub(crate) allowed_hosts: Vec<String>,
    /// The default drain timeout, which bounds the wait of `PUT /mode`.
    pub(crate) drain_timeout: Duration,
    /// The time that a flip may take beyond its drain timeout.
    pub(crate) flip_slack: Duration,
    pub(crate) tls: Option<Arc<TlsServer>>,
    /// True once the gateway is shutting down: `/readyz` reports it while requests in flight complete.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// The state that all calls share.
pub(super) struct AdminState {
    pub(super) parts: AdminParts,
    pub(super) rates: Rates,
    pub(super) traffic: Traffic,
    pub(super) work: WorkInARow,
    /// Held while the document of `GET /routes` is made.
    pub(super) table_turn: Turn,
    /// Held while the journal is read.
    pub(super) journal_turn: Turn,
    /// True once connections are to be closed; ends event streams.
    pub(super) closing: watch::Receiver<bool>,
}

/// The two ends of a connection, and its slot.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) peer: Peer,
    /// The address that the client connected to; none over a unix socket.
    pub(super) local: Option<IpAddr>,
    pub(super) slot: Arc<ConnectionSlot>,
    /// The client's certificate, if it has shown one.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// Long work, one at a time: its threads are those that save the mode, and a save must not queue behind a crowd of readers.
#[derive(Default)]
pub(super) struct Turn(Arc<Mutex<()>>);

impl Turn {
    /// Does the work on a thread of its own. The turn lasts until it is done, even if its client has left.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        let done = tokio::task::spawn_blocking(move || (work(), turn)).await;
        done.map(|(result, _turn)| result)
    }
}

/// Waits until a flag is true, or until its sender is dropped.
pub(super) async fn becomes_true(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
