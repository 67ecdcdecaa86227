//! The settings of `serve`: what was typed (flags over environment over defaults), and what it means once checked. It
//! opens nothing and reads no file.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, ValueEnum};

use crate::http1::HeadLimits;
use crate::policy::duration::parse as parse_duration;
use crate::policy::mode::Mode;
use crate::proxy::class_limits::ClassLimit;
use crate::proxy::upstream::exchange::ExchangeTimeouts;
use crate::proxy::upstream::pool::PoolLimits;
use crate::proxy::worker::{ClientTimeouts, ProxySettings};
use crate::telemetry::LogFormat;
use crate::upstream::UpstreamUrl;

/// The highest limit for heads, in bytes.
const LONGEST_HEAD: u64 = 16 << 20;

/// Everything that `serve` can be told.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Route table: which request is which operation, and which modes admit it.
    #[arg(long, env = "UCS_GATEWAY_ROUTES", value_name = "FILE", default_value = "routes.yaml")]
    pub routes: PathBuf,

    /// The UCS behind the gateway, as http://HOST:PORT.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM", hide_env_values = true, value_name = "URL", value_parser = UpstreamParser)]
    pub upstream: UpstreamUrl,

    /// Where clients of UCS connect.
    #[arg(long, env = "UCS_GATEWAY_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Where operators connect: ADDR, or unix:PATH. A non-loopback address needs --access.
    #[arg(long, env = "UCS_GATEWAY_ADMIN_LISTEN", value_name = "ADDR|unix:PATH", default_value = "127.0.0.1:8081")]
    pub admin_listen: AdminAddress,

    /// A further name by which the admin address may be called in `Host`; repeatable.
    #[arg(long, env = "UCS_GATEWAY_ADMIN_HOST", value_name = "NAME", value_delimiter = ',')]
    pub admin_host: Vec<String>,

    /// Where the mode, its journal and the token are kept. Default: $STATE_DIRECTORY, else ./ucs-gateway.state.
    #[arg(long, env = "UCS_GATEWAY_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where the record is kept. Only `file` is there yet.
    #[arg(long, env = "UCS_GATEWAY_STORE", value_name = "STORE", default_value = "file")]
    pub store: StoreKind,

    /// Who may do what. Without it, a random token in the state directory may do everything.
    #[arg(long, env = "UCS_GATEWAY_ACCESS", value_name = "FILE")]
    pub access: Option<PathBuf>,

    /// Data workers, each with a thread of its own. Default: one a core.
    #[arg(long, env = "UCS_GATEWAY_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// The mode of the very first start, when there is no record.
    #[arg(long, env = "UCS_GATEWAY_INITIAL_MODE", value_name = "MODE", default_value = "auto")]
    pub initial_mode: InitialMode,

    /// Whether UCS's own mode is set and followed.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM_MODE", value_name = "HOW", default_value = "auto")]
    pub upstream_mode: UpstreamModePolicy,

    /// File with USER:PASSWORD for the gateway's own calls to UCS.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM_CREDENTIALS", value_name = "FILE")]
    pub upstream_credentials: Option<PathBuf>,

    /// How often UCS's own mode is read.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM_POLL", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub upstream_poll: Duration,

    /// Path that shows whether UCS has a profile schema, below base_path; `off` for no probe.
    #[arg(long, env = "UCS_GATEWAY_SCHEMA_PROBE", value_name = "PATH|off", default_value = "/metadata/profiles", value_parser = parse_schema_probe)]
    pub schema_probe: String,

    /// How often the schema is probed.
    #[arg(long, env = "UCS_GATEWAY_SCHEMA_PROBE_INTERVAL", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub schema_probe_interval: Duration,

    /// How long a flip may drain, unless it says otherwise.
    #[arg(long, env = "UCS_GATEWAY_DRAIN_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// How long a flip's drain may wait for one client, in sum; never more than a third of the flip's drain timeout.
    #[arg(long, env = "UCS_GATEWAY_DRAIN_CLIENT_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub drain_client_timeout: Duration,

    /// What an exchange whose end cannot be seen is given before a drain counts as done.
    #[arg(long, env = "UCS_GATEWAY_ORPHAN_GRACE", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub orphan_grace: Duration,

    /// For a connection to UCS to be made.
    #[arg(long, env = "UCS_GATEWAY_CONNECT_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// For UCS to begin its answer once it has the request.
    #[arg(long, env = "UCS_GATEWAY_FIRST_BYTE_TIMEOUT", value_name = "TIME", default_value = "120s", value_parser = parse_duration)]
    pub first_byte_timeout: Duration,

    /// Between two pieces of a body, in either direction.
    #[arg(long, env = "UCS_GATEWAY_IDLE_BODY_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub idle_body_timeout: Duration,

    /// Slowest body that a client may send or read, in bytes a second on average, once it was waited for as long as
    /// --idle-body-timeout in sum; 0 for no such limit.
    #[arg(long, env = "UCS_GATEWAY_MIN_BODY_RATE", value_name = "SIZE", default_value = "500", value_parser = parse_size)]
    pub min_body_rate: u64,

    /// For a client to send the head of a request.
    #[arg(long, env = "UCS_GATEWAY_HEADER_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub header_timeout: Duration,

    /// How long a client's connection may be idle.
    #[arg(long, env = "UCS_GATEWAY_IDLE_TIMEOUT", value_name = "TIME", default_value = "75s", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// How long a connection to UCS may be idle; keep it below UCS's own keep-alive.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM_IDLE", value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub upstream_idle: Duration,

    /// Connections to UCS at the most, a worker.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM_CONNECTIONS", value_name = "N", default_value_t = 256, value_parser = positive)]
    pub upstream_connections: usize,

    /// Requests that may wait for a connection to UCS, a worker.
    #[arg(long, env = "UCS_GATEWAY_UPSTREAM_QUEUE", value_name = "N", default_value_t = 1024)]
    pub upstream_queue: usize,

    /// Requests of a class in flight at the most, over all workers; repeatable. Classes without it have no limit.
    #[arg(long, env = "UCS_GATEWAY_MAX_IN_FLIGHT", value_name = "CLASS=N", value_delimiter = ',')]
    pub max_in_flight: Vec<ClassLimit>,

    /// Longest body of a request; plain bytes, or with KiB, MiB, GiB.
    #[arg(long, env = "UCS_GATEWAY_MAX_BODY", value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    pub max_body: u64,

    /// Longest head of a request.
    #[arg(long, env = "UCS_GATEWAY_MAX_HEAD", value_name = "SIZE", default_value = "64KiB", value_parser = parse_head_size)]
    pub max_head: u64,

    /// Longest target (path and query) of a request.
    #[arg(long, env = "UCS_GATEWAY_MAX_TARGET", value_name = "SIZE", default_value = "8KiB", value_parser = parse_head_size)]
    pub max_target: u64,

    /// Most header lines of a request.
    #[arg(long, env = "UCS_GATEWAY_MAX_HEADERS", value_name = "N", default_value_t = 100, value_parser = positive)]
    pub max_headers: usize,

    /// Client connections at the most, over all workers.
    #[arg(long, env = "UCS_GATEWAY_MAX_CONNECTIONS", value_name = "N", default_value_t = 20_000, value_parser = positive)]
    pub max_connections: usize,

    /// How long running requests may go on after SIGTERM.
    #[arg(long, env = "UCS_GATEWAY_STOP_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub stop_timeout: Duration,

    /// How logs are written.
    #[arg(long, env = "UCS_GATEWAY_LOG_FORMAT", value_name = "FORMAT", default_value = "human")]
    pub log_format: LogFormatArg,

    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,ucs_gateway::control=debug`.
    #[arg(long, env = "UCS_GATEWAY_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Write one line a request to standard output.
    #[arg(long, env = "UCS_GATEWAY_ACCESS_LOG")]
    pub access_log: bool,

    /// Answer /metrics without a credential.
    #[arg(long, env = "UCS_GATEWAY_METRICS_OPEN")]
    pub metrics_open: bool,
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl std::str::FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<AdminAddress, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path, as in unix:/run/ucs-gateway/admin.sock".to_owned()),
            Some(path) => Ok(AdminAddress::Unix(PathBuf::from(path))),
            None => text
                .parse()
                .map(AdminAddress::Tcp)
                .map_err(|error| format!("{error}; write ADDRESS:PORT, as in 127.0.0.1:8081, or unix:PATH")),
        }
    }
}

/// Where the record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// In the state directory.
    File,
}

/// The mode of the very first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InitialMode {
    /// What UCS reports, else production.
    Auto,
    /// Production.
    Production,
    /// Maintenance.
    Maintenance,
}

impl InitialMode {
    /// The mode, when it is a fixed one.
    pub fn fixed(self) -> Option<Mode> {
        match self {
            InitialMode::Auto => None,
            InitialMode::Production => Some(Mode::Production),
            InitialMode::Maintenance => Some(Mode::Maintenance),
        }
    }
}

/// Whether UCS's own mode is set and followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UpstreamModePolicy {
    /// When UCS reports one.
    Auto,
    /// Never.
    Off,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// For machines.
    Json,
    /// For people.
    Human,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> LogFormat {
        match format {
            LogFormatArg::Json => LogFormat::Json,
            LogFormatArg::Human => LogFormat::Human,
        }
    }
}

impl ServeArgs {
    /// The state directory that is meant.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(default_state_dir)
    }

    /// How many workers are meant.
    pub fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(cores, usize::from)
    }

    /// The probe's path, `None` for off.
    pub fn schema_probe(&self) -> Option<String> {
        (self.schema_probe != "off").then(|| self.schema_probe.clone())
    }

    /// What the data workers are told.
    pub fn proxy(&self) -> ProxySettings {
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        ProxySettings {
            upstream: self.upstream.clone(),
            timeouts: ExchangeTimeouts {
                first_byte: self.first_byte_timeout,
                idle_body: self.idle_body_timeout,
                min_rate: self.min_body_rate,
                drain_client: self.drain_client_timeout,
            },
            pool: PoolLimits {
                connect_timeout: self.connect_timeout,
                idle: self.upstream_idle,
                connections: self.upstream_connections,
                queue: self.upstream_queue,
            },
            wire: HeadLimits {
                target_bytes: bytes(self.max_target),
                head_bytes: bytes(self.max_head),
                header_count: self.max_headers,
            },
            clients: ClientTimeouts { header: self.header_timeout, idle: self.idle_timeout, stop: self.stop_timeout },
            max_body: self.max_body,
            max_connections: self.max_connections,
        }
    }
}

/// `$STATE_DIRECTORY` as systemd sets it, else a folder here.
pub fn default_state_dir() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| PathBuf::from("ucs-gateway.state"), PathBuf::from)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// `off`, or a path: another text would be glued to base_path and find nothing, without a word.
fn parse_schema_probe(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte));
    if text == "off" || is_path {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no path; write one that begins with a slash, such as /metadata/profiles, or off"))
    }
}

/// Reads `--upstream`. clap's own error would repeat the text, and who writes a password into it by mistake would find it in
/// the log.
#[derive(Clone)]
struct UpstreamParser;

impl TypedValueParser for UpstreamParser {
    type Value = UpstreamUrl;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, text: &OsStr) -> Result<UpstreamUrl, clap::Error> {
        let url = text.to_string_lossy().parse::<UpstreamUrl>();
        url.map_err(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--upstream: {error}\n")).with_cmd(command)
        })
    }
}

/// Heads are held in memory whole, so that "no limit" would be one for whoever sends them.
fn parse_head_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size <= LONGEST_HEAD { Ok(size) } else { Err("at most 16MiB: heads are held in memory".to_owned()) }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("write bytes, or a number with KiB, MiB or GiB".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "write bytes, or a number with KiB, MiB or GiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is more than can be counted".to_owned())
}
