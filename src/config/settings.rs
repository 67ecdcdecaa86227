//! The settings of `serve`, checked, by the part of the gateway that they are for. It knows no flag syntax.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{ServeArgs, StoreKind};
use super::store_args::{MemberArgs, OnStoreLoss, StoreAccess};
use crate::control::store::etcd::{EtcdSettings, check_name};
use crate::control::{InitialMode, UpstreamModeUse};
use crate::http1::HeadLimits;
use crate::policy::table::RouteTable;
use crate::proxy::class_limits::ClassLimit;
use crate::proxy::headers::TrustedProxies;
use crate::proxy::origins::AllowedOrigins;
use crate::proxy::upstream::exchange::ExchangeTimeouts;
use crate::proxy::upstream::pool::PoolLimits;
use crate::proxy::worker::{ClientTimeouts, ProxySettings};
use crate::telemetry::LogFormat;
use crate::transport::{Address, ClientFiles, Protocols, ServerFiles};

/// The settings of the whole gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) routes: PathBuf,
    pub(crate) listen: Address,
    /// The files of the data port, if it speaks TLS.
    pub(crate) data_tls: Option<ServerFiles>,
    /// The protocols that it offers then.
    pub(crate) data_protocols: Protocols,
    pub(crate) workers: usize,
    pub(crate) state_dir: PathBuf,
    pub(crate) store: StorePlace,
    /// access.yaml; without it, the token in the state directory grants everything.
    pub(crate) access: Option<PathBuf>,
    /// Whether a change of the route table or access.yaml is a reload.
    pub(crate) watch_files: bool,
    pub(crate) class_limits: Vec<ClassLimit>,
    /// How long connections are still accepted after a stop was requested; part of `stop_timeout`.
    pub(crate) stop_linger: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) initial_mode: InitialMode,
    pub(crate) drain_timeout: Duration,
    pub(crate) orphan_grace: Duration,
    /// The format of access log lines; `None` writes none.
    pub(crate) access_log: Option<LogFormat>,
    pub(crate) on_change: Option<OnChangeSettings>,
    pub(crate) admin: AdminSettings,
    pub(crate) upstream: UpstreamSettings,
    /// The settings of every data worker.
    pub proxy: ProxySettings,
}

/// Where the record is kept.
#[derive(Clone, Debug)]
pub(crate) enum StorePlace {
    /// In the state directory.
    File,
    Fleet(MemberSettings),
}

/// The settings of a member of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    pub(crate) store: EtcdSettings,
    pub(crate) node: String,
    /// After how long without the store single modes close; `None`: they stay as they are.
    pub(crate) fence_after: Option<Duration>,
}

/// The program that is told of changes.
#[derive(Clone, Debug)]
pub(crate) struct OnChangeSettings {
    pub(crate) program: PathBuf,
    /// How long it may run.
    pub(crate) timeout: Duration,
}

/// The settings of the admin port.
#[derive(Clone, Debug)]
pub(crate) struct AdminSettings {
    pub(crate) listen: Address,
    /// The files of TLS, if the port speaks it.
    pub(crate) tls: Option<ServerFiles>,
    /// Host names by which it may be called, beside `localhost` and addresses.
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) metrics_open: bool,
}

/// The settings of the gateway's own calls to UCS.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamSettings {
    /// Set for https.
    pub(crate) tls: Option<UpstreamTls>,
    /// File with USER:PASSWORD.
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) mode: UpstreamModeUse,
    pub(crate) poll_interval: Duration,
    /// UCS itself waits for up to a minute before production (CV.WS.MODE).
    pub(crate) set_mode_timeout: Duration,
    /// `None`: never probed.
    pub(crate) schema_probe: Option<String>,
    pub(crate) schema_probe_interval: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct UpstreamTls {
    pub(crate) files: ClientFiles,
    /// The name that UCS's certificate must have.
    pub(crate) server_name: String,
}

/// Settings that contradict each other or the files that they name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "--admin-listen {0} can be reached from other machines: name the principals with --access FILE, or listen on \
         127.0.0.1 or unix:PATH"
    )]
    OpenAdminPort(SocketAddr),
    #[error("--max-in-flight: the route table has no class {class:?}; its classes are {known}")]
    UnknownClass { class: String, known: String },
    #[error("--upstream https://… needs --upstream-ca FILE, with the CAs that UCS's certificate must be signed by")]
    /// No CA for an upstream that is called over TLS.
    NoUpstreamCa,
    #[error("{0} is for a port over TCP; a unix socket needs no TLS")]
    UnixTls(&'static str),
    #[error(
        "--node NAME: a member of a fleet needs a name that stays the same; the name of this host, {0:?}, cannot be one"
    )]
    NoNode(String),
    #[error("--upstream-ca is for --upstream https://…")]
    /// A CA for an upstream that is called without TLS.
    NoHttpsUpstream,
}

impl Settings {
    /// Checks the arguments. Nothing that changes state is ever open to the network without named principals.
    pub fn new(args: ServeArgs) -> Result<Settings, SettingsError> {
        match &args.admin_listen {
            Address::Tcp(address) if !address.ip().is_loopback() && args.access.is_none() => {
                return Err(SettingsError::OpenAdminPort(*address));
            }
            Address::Unix(_) if args.tls.admin().is_some() => return Err(SettingsError::UnixTls("--admin-tls-cert")),
            Address::Tcp(_) | Address::Unix(_) => {}
        }
        if matches!(args.listen, Address::Unix(_)) && args.tls.data().is_some() {
            return Err(SettingsError::UnixTls("--tls-cert"));
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            proxy: proxy(&args),
            upstream: upstream_settings(&args)?,
            routes: args.routes,
            listen: args.listen,
            data_tls: args.tls.data(),
            data_protocols: if args.no_h2 { Protocols::Http1 } else { Protocols::Http2 },
            workers: args.workers.map_or_else(cores, usize::from),
            state_dir: args.state_dir.unwrap_or_else(default_state_dir),
            store: store_place(args.store, args.store_access, args.member)?,
            access: args.access,
            watch_files: args.watch_files,
            class_limits: args.max_in_flight,
            stop_linger: args.stop_linger,
            stop_timeout: args.stop_timeout,
            initial_mode: args.initial_mode,
            drain_timeout: args.drain_timeout,
            orphan_grace: args.orphan_grace,
            access_log: args.access_log.then_some(args.log_format),
            on_change: args.on_change.map(|program| OnChangeSettings { program, timeout: args.on_change_timeout }),
            admin: AdminSettings {
                tls: args.tls.admin(),
                listen: args.admin_listen,
                allowed_hosts: args.admin_host,
                metrics_open: args.metrics_open,
            },
        })
    }
}

fn store_place(
    store: StoreKind,
    access: StoreAccess,
    MemberArgs { node, on_store_loss, fence_after }: MemberArgs,
) -> Result<StorePlace, SettingsError> {
    let StoreKind::Etcd(address) = store else { return Ok(StorePlace::File) };
    let node = node.map_or_else(host_name, Ok)?;
    let fence_after = (on_store_loss == OnStoreLoss::Fence).then_some(fence_after);
    Ok(StorePlace::Fleet(MemberSettings { store: access.at(address), node, fence_after }))
}

fn host_name() -> Result<String, SettingsError> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_owned();
    check_name(&name).map_err(|_| SettingsError::NoNode(name.clone()))?;
    Ok(name)
}

fn upstream_settings(args: &ServeArgs) -> Result<UpstreamSettings, SettingsError> {
    Ok(UpstreamSettings {
        tls: upstream_tls(args)?,
        credentials: args.upstream_credentials.clone(),
        mode: args.upstream_mode,
        poll_interval: args.upstream_poll,
        set_mode_timeout: args.set_mode_timeout,
        schema_probe: (args.schema_probe != "off").then(|| args.schema_probe.clone()),
        schema_probe_interval: args.schema_probe_interval,
    })
}

/// TLS is used exactly if the URL says so: a typing error in it must not send passwords in clear text.
fn upstream_tls(args: &ServeArgs) -> Result<Option<UpstreamTls>, SettingsError> {
    let host = &args.upstream.host;
    match (args.upstream.is_https, args.tls.upstream()) {
        (true, Some((files, name))) => {
            Ok(Some(UpstreamTls { files, server_name: name.unwrap_or_else(|| host.clone()) }))
        }
        (true, None) => Err(SettingsError::NoUpstreamCa),
        (false, Some(_)) => Err(SettingsError::NoHttpsUpstream),
        (false, None) => Ok(None),
    }
}

/// A limit for a class that the table does not have would silently protect nothing.
pub(crate) fn check_class_limits(limits: &[ClassLimit], table: &RouteTable) -> Result<(), SettingsError> {
    let classes: Vec<&str> = table.classes.iter().map(|class| &*class.name).collect();
    let unknown = limits.iter().find(|limit| !classes.contains(&limit.class.as_str()));
    unknown.map_or(Ok(()), |limit| {
        Err(SettingsError::UnknownClass { class: limit.class.clone(), known: classes.join(", ") })
    })
}

/// `$STATE_DIRECTORY`, which systemd sets, else a folder in the working directory.
pub(crate) fn default_state_dir() -> PathBuf {
    // systemd separates several by colons; the first is the gateway's own.
    let set = std::env::var_os("STATE_DIRECTORY").unwrap_or_default();
    match set.as_bytes().split(|byte| *byte == b':').next() {
        Some(first) if !first.is_empty() => PathBuf::from(OsStr::from_bytes(first)),
        _ => PathBuf::from("ucs-gateway.state"),
    }
}

fn proxy(args: &ServeArgs) -> ProxySettings {
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    ProxySettings {
        upstream: args.upstream.clone().into(),
        tls: None,
        h2c: args.h2c,
        timeouts: ExchangeTimeouts {
            first_byte: args.first_byte_timeout,
            idle_body: args.idle_body_timeout,
            min_rate: args.min_body_rate,
            drain_client: args.drain_client_timeout,
        },
        pool: PoolLimits {
            connect_timeout: args.connect_timeout,
            idle: args.upstream_idle,
            max_age: args.upstream_max_age,
            connections: args.upstream_connections,
            queue: args.upstream_queue,
        },
        wire: HeadLimits {
            target_bytes: bytes(args.max_target),
            head_bytes: bytes(args.max_head),
            header_count: args.max_headers,
        },
        clients: ClientTimeouts { header: args.header_timeout, idle: args.idle_timeout, linger: args.stop_linger },
        max_body: args.max_body,
        max_connections: args.max_connections,
        max_retry_after: args.max_retry_after,
        origins: AllowedOrigins::new(&args.allow_origin),
        trusted_proxies: TrustedProxies::new(args.trusted_proxy.clone()),
        livez: args.data_livez,
    }
}
