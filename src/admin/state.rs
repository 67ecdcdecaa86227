//! The state that all calls of the admin plane share, and that of one connection. It does nothing by itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::connection_limits::Place;
use super::rates::Rates;
use crate::access::{Access, Peer};
use crate::control_handle::ControlHandle;
use crate::gate::Gate;
use crate::telemetry::Metrics;

/// Reads the newest journal entries, newest first; blocking.
pub(crate) type JournalReader = dyn Fn(usize) -> Vec<serde_json::Value> + Send + Sync;

/// What the admin plane works with.
pub(crate) struct AdminParts {
    /// The record, the table, the counts.
    pub(crate) gate: Arc<Gate>,
    /// Where changes are asked for.
    pub(crate) control_handle: ControlHandle,
    /// Who may.
    pub(crate) access: Arc<Access>,
    /// `GET /mode/history`.
    pub(crate) journal: Arc<JournalReader>,
    /// `GET /metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether `GET /metrics` wants no credential.
    pub(crate) metrics_open: bool,
    /// Host names by which the admin plane may be called, beside `localhost`, loopback addresses and its own address.
    pub(crate) allowed_hosts: Vec<String>,
    /// The gateway's default drain timeout: how long a caller of `PUT /mode` waits at most follows from it.
    pub(crate) drain_timeout: Duration,
    /// True once the gateway is shutting down: `/readyz` says so while the data plane still drains.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// What all calls share.
pub(super) struct AdminState {
    pub(super) parts: AdminParts,
    pub(super) rates: Rates,
    /// True once connections are to end: event streams end at it.
    pub(super) closing: watch::Receiver<bool>,
}

/// Where a connection came from and arrived, and its place.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) peer: Peer,
    /// The address that the client connected to; none over a unix socket.
    pub(super) local: Option<IpAddr>,
    pub(super) place: Arc<Place>,
}

/// Waits for a flag, or for the end of whoever could raise it.
pub(super) async fn becomes_true(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
