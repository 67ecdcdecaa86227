//! The flags of `serve`, as written; `cli::environment` adds the variable of each. Each value is checked by itself;
//! `settings` checks them together.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};

use super::named::named;
use super::store_args::{MemberArgs, StoreAccess};
use super::tls_args::TlsArgs;
use crate::control::store::etcd::EtcdAddress;
use crate::control::{InitialMode, UpstreamModeUse};
use crate::policy::duration::parse as parse_duration;
use crate::proxy::class_limits::ClassLimit;
use crate::proxy::headers::TrustedProxy;
use crate::proxy::origins::parse_origin;
use crate::telemetry::LogFormat;
use crate::transport::{Address, UpstreamUrl, parse_host, parse_listen};

/// The highest limit of a request head, in bytes.
const LONGEST_HEAD: u64 = 16 << 20;

/// The shortest interval of a poll.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// The arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Route table: the operation of each request, and the modes that admit it.
    #[arg(long, value_name = "FILE", default_value = "routes.yaml")]
    pub(crate) routes: PathBuf,

    /// Address of UCS, as http://HOST:PORT, https://HOST:PORT or unix:PATH.
    #[arg(long, hide_env_values = true, value_name = "URL", value_parser = UpstreamParser)]
    pub(crate) upstream: UpstreamUrl,

    #[command(flatten)]
    pub(super) tls: TlsArgs,

    /// Address of the data port, for clients of UCS: HOST:PORT or unix:PATH.
    #[arg(
        long,
        value_name = "HOST:PORT|unix:PATH",
        default_value = "0.0.0.0:8080",
        value_parser = parse_listen
    )]
    pub(crate) listen: Address,

    /// Take HTTP/2 without TLS on the data port, from clients that begin with it (prior knowledge), besides HTTP/1.1.
    #[arg(long)]
    pub(crate) h2c: bool,

    /// Offer only HTTP/1.1 on a data port with TLS. Default: HTTP/2 and HTTP/1.1.
    #[arg(long)]
    pub(crate) no_h2: bool,

    /// Address of the admin port: HOST:PORT or unix:PATH. An address that is not loopback requires --access.
    #[arg(
        long,
        value_name = "HOST:PORT|unix:PATH",
        default_value = "127.0.0.1:8081",
        value_parser = parse_listen
    )]
    pub(crate) admin_listen: Address,

    /// Additional host, a name or an IP address, that the admin port accepts in `Host`, with any port; repeatable.
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = parse_host)]
    pub(crate) admin_host: Vec<String>,

    /// Directory of the mode record, its journal and the admin token. Default: $STATE_DIRECTORY, or ./ucs-gateway.state.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Store of the mode record: `file` in the state directory, for this gateway alone; or etcd://HOST:PORT,HOST:PORT/NAME
    /// (etcds:// over TLS), for the fleet of this name.
    #[arg(long, value_name = "STORE", default_value = "file", value_parser = parse_store)]
    pub(crate) store: StoreKind,

    #[command(flatten)]
    pub(super) store_access: StoreAccess,

    #[command(flatten)]
    pub(super) member: MemberArgs,

    /// Principals and their permissions. Without it, the generated token in the state directory grants every permission.
    #[arg(long, value_name = "FILE")]
    pub(crate) access: Option<PathBuf>,

    /// Number of data workers, one thread each. Default: one per core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,

    /// Mode at the first start, when the state directory holds no record.
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = named(InitialMode::NAMES))]
    pub(crate) initial_mode: InitialMode,

    /// Whether the gateway sets UCS's own mode and follows it.
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = named(UpstreamModeUse::NAMES))]
    pub(crate) upstream_mode: UpstreamModeUse,

    /// File that contains USER:PASSWORD for the gateway's own calls to UCS.
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_credentials: Option<PathBuf>,

    /// Interval between two reads of UCS's own mode.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_interval)]
    pub(crate) upstream_poll: Duration,

    /// How long UCS may take to switch, besides the drain; to maintenance at most 15s of it. At most 110s.
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = parse_set_mode_timeout)]
    pub(crate) set_mode_timeout: Duration,

    /// Path, below base_path, that shows whether UCS has a profile schema; `off` disables the probe.
    #[arg(long, value_name = "PATH|off", default_value = "/metadata/profiles", value_parser = parse_schema_probe)]
    pub(crate) schema_probe: String,

    /// Interval between two schema probes.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_interval)]
    pub(crate) schema_probe_interval: Duration,

    /// Drain timeout of mode changes that specify none.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) drain_timeout: Duration,

    /// Total time that a drain waits for a single client; at most a third of the drain timeout.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) drain_client_timeout: Duration,

    /// Time that a drain allows for orphaned requests, which may still be running in UCS.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) orphan_grace: Duration,

    /// Longest Retry-After of a refusal; at least 1s.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_retry_after)]
    pub(crate) max_retry_after: Duration,

    /// Origin whose pages may read the gateway's own responses, such as `https://app.example`, or `*`; repeatable.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = parse_origin)]
    pub(crate) allow_origin: Vec<String>,

    /// Timeout for connecting to UCS.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,

    /// Timeout for the first byte of UCS's response, once the request is sent.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse_duration)]
    pub(crate) first_byte_timeout: Duration,

    /// Timeout between two pieces of a body, in either direction.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) idle_body_timeout: Duration,

    /// Minimum average rate, in bytes per second, at which a client must send or read a body. It applies once the gateway
    /// has waited for the client for --idle-body-timeout in total; 0 disables it.
    #[arg(long, value_name = "SIZE", default_value = "500", value_parser = parse_size)]
    pub(crate) min_body_rate: u64,

    /// Timeout for a client to send the head of a request.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) header_timeout: Duration,

    /// Idle timeout of client connections.
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = parse_duration)]
    pub(crate) idle_timeout: Duration,

    /// Idle timeout of connections to UCS; must be shorter than UCS's own keep-alive timeout.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub(crate) upstream_idle: Duration,

    /// Maximum age of connections to UCS, after which the name of UCS is looked up again.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub(crate) upstream_max_age: Duration,

    /// Maximum number of connections to UCS, per worker.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub(crate) upstream_connections: usize,

    /// Maximum number of requests that wait for a connection to UCS, per worker.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) upstream_queue: usize,

    /// Maximum number of requests of a class in flight, over all workers; repeatable. Other classes are not limited.
    #[arg(long, value_name = "CLASS=N", value_delimiter = ',')]
    pub(crate) max_in_flight: Vec<ClassLimit>,

    /// Maximum size of a request body, in bytes or with KiB, MiB, GiB.
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    pub(crate) max_body: u64,

    /// Maximum size of a request head.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_head_size)]
    pub(crate) max_head: u64,

    /// Maximum size of a request target (path and query).
    #[arg(long, value_name = "SIZE", default_value = "8KiB", value_parser = parse_head_size)]
    pub(crate) max_target: u64,

    /// Maximum number of header fields in a request.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = positive)]
    pub(crate) max_headers: usize,

    /// Maximum number of client connections, over all workers.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = positive)]
    pub(crate) max_connections: usize,

    /// Proxies whose X-Forwarded-For or Forwarded names the client: ADDRESS/PREFIX, one address, or unix for the peers of a unix
    /// socket; repeatable. From other peers these fields are then dropped.
    #[arg(long, value_name = "CIDR|unix", value_delimiter = ',')]
    pub(crate) trusted_proxy: Vec<TrustedProxy>,

    /// Respond to GET /livez on the data port, for load balancers. UCS then never receives this path.
    #[arg(long)]
    pub(crate) data_livez: bool,

    /// Time after SIGTERM in which connections are still accepted and idle ones wait for their next request; part of
    /// --stop-timeout. A second SIGTERM ends it.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub(crate) stop_linger: Duration,

    /// Time that requests in flight may take to complete after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) stop_timeout: Duration,

    /// Reload the route table and access.yaml when their content has changed.
    #[arg(long)]
    pub(crate) watch_files: bool,

    /// Program that is started when a flip has settled or was reverted and when an alarm comes up, with the document of
    /// GET /mode on its standard input. One at a time; no part of the gateway waits for it.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) on_change: Option<PathBuf>,

    /// Time that the program of --on-change may take before it is killed.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) on_change_timeout: Duration,

    /// Format of log lines.
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = named(LogFormat::NAMES))]
    pub(crate) log_format: LogFormat,

    /// Log level: error, warn, info, debug or trace; or a filter such as `info,ucs_gateway::control=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,

    /// Write an access log to standard output, one line per request.
    #[arg(long)]
    pub(crate) access_log: bool,

    /// Serve /metrics without a credential.
    #[arg(long)]
    pub(crate) metrics_open: bool,
}

/// The store of the mode record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// The state directory.
    File,
    Etcd(EtcdAddress),
}

fn parse_store(text: &str) -> Result<StoreKind, String> {
    match text {
        "file" => Ok(StoreKind::File),
        _ if text.starts_with("etcd") => text.parse().map(StoreKind::Etcd),
        _ => Err("write file, which keeps the record in the state directory, or etcd://HOST:PORT/NAME".to_owned()),
    }
}

/// The interval of a poll. Without a pause, it would ask UCS hundreds of times a second.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    if interval < SHORTEST_INTERVAL { Err("at least 10ms".to_owned()) } else { Ok(interval) }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number, at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A request for a mode is waited for up to two minutes beyond its drain, so UCS gets a little less.
fn parse_set_mode_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text).map_err(|error| error.to_string())?;
    match (Duration::from_millis(100)..=Duration::from_secs(110)).contains(&timeout) {
        true => Ok(timeout),
        false => Err("write 100ms to 110s".to_owned()),
    }
}

/// `off`, or a path: any other text would be appended to base_path, and the probe would silently find nothing.
fn parse_schema_probe(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte));
    if text == "off" || is_path {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a path; write a path that begins with a slash, e.g. /metadata/profiles, or off"))
    }
}

/// Parses `--upstream`. The error of clap would repeat the text, and a password in it would end up in the log.
#[derive(Clone)]
pub(crate) struct UpstreamParser;

impl TypedValueParser for UpstreamParser {
    type Value = UpstreamUrl;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, text: &OsStr) -> Result<UpstreamUrl, clap::Error> {
        let url = text.to_string_lossy().parse::<UpstreamUrl>();
        url.map_err(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--upstream: {error}\n")).with_cmd(command)
        })
    }
}

/// Retry-After is in whole seconds, and 0 asks for a retry at once.
fn parse_retry_after(text: &str) -> Result<Duration, String> {
    let longest = parse_duration(text).map_err(|error| error.to_string())?;
    if longest >= Duration::from_secs(1) { Ok(longest) } else { Err("at least 1s".to_owned()) }
}

/// A head is held in memory whole, so its limit has a limit.
fn parse_head_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size <= LONGEST_HEAD { Ok(size) } else { Err("at most 16MiB, as request heads are held in memory".to_owned()) }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("write a number of bytes, or a number with KiB, MiB or GiB".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "write a number of bytes, or a number with KiB, MiB or GiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "value is too large".to_owned())
}
