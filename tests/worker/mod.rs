//! One worker that runs on a test's own thread, with the shipped table in production mode: for what cannot be seen from
//! outside. Everything else is tested through the front door, in `tests/it`.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use ucs_gateway::access::Access;
use ucs_gateway::config::{ServeArgs, Settings};
use ucs_gateway::control_handle::ControlHandle;
use ucs_gateway::gate::{Gate, Published};
use ucs_gateway::policy::mode::{Mode, ModeRecord};
use ucs_gateway::policy::routes_yaml;
use ucs_gateway::proxy::class_limits::ClassLimits;
use ucs_gateway::proxy::recorder::RequestRecorder;
use ucs_gateway::proxy::worker::{self, ListeningSocket, Shared, SocketOrigin, Stop, Worker};
use ucs_gateway::telemetry::{ControlStats, Metrics};

/// The time that a stopped worker has for its last requests.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
}

/// A worker that does not run yet; clients may connect already.
pub struct Stand {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends it.
    pub stop: watch::Sender<Stop>,
    /// Its gate, and what it counts.
    pub gate: Arc<Gate>,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    listener: TcpListener,
    arguments: Arguments,
    stopped: watch::Receiver<Stop>,
    state_dir: PathBuf,
}

impl Stand {
    /// One before the upstream with this URL.
    pub fn new(upstream: &str) -> Stand {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let line = ["test", "--upstream", upstream, "--upstream-mode", "off", "--schema-probe", "off"];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml")).unwrap();
        let gate = Gate::new(1, routes_yaml::parse(&table, "routes.yaml").unwrap());
        let record = ModeRecord::first(Mode::Production, 1, "test", Timestamp::now());
        gate.publish(Published::of(record));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let state_dir = std::env::temp_dir().join(format!("ucs-gateway-worker-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&state_dir).unwrap();
        let (stop, stopped) = watch::channel(Stop::None);
        let metrics = Metrics::new(1, Arc::new(ControlStats::default()));
        let address = listener.local_addr().unwrap();
        Stand { address, stop, gate, metrics, listener, arguments: Arguments::parse_from(line), stopped, state_dir }
    }

    /// Runs it until it is stopped, with another task on the same thread.
    pub fn run(self, beside: impl Future<Output = ()> + 'static) {
        let settings = Settings::new(self.arguments.serve).unwrap().proxy;
        let (control_handle, _inbox) = ControlHandle::new();
        let (sender, handover) = mpsc::unbounded_channel();
        let shared = Shared {
            class_limits: Arc::new(ClassLimits::new(&[])),
            control_handle,
            access: Arc::new(Access::from_token_file(&self.state_dir).unwrap()),
            metrics: Arc::clone(&self.metrics),
            loads: [AtomicUsize::new(0)].into(),
            handovers: [sender].into(),
            stop: self.stopped,
            origin: SocketOrigin::Own,
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
        runtime.block_on(async {
            tokio::task::spawn_local(beside);
            let recorder = RequestRecorder::of(&self.metrics, 0);
            let worker = Worker::new(0, self.gate.worker_gate(0), &settings, &shared, recorder);
            worker::run(worker, ListeningSocket::Tcp(self.listener), handover, Rc::new(settings), shared)
                .await
                .unwrap();
        });
        std::fs::remove_dir_all(&self.state_dir).unwrap();
    }
}
