//! The assembled gateway: workers, control and the admin port, started in one order and stopped in the reverse. It contains no
//! policy. `serve` and `demo` differ only in their settings.

mod error;
mod history;
mod on_change;
mod parts;
mod watchdog;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::access::Access;
use crate::admin::{self, AdminParts};
use crate::config::{Settings, StoreKind, check_class_limits};
use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::control::store::{LocalState, RecordStore};
use crate::control::ucs::client::UpstreamClient;
use crate::control::ucs::credentials::{SharedCredentials, UpstreamCredentials};
use crate::control::{self, Control, ControlSettings, LoadedRoutes, StopSignals};
use crate::control_handle::{ControlHandle, ReloadWhen};
use crate::faults::{self, Part};
use crate::files::{FileWatch, ReloadedFile, WatchedFiles};
use crate::gate::Gate;
use crate::hex::sha256_hex;
use crate::liveness::Liveness;
use crate::policy::table::RouteTable;
use crate::reloads::{self, Reloads};
use crate::route_file::{self, TableError};
use crate::telemetry::Metrics;
use crate::transport::{Listener, SocketLimits, listen};
pub(crate) use error::LaunchError;
use parts::Parts;
use workers::{SharedParts, Workers};

/// The timeout of the gateway's own calls to UCS.
const UPSTREAM_CALL: Duration = Duration::from_secs(10);

/// The time that a flip may take beyond its deadline: its saves, and the end of requests that are cut.
const SAVES: Duration = Duration::from_secs(30);

/// The interval of reminders that the start waits for a file.
const STILL_STARTING: Duration = Duration::from_secs(2);

/// The bound addresses, reported once the gateway is ready.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The data port.
    pub(crate) listen: SocketAddr,
    /// The admin port, as text, since it may be a unix socket.
    pub(crate) admin: String,
}

/// Runs the gateway until `stop` completes, then shuts it down gracefully; a part that ends unexpectedly is an error. Each item
/// of `reload` reads all files again.
pub(crate) async fn run(
    settings: Settings,
    ready: impl FnOnce(Ready),
    stop: impl Future<Output = ()>,
    reload: mpsc::Receiver<()>,
) -> Result<(), LaunchError> {
    let mut stop = std::pin::pin!(stop);
    let files = settings.clone();
    let loading = beside(format!("reading {}", settings.routes.display()), move || load(&files));
    let Some(loaded) = or_stopped(loading, stop.as_mut()).await else { return Ok(()) };
    let (watch, loaded) = loaded?;
    let (table, text) = loaded?;
    check_class_limits(&settings.class_limits, &table)?;
    let failed = |source| LaunchError::Listen { address: settings.listen, source };
    let data = listen(settings.listen, SocketLimits::default()).map_err(failed)?;
    let listen = data.local_addr()?;
    let failed = |source| LaunchError::AdminListen { address: settings.admin.listen.clone(), source };
    let admin_listener = Listener::bind(&settings.admin.listen, admin::SOCKET_LIMITS).map_err(failed)?;
    let admin_address =
        admin_listener.local_addr().map_or_else(|| settings.admin.listen.to_string(), |address| address.to_string());

    let gate = Gate::new(settings.workers, table);
    let (control_handle, inbox) = ControlHandle::new();
    let files = settings.clone();
    let opening = beside(format!("opening {} and its lock", settings.state_dir.display()), move || open(&files));
    let Some(opened) = or_stopped(opening, stop.as_mut()).await else { return Ok(()) };
    let opened = opened??;
    let control_settings = control_settings(&settings, opened.state_dir, opened.credentials, &text);
    // Before the first worker: a gateway that does not know its mode admits no request. The start calls UCS, which may be
    // slow. Interrupting it is like a crash: nothing was acknowledged.
    let starting = control::start(Arc::clone(&gate), inbox, control_settings);
    let Some(control) = or_stopped(starting, stop.as_mut()).await else { return Ok(()) };
    let control = control?;
    let (stop_sender, stopping) = watch::channel(false);
    let metrics = Metrics::new(settings.workers, control.stats());
    let watched = watch.map(FileWatch::start).transpose()?;
    let on_change = on_change::run(settings.on_change.clone(), Arc::clone(&gate), Arc::clone(&metrics));
    let reloads = Arc::new(Reloads::new(control_handle.clone(), opened.reloaded));
    let shared =
        SharedParts { gate, control_handle, access: opened.access, reloads: Arc::clone(&reloads), metrics, stopping };
    let mut running = Running::start(&settings, shared, stop_sender, control, (data, admin_listener))?;
    ready(Ready { listen, admin: admin_address });
    tokio::select! {
        () = stop.as_mut() => {}
        error = running.parts.one_ended() => return Err(error),
        () = reload_forever(&reloads, reload, watched) => {}
        () = on_change => {}
    }
    running.shut_down(settings.stop_timeout).await
}

/// The route table, and the watch over the files, which must not miss a change that comes after they were read.
fn load(settings: &Settings) -> (Option<FileWatch>, Result<(RouteTable, String), TableError>) {
    let watched = watched_files(settings);
    let watch = (!watched.is_empty()).then(|| FileWatch::new(watched));
    (watch, route_file::load(&settings.routes))
}

/// The files whose change is a reload, by the names of `Reloads`.
fn watched_files(settings: &Settings) -> Vec<WatchedFiles> {
    let (access, credentials) = (settings.access.as_ref(), settings.upstream.credentials.as_ref());
    let files = [(reloads::ROUTES, Some(&settings.routes)), ("access", access), ("upstream_credentials", credentials)];
    let files = files.into_iter().filter(|_| settings.watch_files);
    files.filter_map(|(name, path)| Some(WatchedFiles { name, paths: vec![path?.clone()] })).collect()
}

/// What the start reads and locks.
struct Opened {
    state_dir: LocalDir,
    access: Arc<Access>,
    credentials: Option<SharedCredentials>,
    /// What a reload reads again, beside the route table.
    reloaded: Vec<Arc<ReloadedFile>>,
}

/// The state directory first: it is the lock. Access before control: an invalid access.yaml must not affect UCS or the record.
fn open(settings: &Settings) -> Result<Opened, LaunchError> {
    let state_dir = LocalDir::open(&settings.state_dir)?;
    let access = match &settings.access {
        Some(path) => Access::from_yaml_file(path)?,
        None => Access::from_token_file(&settings.state_dir)?,
    };
    let credentials = settings.upstream.credentials.as_deref().map(UpstreamCredentials::reloaded).transpose()?;
    let (credentials, credentials_file) = credentials.unzip();
    let reloaded = access.reloaded_file().into_iter().chain(credentials_file).collect();
    Ok(Opened { state_dir, access: Arc::new(access), credentials, reloaded })
}

/// Runs `work` on a thread of its own: a file or a lock may hang for as long as its file system does. The log says so.
async fn beside<T: Send + 'static>(
    what: String,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    let mut working = tokio::task::spawn_blocking(work);
    loop {
        tokio::select! {
            done = &mut working => return done.map_err(std::io::Error::other),
            () = tokio::time::sleep(STILL_STARTING) => tracing::warn!("still {what}: a file system, a lock or a large table takes its time"),
        }
    }
}

/// The result, or `None` if the gateway was stopped before.
async fn or_stopped<T>(work: impl Future<Output = T>, stop: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = stop => {
            tracing::info!("shut down before the gateway was ready");
            None
        }
    }
}

/// The running gateway, and the senders that stop its parts.
struct Running {
    parts: Parts,
    stop_workers: watch::Sender<bool>,
    stop_control: watch::Sender<bool>,
    stop_admin: oneshot::Sender<()>,
}

impl Running {
    fn start(
        settings: &Settings,
        shared: SharedParts,
        stop_workers: watch::Sender<bool>,
        control: Control,
        (data, admin): (std::net::TcpListener, Listener),
    ) -> Result<Running, LaunchError> {
        let (stop_control, control_stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = oneshot::channel::<()>();
        let workers = Workers::start(settings, &shared, data)?;
        let controlling = run_control(control, shared.stopping.clone(), control_stopped);
        let control = tokio::task::spawn_local(faults::with(Part::Control, (), controlling));
        let (liveness, questions) =
            Liveness::new(shared.control_handle.clone(), Arc::clone(&shared.metrics), shared.stopping.clone());
        tokio::task::spawn_local(watchdog::feed(liveness.clone()));
        let stopped = async move { drop(admin_stopped.await) };
        let serving = admin::serve(admin, admin_parts(settings, shared, liveness), questions, stopped);
        let admin = tokio::task::spawn_local(faults::with(Part::Admin, (), serving));
        Ok(Running { parts: Parts { control, admin, workers }, stop_workers, stop_control, stop_admin })
    }

    async fn shut_down(mut self, stop_timeout: Duration) -> Result<(), LaunchError> {
        tracing::info!("shutting down: no longer accepting connections, waiting for requests in flight");
        self.stop_workers.send_replace(true);
        // Control has begun to stop too: it takes back a flip in progress. It ends after the requests.
        self.parts.workers_stopped(stop_timeout).await?;
        self.stop_control.send_replace(true);
        parts::stopped("control", self.parts.control).await?;
        // Last, so that a client that waits for a flip receives its result, and event streams end properly.
        drop(self.stop_admin);
        parts::stopped("the admin port", self.parts.admin).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn admin_parts(settings: &Settings, shared: SharedParts, liveness: Liveness) -> AdminParts {
    AdminParts {
        liveness,
        gate: shared.gate,
        control_handle: shared.control_handle,
        access: Arc::new(shared.access.for_another_port()),
        reloads: shared.reloads,
        journal: journal_reader(settings),
        metrics: shared.metrics,
        metrics_open: settings.admin.metrics_open,
        allowed_hosts: settings.admin.allowed_hosts.clone(),
        drain_timeout: settings.drain_timeout,
        flip_slack: settings.orphan_grace + settings.upstream.set_mode_timeout + SAVES,
        stopping: shared.stopping,
    }
}

/// Runs beside the watch over the parts, which must not wait for a reload.
async fn reload_forever(
    reloads: &Reloads,
    mut requested: mpsc::Receiver<()>,
    watched: Option<mpsc::UnboundedReceiver<&'static str>>,
) {
    let mut watched = watched.unwrap_or_else(|| mpsc::unbounded_channel().1);
    loop {
        // The outcomes are in the log.
        tokio::select! {
            Some(()) = requested.recv() => drop(reloads.reload_all(ReloadWhen::AfterFlip).await),
            Some(name) = watched.recv() => reloads.reload_one(name).await,
            else => std::future::pending().await,
        }
    }
}

fn journal_reader(settings: &Settings) -> Arc<admin::JournalReader> {
    let dir = settings.state_dir.clone();
    Arc::new(move |limit| history::read(&dir, limit))
}

async fn run_control(control: Control, stopping: watch::Receiver<bool>, stopped: watch::Receiver<bool>) {
    let raised = |mut flag: watch::Receiver<bool>| async move { drop(flag.wait_for(|raised| *raised).await) };
    control.run(StopSignals::new(raised(stopping), raised(stopped))).await;
}

fn control_settings(
    settings: &Settings,
    state_dir: LocalDir,
    credentials: Option<SharedCredentials>,
    text: &str,
) -> ControlSettings {
    let upstream = &settings.upstream;
    let (routes, class_limits) = (settings.routes.clone(), settings.class_limits.clone());
    let load = move || {
        let (table, text) = route_file::load(&routes).map_err(|error| error.to_string())?;
        check_class_limits(&class_limits, &table).map_err(|error| error.to_string())?;
        Ok(LoadedRoutes { table, fingerprint: sha256_hex(&text) })
    };
    ControlSettings {
        store: match settings.store {
            StoreKind::File => RecordStore::file(RecordFile::in_dir(&state_dir)),
        },
        local: LocalState::new(state_dir),
        initial_mode: settings.initial_mode,
        drain_timeout: settings.drain_timeout,
        orphan_grace: settings.orphan_grace,
        upstream: UpstreamClient {
            url: settings.proxy.upstream.clone(),
            credentials,
            connect_timeout: settings.proxy.pool.connect_timeout,
            total_timeout: UPSTREAM_CALL,
        },
        upstream_mode: upstream.mode,
        upstream_poll_interval: upstream.poll_interval,
        set_mode_timeout: upstream.set_mode_timeout,
        schema_probe_path: upstream.schema_probe.clone(),
        schema_probe_interval: upstream.schema_probe_interval,
        load_routes: Arc::new(load),
        routes_fingerprint: Some(sha256_hex(text)),
    }
}
