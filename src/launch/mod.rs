//! The assembled gateway: workers, control and the admin port, started in one order and stopped in the reverse. It contains no
//! policy. `serve` and `demo` differ only in their settings.

mod admin_parts;
mod alive;
mod descriptors;
mod error;
mod fleet;
mod history;
mod on_change;
mod parts;
mod running;
mod service_manager;
mod signals;
mod sockets;
mod tls;
mod watchdog;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::access::Access;
use crate::config::{AdminSettings, MemberSettings, Settings, StorePlace, check_class_limits};
use crate::control::store::etcd::EtcdStore;
use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::control::store::{LocalState, RecordStore};
use crate::control::ucs::client::UpstreamClient;
use crate::control::ucs::credentials::{SharedCredentials, UpstreamCredentials};
use crate::control::{self, ControlSettings, FleetSettings, LoadedRoutes, RecordPlace};
use crate::control_handle::ControlHandle;
use crate::files::{FileWatch, ReloadedFile, WatchedFiles};
use crate::gate::Gate;
use crate::hex::sha256_hex;
use crate::policy::table::RouteTable;
use crate::proxy::worker::Stop;
use crate::reloads::{self, Reloads};
use crate::route_file;
use crate::telemetry::Metrics;
use crate::transport::{Address, InheritedSockets};
pub(crate) use error::LaunchError;
use running::Running;
use service_manager::{Notice, ServiceManager};
pub(crate) use signals::Signals;
use signals::{next, reload_forever};
pub(crate) use sockets::Ready;
use sockets::Sockets;
use tls::Tls;
use workers::SharedParts;

/// The timeout of the gateway's own calls to UCS.
const UPSTREAM_CALL: Duration = Duration::from_secs(10);

/// The interval of reminders that the start waits for a file.
const STILL_STARTING: Duration = Duration::from_secs(2);

/// Runs the gateway until it is stopped; a part that ends unexpectedly is an error.
pub(crate) async fn run(
    mut settings: Settings,
    inherited: InheritedSockets,
    mut signals: Signals,
    ready: impl FnOnce(Ready),
) -> Result<(), LaunchError> {
    let service_manager = ServiceManager::of_process()?;
    settings.proxy.max_connections = descriptors::reserve(&settings);
    let starting = start(&mut settings, inherited, &service_manager);
    // Stopping a start is like a crash: nothing was acknowledged.
    let Some(started) = or_stopped(starting, next(&mut signals.stop)).await else { return Ok(()) };
    let Started { mut running, bound, gate, metrics, reloads, watched } = started?;
    ready(bound);
    service_manager.tell(Notice::Ready);
    let on_change = on_change::run(settings.on_change.clone(), gate, Arc::clone(&metrics));
    tokio::select! {
        () = next(&mut signals.stop) => {}
        error = running.parts.one_ended() => return Err(error),
        () = reload_forever(&reloads, signals.reload, watched, &service_manager) => {}
        () = on_change => {}
        () = tls::warn_of_ends(&metrics) => {}
    }
    running.shut_down(&settings, signals.stop, &service_manager).await
}

/// A gateway that has started, and the parts of it that the run needs.
struct Started {
    running: Running,
    bound: Ready,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    reloads: Arc<Reloads>,
    /// The names of the files that change.
    watched: Option<mpsc::UnboundedReceiver<&'static str>>,
}

/// Starts each part once those that it needs are there.
async fn start(
    settings: &mut Settings,
    inherited: InheritedSockets,
    service_manager: &ServiceManager,
) -> Result<Started, LaunchError> {
    let (watch, table, text) = load(settings).await?;
    let gate = Gate::new(settings.workers, table);
    let opened = open(settings).await?;
    // The ports come after the files: a faulty file is told whether they are free or not.
    let (sockets, bound) = Sockets::open(settings, inherited)?;
    opened.tls.give_to(settings);
    let control_settings = control_settings(settings, opened.state_dir, opened.credentials, &text)?;
    let (control_handle, inbox) = ControlHandle::new();
    // Before the first worker: a gateway that does not know its mode admits no request. The start calls UCS, which may be slow.
    let control = control::start(Arc::clone(&gate), inbox, control_settings).await?;
    let (begin_stop, stopping) = watch::channel(false);
    let (stop_workers, stop_stage) = watch::channel(Stop::None);
    let metrics = Metrics::new(settings.workers, control.stats());
    opened.tls.report_to(&metrics);
    warn_of_clear_text(&settings.admin);
    let watched = watch.map(FileWatch::start).transpose()?;
    let reloads = Arc::new(Reloads::new(control_handle.clone(), opened.reloaded));
    let shared = SharedParts {
        gate: Arc::clone(&gate),
        control_handle,
        fleet: control.fleet(),
        access: opened.access,
        admin_tls: opened.tls.admin,
        reloads: Arc::clone(&reloads),
        metrics: Arc::clone(&metrics),
        stopping,
        stop: stop_stage,
    };
    let stops = (begin_stop, stop_workers);
    let running = Running::start(settings, shared, stops, control, (sockets, service_manager.clone()))?;
    Ok(Started { running, bound, gate, metrics, reloads, watched })
}

/// Credentials for the admin port must not cross a network unseen.
fn warn_of_clear_text(admin: &AdminSettings) {
    if let Address::Tcp(address) = admin.listen
        && admin.tls.is_none()
        && !address.ip().is_loopback()
    {
        tracing::warn!(%address, "credentials for the admin port cross the network in clear text: see --admin-tls-cert");
    }
}

/// The route table with its text, and the watch over the files, which must not miss a change that comes after they were read.
async fn load(settings: &Settings) -> Result<(Option<FileWatch>, RouteTable, String), LaunchError> {
    let (watched, path) = (watched_files(settings), settings.routes.clone());
    let loading = move || {
        let watch = (!watched.is_empty()).then(|| FileWatch::new(watched));
        (watch, route_file::load(&path))
    };
    let (watch, loaded) = beside(format!("reading {}", settings.routes.display()), loading).await?;
    let (table, text) = loaded?;
    check_class_limits(&settings.class_limits, &table)?;
    Ok((watch, table, text))
}

/// The files whose change is a reload, by the names of `Reloads`.
fn watched_files(settings: &Settings) -> Vec<WatchedFiles> {
    let (access, credentials) = (settings.access.as_ref(), settings.upstream.credentials.as_ref());
    let files = [(reloads::ROUTES, Some(&settings.routes)), ("access", access), ("upstream_credentials", credentials)];
    let files = files.into_iter().filter(|_| settings.watch_files);
    let files = files.filter_map(|(name, path)| Some(WatchedFiles { name, paths: vec![path?.clone()] }));
    // Certificates are renewed by programs, which tell no one.
    files.chain(tls::watched(settings)).collect()
}

/// The files that the start reads and locks.
struct Opened {
    state_dir: LocalDir,
    access: Arc<Access>,
    credentials: Option<SharedCredentials>,
    tls: Tls,
    /// The files that a reload reads again, beside the route table.
    reloaded: Vec<Arc<ReloadedFile>>,
}

async fn open(settings: &Settings) -> Result<Opened, LaunchError> {
    let files = settings.clone();
    beside(format!("opening {} and its lock", settings.state_dir.display()), move || open_now(&files)).await?
}

/// The state directory first: it is the lock. Access before control: an invalid access.yaml must not affect UCS or the record.
fn open_now(settings: &Settings) -> Result<Opened, LaunchError> {
    let state_dir = LocalDir::open(&settings.state_dir)?;
    let access = match &settings.access {
        Some(path) => Access::from_yaml_file(path)?,
        None => Access::from_token_file(&settings.state_dir)?,
    };
    let credentials = settings.upstream.credentials.as_deref().map(UpstreamCredentials::reloaded).transpose()?;
    let (credentials, credentials_file) = credentials.unzip();
    let tls = Tls::load(settings)?;
    let reloaded = access.reloaded_file().into_iter().chain(credentials_file).chain(tls.reloaded()).collect();
    Ok(Opened { state_dir, access: Arc::new(access), credentials, tls, reloaded })
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

fn control_settings(
    settings: &Settings,
    state_dir: LocalDir,
    credentials: Option<SharedCredentials>,
    text: &str,
) -> std::io::Result<ControlSettings> {
    let store = record_place(&settings.store, &state_dir)?;
    let upstream = &settings.upstream;
    let (routes, class_limits) = (settings.routes.clone(), settings.class_limits.clone());
    let load = move || {
        let (table, text) = route_file::load(&routes).map_err(|error| error.to_string())?;
        check_class_limits(&class_limits, &table).map_err(|error| error.to_string())?;
        Ok(LoadedRoutes { table, fingerprint: sha256_hex(&text) })
    };
    Ok(ControlSettings {
        store,
        local: LocalState::new(state_dir),
        initial_mode: settings.initial_mode,
        drain_timeout: settings.drain_timeout,
        orphan_grace: settings.orphan_grace,
        upstream: UpstreamClient {
            upstream: settings.proxy.upstream.clone(),
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
    })
}

fn record_place(place: &StorePlace, state_dir: &LocalDir) -> std::io::Result<RecordPlace> {
    Ok(match place {
        StorePlace::File => RecordPlace::Alone(RecordStore::file(RecordFile::in_dir(state_dir))),
        StorePlace::Fleet(MemberSettings { store, node, fence_after }) => {
            let store = EtcdStore::open(store.clone())?;
            RecordPlace::Fleet(FleetSettings { store, node: node.clone(), fence_after: *fence_after })
        }
    })
}
