//! The assembled gateway: workers, control and the admin port, started in one order and stopped in the reverse. It contains no
//! policy. `serve` and `demo` differ only in their settings.

mod error;
mod history;
mod parts;
mod workers;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::access::Access;
use crate::admin::{self, AdminBindError, AdminListener, AdminParts};
use crate::config::{AdminAddress, Settings, SettingsError, StoreKind};
use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::control::store::{LocalState, RecordStore};
use crate::control::ucs::client::{UpstreamClient, UpstreamCredentials};
use crate::control::{self, Control, ControlSettings, LoadedRoutes, StopSignals};
use crate::control_handle::{ControlHandle, ReloadWhen};
use crate::gate::Gate;
use crate::hex::sha256_hex;
use crate::route_file;
use crate::telemetry::Metrics;
pub(crate) use error::LaunchError;
use parts::Parts;
use workers::{SharedParts, Workers};

/// The timeout of the gateway's own calls to UCS.
const UPSTREAM_CALL: Duration = Duration::from_secs(10);

/// The time that a flip may take beyond its deadline: its saves, and the end of requests that are cut.
const SAVES: Duration = Duration::from_secs(30);

/// The bound addresses, reported once the gateway is ready.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The data port.
    pub(crate) listen: SocketAddr,
    /// The admin port, as text, since it may be a unix socket.
    pub(crate) admin: String,
}

/// Runs the gateway until `stop` completes, then shuts it down gracefully; a part that ends unexpectedly is an error. Each item
/// of `reload` reloads the route table.
pub(crate) async fn run(
    settings: Settings,
    ready: impl FnOnce(Ready),
    stop: impl Future<Output = ()>,
    reload: mpsc::Receiver<()>,
) -> Result<(), LaunchError> {
    let (table, text) = route_file::load(&settings.routes)?;
    settings.check_class_limits(&table)?;
    let data = listen(settings.listen)?;
    let listen = data.local_addr()?;
    let admin_listener = bind_admin(&settings.admin.listen).await?;
    let admin_address =
        admin_listener.local_addr().map_or_else(|| settings.admin.listen.to_string(), |address| address.to_string());

    let gate = Gate::new(settings.workers, table);
    let (control_handle, inbox) = ControlHandle::new();
    let state_dir = LocalDir::open(&settings.state_dir)?;
    // Before control: an invalid access.yaml must not affect UCS or the record.
    let access = Arc::new(match &settings.access {
        Some(path) => Access::from_yaml_file(path)?,
        None => Access::from_token_file(&settings.state_dir)?,
    });
    let control_settings = control_settings(&settings, state_dir, &text)?;
    // Before the first worker: a gateway that does not know its mode admits no request.
    let mut stop = std::pin::pin!(stop);
    let control = tokio::select! {
        started = control::start(Arc::clone(&gate), inbox, control_settings) => started?,
        // The start calls UCS, which may be slow. Interrupting it is like a crash: nothing was acknowledged.
        () = stop.as_mut() => {
            tracing::info!("shut down before the gateway was ready");
            return Ok(());
        }
    };
    let (stop_sender, stopping) = watch::channel(false);
    let metrics = Metrics::new(settings.workers, control.stats());
    let shared = SharedParts { gate, control_handle: control_handle.clone(), access, metrics, stopping };
    let mut running = Running::start(&settings, shared, stop_sender, control, (data, admin_listener))?;
    ready(Ready { listen, admin: admin_address });
    tokio::select! {
        () = stop.as_mut() => {}
        error = running.parts.one_ended() => return Err(error),
        () = reload_forever(&control_handle, reload) => {}
    }
    running.shut_down(settings.stop_timeout).await
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
        (data, admin): (std::net::TcpListener, AdminListener),
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
        access: shared.access,
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
async fn reload_forever(control_handle: &ControlHandle, mut reload: mpsc::Receiver<()>) {
    while let Some(()) = reload.recv().await {
        log_reload(control_handle.reload(ReloadWhen::AfterFlip).await);
    }
    std::future::pending().await
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

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, LaunchError> {
    let error = |source| LaunchError::Listen { address: address.to_string(), source };
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP)).map_err(error)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true).map_err(error)?;
    socket.set_nonblocking(true).map_err(error)?;
    socket.bind(&address.into()).map_err(error)?;
    socket.listen(4096).map_err(error)?;
    Ok(socket.into())
}

async fn bind_admin(address: &AdminAddress) -> Result<AdminListener, AdminBindError> {
    match address {
        AdminAddress::Tcp(address) => AdminListener::tcp(*address).await,
        AdminAddress::Unix(path) => AdminListener::unix(path.clone()),
    }
}

fn control_settings(settings: &Settings, state_dir: LocalDir, text: &str) -> Result<ControlSettings, LaunchError> {
    let upstream = &settings.upstream;
    let credentials = upstream.credentials.as_deref().map(read_credentials).transpose()?;
    let routes = settings.routes.clone();
    let load = move || {
        let (table, text) = route_file::load(&routes).map_err(|error| error.to_string())?;
        Ok(LoadedRoutes { table, fingerprint: sha256_hex(&text) })
    };
    Ok(ControlSettings {
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
    })
}

fn read_credentials(path: &Path) -> Result<UpstreamCredentials, LaunchError> {
    let text = std::fs::read_to_string(path).map_err(|source| LaunchError::Read { path: path.to_owned(), source })?;
    let Some((user, password)) = text.trim_end().split_once(':') else {
        return Err(SettingsError::Credentials(path.to_owned()).into());
    };
    Ok(UpstreamCredentials { user: user.to_owned(), password: password.to_owned() })
}
