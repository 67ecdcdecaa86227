//! The assembled gateway: workers, control and the admin port, started in one order and stopped in the reverse. It contains no
//! policy. `serve` and `demo` differ only in their settings.

mod error;
mod file_watch;
mod history;
mod on_change;
mod parts;
mod workers;

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::access::{Access, trimmed};
use crate::admin::{self, AdminParts};
use crate::config::{Settings, SettingsError, StoreKind, check_class_limits};
use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::control::store::{LocalState, RecordStore};
use crate::control::ucs::client::{UpstreamClient, UpstreamCredentials};
use crate::control::{self, Control, ControlSettings, LoadedRoutes, StopSignals};
use crate::control_handle::{ControlHandle, ReloadWhen};
use crate::gate::Gate;
use crate::hex::sha256_hex;
use crate::policy::table::RouteTable;
use crate::route_file::{self, TableError};
use crate::telemetry::Metrics;
use crate::transport::{Listener, SocketLimits, listen};
pub(crate) use error::LaunchError;
use file_watch::FileWatch;
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
/// of `reload` reloads the route table and access.yaml.
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
    let (state_dir, access, credentials) = opened??;
    let control_settings = control_settings(&settings, state_dir, credentials, &text);
    // Before the first worker: a gateway that does not know its mode admits no request. The start calls UCS, which may be
    // slow. Interrupting it is like a crash: nothing was acknowledged.
    let starting = control::start(Arc::clone(&gate), inbox, control_settings);
    let Some(control) = or_stopped(starting, stop.as_mut()).await else { return Ok(()) };
    let control = control?;
    let (stop_sender, stopping) = watch::channel(false);
    let metrics = Metrics::new(settings.workers, control.stats());
    let watched = watch.map(FileWatch::start).transpose()?;
    let on_change = on_change::run(settings.on_change.clone(), Arc::clone(&gate), Arc::clone(&metrics));
    let shared =
        SharedParts { gate, control_handle: control_handle.clone(), access: Arc::clone(&access), metrics, stopping };
    let mut running = Running::start(&settings, shared, stop_sender, control, (data, admin_listener))?;
    ready(Ready { listen, admin: admin_address });
    tokio::select! {
        () = stop.as_mut() => {}
        error = running.parts.one_ended() => return Err(error),
        () = reload_forever(&control_handle, &access, reload, watched) => {}
        () = on_change => {}
    }
    running.shut_down(settings.stop_timeout).await
}

/// The route table, and the watch over the files, which must not miss a change that comes after the table was read.
fn load(settings: &Settings) -> (Option<FileWatch>, Result<(RouteTable, String), TableError>) {
    let paths = || settings.access.iter().chain([&settings.routes]).cloned();
    let watch = settings.watch_files.then(|| FileWatch::new(paths()));
    (watch, route_file::load(&settings.routes))
}

/// The state directory first: it is the lock. Access before control: an invalid access.yaml must not affect UCS or the record.
fn open(settings: &Settings) -> Result<(LocalDir, Arc<Access>, Option<UpstreamCredentials>), LaunchError> {
    let state_dir = LocalDir::open(&settings.state_dir)?;
    let access = match &settings.access {
        Some(path) => Access::from_yaml_file(path)?,
        None => Access::from_token_file(&settings.state_dir)?,
    };
    let credentials = settings.upstream.credentials.as_deref().map(read_credentials).transpose()?;
    Ok((state_dir, Arc::new(access), credentials))
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
        let control = tokio::task::spawn_local(run_control(control, shared.stopping.clone(), control_stopped));
        let admin = tokio::task::spawn_local(admin::serve(admin, admin_parts(settings, shared), async move {
            drop(admin_stopped.await);
        }));
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

fn admin_parts(settings: &Settings, shared: SharedParts) -> AdminParts {
    AdminParts {
        gate: shared.gate,
        control_handle: shared.control_handle,
        access: Arc::new(shared.access.for_another_port()),
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
    control_handle: &ControlHandle,
    access: &Access,
    mut requested: mpsc::Receiver<()>,
    watched: Option<mpsc::Receiver<()>>,
) {
    let mut watched = watched.unwrap_or_else(|| mpsc::channel(1).1);
    loop {
        tokio::select! {
            Some(()) = requested.recv() => {}
            Some(()) = watched.recv() => {}
            else => std::future::pending().await,
        }
        // Its errors are in the log, and a broken file must not hold back the other one.
        let _ = access.reload().await;
        log_reload(control_handle.reload(ReloadWhen::AfterFlip).await);
    }
}

fn journal_reader(settings: &Settings) -> Arc<admin::JournalReader> {
    let dir = settings.state_dir.clone();
    Arc::new(move |limit| history::read(&dir, limit))
}

fn log_reload(outcome: Result<crate::control_handle::Reloaded, crate::control_handle::ReloadError>) {
    match outcome {
        Ok(reloaded) => {
            tracing::info!(generation = reloaded.generation, changed = reloaded.changed, "route table reloaded")
        }
        Err(error) => tracing::error!(%error, "reload failed; the route table stays in force"),
    }
}

async fn run_control(control: Control, stopping: watch::Receiver<bool>, stopped: watch::Receiver<bool>) {
    let raised = |mut flag: watch::Receiver<bool>| async move { drop(flag.wait_for(|raised| *raised).await) };
    control.run(StopSignals::new(raised(stopping), raised(stopped))).await;
}

fn control_settings(
    settings: &Settings,
    state_dir: LocalDir,
    credentials: Option<UpstreamCredentials>,
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

fn read_credentials(path: &Path) -> Result<UpstreamCredentials, LaunchError> {
    let fault = |source| LaunchError::Read { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(fault)?;
    // The group may read it: mounted secrets belong to root and the group of the gateway.
    if file.metadata().map_err(fault)?.permissions().mode() & 0o027 != 0 {
        return Err(SettingsError::OpenCredentials(path.to_owned()).into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(fault)?;
    let Some((user, password)) = trimmed(&text).split_once(':').filter(|(user, _)| !user.is_empty()) else {
        return Err(SettingsError::Credentials(path.to_owned()).into());
    };
    if password.contains(['\r', '\n']) {
        return Err(SettingsError::Credentials(path.to_owned()).into());
    }
    Ok(UpstreamCredentials { user: user.to_owned(), password: password.to_owned() })
}
