//! The stand-in UCS for tests that do not know of async: it runs on a thread of its own, and its waits have deadlines.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use ucs_gateway::demo::{Control, Exchange, StandIn, StandInOptions};

use super::PATIENCE;

/// A running stand-in. It ends when it is dropped, as a killed process would.
pub struct Ucs {
    pub address: SocketAddr,
    stand_in: Option<StandIn>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ucs {
    /// On a free port. Everything is recorded, whatever the options say.
    pub fn start(options: StandInOptions) -> Ucs {
        Ucs::start_at(([127, 0, 0, 1], 0).into(), options)
    }

    /// The everyday one.
    pub fn usual() -> Ucs {
        Ucs::start(StandInOptions::new())
    }

    /// On a port that is known already: for a UCS that comes back.
    pub fn start_at(address: SocketAddr, mut options: StandInOptions) -> Ucs {
        options.record = true;
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (sender, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                sender.send((StandIn::start(listener, options).await.unwrap(), Handle::current())).unwrap();
                let _ = stopped.await;
            });
        });
        let (stand_in, runtime) = started.recv_timeout(PATIENCE).expect("the stand-in starts");
        Ucs { address: stand_in.address, stand_in: Some(stand_in), runtime, stop: Some(stop), thread: Some(thread) }
    }

    /// The switches.
    pub fn control(&self) -> &Control {
        self.stand_in().control()
    }

    /// All that it was asked, the gateway's own calls included.
    pub fn record(&self) -> Vec<Exchange> {
        self.stand_in().record()
    }

    /// What it was asked with this method and target.
    pub fn asked(&self, method: &str, target: &str) -> Vec<Exchange> {
        self.record().into_iter().filter(|exchange| exchange.method == method && exchange.path == target).collect()
    }

    pub fn in_flight(&self) -> usize {
        self.stand_in().in_flight()
    }

    /// Waits until exactly so many exchanges are in flight.
    #[track_caller]
    pub fn in_flight_reaches(&self, count: usize) {
        let stand_in = self.stand_in();
        let reached =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, stand_in.in_flight_reaches(count)).await });
        assert!(reached.is_ok(), "{} in flight at UCS, never {count}", stand_in.in_flight());
    }

    fn stand_in(&self) -> &StandIn {
        self.stand_in.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Ucs {
    fn drop(&mut self) {
        if let Some(stand_in) = self.stand_in.take() {
            // Returns when the port is free, so that another one may take it.
            self.runtime.block_on(stand_in.stop());
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An exchange of which only the times matter, for judges of records.
pub fn timed_exchange(method: &str, path: &str, started: Instant, ended: Option<Instant>) -> Exchange {
    Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Default::default(),
        started,
        start_sequence: 0,
        ended,
        end_sequence: None,
        status: None,
        body_bytes: 0,
    }
}
