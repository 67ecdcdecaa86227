//! A running stand-in as its owner sees it: start, settings, record, stop.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::control::Control;
use super::options::StandInOptions;
use super::record::{Exchange, Recorder};
use super::server::{Shared, serve};
use super::store::Store;
use crate::transport::TcpListener;

/// A running stand-in. It ends, with every connection and unfinished request, when it is dropped or stopped.
pub struct StandIn {
    /// Its listening address.
    pub address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    alive: watch::Sender<()>,
    serving: JoinHandle<()>,
}

impl StandIn {
    /// Serves on `listener`, on the current runtime.
    ///
    /// # Errors
    /// When the address of the listener cannot be read.
    pub async fn start(listener: TcpListener, options: StandInOptions) -> io::Result<StandIn> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            base_uri: format!("http://{address}{}", options.base_path),
            recorder: Arc::new(Recorder::new(options.record)),
            store: Mutex::new(Store::new()),
            control: Control::new(options),
        });
        let (alive, ended) = watch::channel(());
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared), ended));
        Ok(StandIn { address, shared, alive, serving })
    }

    /// The settings that can be changed while it runs.
    pub fn control(&self) -> &Control {
        &self.shared.control
    }

    /// Every exchange so far in the order of arrival, if `options.record` is set; requests to the settings are not
    /// included.
    pub fn record(&self) -> Vec<Exchange> {
        self.shared.recorder.exchanges()
    }

    /// The number of exchanges under way, recorded or not.
    pub fn in_flight(&self) -> usize {
        self.shared.recorder.in_flight()
    }

    /// Waits until exactly `count` exchanges are in flight. The caller sets the deadline.
    pub async fn in_flight_reaches(&self, count: usize) {
        self.shared.recorder.in_flight_reaches(count).await;
    }

    /// Stops as a killed process would: connections are cut, unfinished work stays unfinished. Returns once the port
    /// is free.
    pub async fn stop(self) {
        drop(self.alive);
        // A join error would mean that serving panicked or was aborted; either way it no longer runs.
        let _ = self.serving.await;
    }
}
