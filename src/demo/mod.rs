//! A stand-in UCS: a small HTTP/1.1 server that behaves as the public documentation of UCS 8.1 Context Services says.
//! The `demo` command and the tests put it where a UCS would be. It is the only part of the crate that pretends: it
//! keeps everything in memory, knows nothing of the gateway, and proves nothing about a real UCS where the
//! documentation is silent. Such guesses say so where they are made.
//!
//! Reading order: `server` (connections and the course of one request), `operations` (which request is which
//! operation), `mode_switch` (its own Server Mode), then one file a family: `profiles`, `services`, `metadata`,
//! `interactions`. `store` holds the data, `control` the switches, `record` what was asked, `response` what is answered.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::policy::mode::Mode;

mod control;
mod interactions;
mod metadata;
mod mode_switch;
mod operations;
mod profiles;
mod record;
mod response;
mod seed;
mod server;
mod services;
mod store;

pub use control::{CONTROL_PATH, Control};
pub use record::Exchange;
pub use seed::{EXAMPLES, Example, seed};

use record::Recorder;
use store::Store;

/// How a stand-in starts. Everything but `base_path` and `record` can be changed later through [`Control`].
#[derive(Clone, Debug)]
pub struct StandInOptions {
    /// UCS's option `cview/base_url`: the prefix of every path, without a trailing slash; empty for none.
    pub base_path: String,
    /// Whether Set Server Mode and Query Server Status exist. Without them there is no mode and nothing is refused.
    pub has_mode_api: bool,
    /// Whether a profile schema is defined.
    pub profile_schema: bool,
    /// Whether `GET /metadata/profiles` exists. Its path is documented only by analogy; without it the answer is 404.
    pub schema_path_known: bool,
    /// Whether a missing profile schema is told as 200 and `[]`. Otherwise it is 404.
    pub empty_schema_list: bool,
    /// Name and password that Basic authentication must bring; none means that nobody is asked.
    pub login: Option<(String, String)>,
    /// The mode at the start and after [`Control::restart`].
    pub initial_mode: Mode,
    /// How long every request takes at least.
    pub delay: Duration,
    /// Whether every exchange is kept for [`StandIn::record`].
    pub record: bool,
}

impl StandInOptions {
    /// The everyday values: no base path, a mode API, production, a profile schema on the known path, no login, no
    /// delay, no record.
    pub fn new() -> StandInOptions {
        StandInOptions {
            base_path: String::new(),
            has_mode_api: true,
            profile_schema: true,
            schema_path_known: true,
            empty_schema_list: false,
            login: None,
            initial_mode: Mode::Production,
            delay: Duration::ZERO,
            record: false,
        }
    }
}

impl Default for StandInOptions {
    fn default() -> Self {
        StandInOptions::new()
    }
}

/// A running stand-in. It ends, with every connection and unfinished request, when it is dropped or stopped.
pub struct StandIn {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    alive: watch::Sender<()>,
    serving: JoinHandle<()>,
}

/// What every connection sees.
struct Shared {
    base_path: String,
    /// `http://address/base`: UCS puts its own address into some answers.
    base_uri: String,
    control: Control,
    recorder: Arc<Recorder>,
    store: Mutex<Store>,
}

impl StandIn {
    /// Serves on `listener`, on the current runtime.
    ///
    /// # Errors
    /// When the listener cannot say its own address.
    pub async fn start(listener: TcpListener, options: StandInOptions) -> io::Result<StandIn> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            base_uri: format!("http://{address}{}", options.base_path),
            base_path: options.base_path.clone(),
            recorder: Arc::new(Recorder::new(options.record)),
            store: Mutex::new(Store::new()),
            control: Control::new(options),
        });
        let (alive, ended) = watch::channel(());
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&shared), ended));
        Ok(StandIn { address, shared, alive, serving })
    }

    /// The switches.
    pub fn control(&self) -> &Control {
        &self.shared.control
    }

    /// Every exchange so far in the order of arrival, when `options.record` is set. Requests to [`CONTROL_PATH`] are
    /// not among them.
    pub fn record(&self) -> Vec<Exchange> {
        self.shared.recorder.exchanges()
    }

    /// How many exchanges have begun and not ended, whether recorded or not.
    pub fn in_flight(&self) -> usize {
        self.shared.recorder.in_flight()
    }

    /// Waits until exactly `count` exchanges are in flight. The caller sets the deadline.
    pub async fn in_flight_reaches(&self, count: usize) {
        self.shared.recorder.in_flight_reaches(count).await;
    }

    /// Stops as a killed process would: connections are cut, what is unfinished stays so. Returns once the port is
    /// free.
    pub async fn stop(self) {
        drop(self.alive);
        // A join error would mean that serving panicked or was aborted; either way it no longer runs.
        let _ = self.serving.await;
    }
}
