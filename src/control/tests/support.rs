//! A folder of its own for each test, a running control in it, and a scripted UCS.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::control::store::{LocalState, RecordStore, StoreError};
use crate::control::ucs::client::UpstreamClient;
use crate::control::{
    Control, ControlSettings, InitialMode, LoadedRoutes, RecordPlace, StopSignals, UpstreamModeUse, start,
};
use crate::control_handle::{ChangeError, ControlHandle, Flipped};
use crate::gate::{Gate, Permit, Published, Refused, WorkerGate};
use crate::policy::mode::{Actor, ActorKind, Mode, ModeChange, ModeRecord, ModeSet, Phase};
use crate::policy::table::{Class, Pattern, Route, RouteMethod, RouteTable, RouteTableParts, Unmatched};
use crate::transport::UpstreamUrl;

/// A folder that is removed with this value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ucs-gateway-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Longer than anything in a test takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub const CREATE_PROFILE: u32 = 0;
pub const WRITE_SCHEMA: u32 = 1;
pub const STATUS: u32 = 2;

/// Three routes, one of each set.
pub fn table() -> RouteTable {
    let class = |name: &str, modes| Class { name: name.into(), modes };
    let route = |operation: &str, class, modes, needs_profile_schema| Route {
        operation: operation.into(),
        id: None,
        method: RouteMethod::Any,
        pattern: Pattern::Template(format!("/{operation}").into()),
        class,
        modes,
        answer: None,
        needs_profile_schema,
        line: 1,
    };
    RouteTable::compile(RouteTableParts {
        base_path: "/cv".into(),
        classes: vec![
            class("profile", ModeSet::Production),
            class("schema", ModeSet::Maintenance),
            class("server", ModeSet::Both),
        ],
        routes: vec![
            route("create-profile", 0, ModeSet::Production, true),
            route("write-schema", 1, ModeSet::Maintenance, false),
            route("status", 2, ModeSet::Both, false),
        ],
        unmatched: Unmatched::NotFound,
        answers: Vec::new(),
    })
    .unwrap()
}

pub fn change_to(mode: Mode) -> ModeChange {
    ModeChange::to(mode, Actor::new(ActorKind::Operator, "ann"))
}

/// A running control with one worker's gate.
pub struct Line {
    pub gate: Arc<Gate>,
    pub control_handle: ControlHandle,
    pub worker: WorkerGate,
    stop: Option<watch::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

/// Settings without calls to UCS and with short waits.
pub fn settings(folder: &Folder) -> ControlSettings {
    let dir = opened(folder);
    // No server listens on the discard port; tests with a UCS put their own client here.
    let upstream = client(9);
    ControlSettings {
        store: RecordPlace::Alone(RecordStore::file(RecordFile::in_dir(&dir))),
        local: LocalState::new(dir),
        initial_mode: InitialMode::Auto,
        drain_timeout: PATIENCE,
        orphan_grace: Duration::from_millis(1),
        upstream,
        upstream_mode: UpstreamModeUse::Off,
        upstream_poll_interval: Duration::from_millis(20),
        set_mode_timeout: Duration::from_secs(1),
        schema_probe_path: None,
        schema_probe_interval: Duration::from_millis(20),
        load_routes: Arc::new(|| Ok(LoadedRoutes { table: table(), fingerprint: "new".to_owned() })),
        routes_fingerprint: Some("old".to_owned()),
    }
}

/// The state directory. A control that was crashed may have left a write on its thread, which holds the lock until it has
/// ended; a killed process would not.
fn opened(folder: &Folder) -> LocalDir {
    let until = Instant::now() + PATIENCE;
    loop {
        match LocalDir::open(folder.path()) {
            Err(StoreError::InUse(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            opened => return opened.unwrap(),
        }
    }
}

pub fn client(port: u16) -> UpstreamClient {
    UpstreamClient {
        upstream: UpstreamUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap().into(),
        credentials: None,
        connect_timeout: PATIENCE,
        total_timeout: PATIENCE,
    }
}

impl Line {
    pub async fn begin(settings: ControlSettings) -> Line {
        let gate = Gate::new(1, table());
        let (control_handle, inbox) = ControlHandle::new();
        let worker = gate.worker_gate(0);
        let control: Control = start(Arc::clone(&gate), inbox, settings).await.unwrap();
        let (stop, stopped) = watch::channel(());
        let signal = |mut stopped: watch::Receiver<()>| async move { drop(stopped.changed().await) };
        let signals = StopSignals::new(signal(stopped.clone()), signal(stopped));
        let task = tokio::spawn(control.run(signals));
        Line { gate, control_handle, worker, stop: Some(stop), task }
    }

    /// A control in production (or the mode that the folder holds) with default test settings.
    pub async fn simple(folder: &Folder) -> Line {
        Line::begin(settings(folder)).await
    }

    pub fn enter(&self, route: u32) -> Result<Permit, Refused> {
        self.worker.enter(&self.worker.table(), Some(route))
    }

    pub fn record(&self) -> Arc<ModeRecord> {
        self.gate.published().record.clone().unwrap()
    }

    /// Requests a change without waiting for its result.
    pub fn ask(&self, change: ModeChange) -> tokio::task::JoinHandle<Result<Flipped, ChangeError>> {
        let control_handle = self.control_handle.clone();
        tokio::spawn(async move { control_handle.set_mode(change).await })
    }

    pub async fn set(&self, mode: Mode) -> Result<Flipped, ChangeError> {
        within(self.control_handle.set_mode(change_to(mode))).await
    }

    pub async fn until(&self, condition: impl Fn(&Published) -> bool) -> Arc<Published> {
        let mut watch = self.gate.watch();
        within(watch.wait_for(|published| condition(published))).await.unwrap().clone()
    }

    pub async fn until_phase(&self, phase: Phase) -> Arc<ModeRecord> {
        let published = self.until(|published| published.record.as_ref().unwrap().phase == phase).await;
        published.record.clone().unwrap()
    }

    pub async fn until_mode(&self, mode: Mode) -> Arc<ModeRecord> {
        let there = |published: &Published| {
            let record = published.record.as_ref().unwrap();
            record.phase == Phase::Settled && record.mode == mode
        };
        self.until(there).await.record.clone().unwrap()
    }

    /// An orderly stop; the state directory is free afterwards.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        within(&mut self.task).await.unwrap();
    }

    /// As if the process had been killed.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// The behaviour of the scripted UCS.
#[derive(Debug)]
pub struct Script {
    /// The mode that its status reports; `None`: it has no status.
    pub mode: Option<Mode>,
    pub started: &'static str,
    /// The status of its response to Set Server Mode. 200 changes the mode, others do not.
    pub set_mode_status: u16,
    /// It receives Set Server Mode and never responds.
    pub hangs: bool,
    /// It changes its mode and still responds with `set_mode_status`.
    pub obeys_anyway: bool,
    /// The response to the probe.
    pub schema: (u16, &'static str),
    /// The body of every received Set Server Mode.
    pub requested: Vec<String>,
    /// The Authorization of the last call.
    pub authorization: Option<String>,
    /// Its status is 503, as while it is switching.
    pub status_is_busy: bool,
    /// The number of status requests.
    pub status_reads: u64,
}

/// Stands for a response that is never sent.
const NEVER: u16 = 0;

#[derive(Clone)]
pub struct Ucs {
    pub port: u16,
    script: Arc<Mutex<Script>>,
}

impl Ucs {
    pub async fn begin(mode: Option<Mode>) -> Ucs {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = Script {
            mode,
            started: "monday",
            set_mode_status: 200,
            hangs: false,
            obeys_anyway: false,
            schema: (200, "[{\"name\":\"LastName\"}]"),
            requested: Vec::new(),
            authorization: None,
            status_is_busy: false,
            status_reads: 0,
        };
        let ucs = Ucs { port: listener.local_addr().unwrap().port(), script: Arc::new(Mutex::new(script)) };
        tokio::spawn(ucs.clone().serve(listener));
        ucs
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.script.lock().unwrap())
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let ucs = self.clone();
            let service = hyper::service::service_fn(move |request| ucs.clone().answer(request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(self, request: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
        let (status, body) = self.with(|script| {
            script.authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            match (head.method.as_str(), head.uri.path()) {
                ("GET", "/cv/server/status") => script.status(),
                ("POST", "/cv/server/mode") => script.set_mode(body),
                ("GET", "/cv/metadata/profiles") => (script.schema.0, script.schema.1.to_owned()),
                ("GET", "/cv/metadata/identification-keys") => (200, "[]".to_owned()),
                _ => (404, String::new()),
            }
        });
        if status == NEVER {
            return std::future::pending().await;
        }
        Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
    }
}

impl Script {
    fn status(&mut self) -> (u16, String) {
        self.status_reads += 1;
        if self.status_is_busy {
            return (503, String::new());
        }
        let started = self.started;
        self.mode
            .map_or((404, String::new()), |mode| (200, format!("{{\"mode\":\"{mode}\",\"started\":\"{started}\"}}")))
    }

    fn set_mode(&mut self, body: String) -> (u16, String) {
        let mode = if body.contains("production") { Mode::Production } else { Mode::Maintenance };
        if self.set_mode_status == 200 || self.obeys_anyway {
            self.mode = Some(mode);
        }
        self.requested.push(body);
        if self.hangs {
            return (NEVER, String::new());
        }
        (self.set_mode_status, String::new())
    }
}

/// Waits until the scripted UCS has seen something.
pub async fn until_ucs(ucs: &Ucs, condition: impl Fn(&mut Script) -> bool) {
    let seen = async {
        while !ucs.with(|script| condition(script)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(seen).await;
}
