//! `check --upstream URL`: whether a real UCS and the route table fit each other. It sends GET requests only, and changes
//! nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::links::hosts_of_links;
use crate::config::UpstreamParser;
use crate::control::ucs::client::{CallError, CallResponse, UpstreamClient};
use crate::control::ucs::credentials::{CredentialsError, UpstreamCredentials};
use crate::control::ucs::link::{Reading, UpstreamLink};
use crate::control::ucs::schema::{Observation, observe};
use crate::policy::table::{Pattern, RouteMethod, RouteTable};
use crate::transport::{ClientFiles, TlsClient, Upstream, UpstreamUrl};

/// The timeout of a connection and of a call.
const CONNECT: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(10);

/// The time for all calls.
const WHOLE: Duration = Duration::from_secs(15);

/// Base paths that UCS's documentation mentions, tried when the table's own leads nowhere.
const KNOWN_BASE_PATHS: [&str; 4] = ["", "/genesys/1/cs", "/cv", "/cms"];

/// The flags of `check` about UCS. Their variables are not those of `serve`: a unit that checks the table before a reload must
/// not depend on UCS.
#[derive(Args, Debug)]
pub(crate) struct UpstreamCheckArgs {
    /// Also ask this UCS whether it and the table fit; only GET requests are sent, for 15 seconds at most
    #[arg(long, env = "UCS_GATEWAY_CHECK_UPSTREAM", hide_env_values = true, value_name = "URL", value_parser = UpstreamParser)]
    pub(crate) upstream: Option<UpstreamUrl>,
    /// CAs that UCS's certificate must be signed by, for https
    #[arg(long, env = "UCS_GATEWAY_CHECK_UPSTREAM_CA", value_name = "FILE", requires = "upstream")]
    pub(crate) upstream_ca: Option<PathBuf>,
    /// File with the login for these requests, USER:PASSWORD
    #[arg(long, env = "UCS_GATEWAY_CHECK_UPSTREAM_CREDENTIALS", value_name = "FILE", requires = "upstream")]
    pub(crate) upstream_credentials: Option<PathBuf>,
    /// Path of the schema probe, below the table's base path
    #[arg(long, env = "UCS_GATEWAY_CHECK_SCHEMA_PROBE", value_name = "PATH", default_value = "/metadata/profiles")]
    pub(crate) schema_probe: String,
    /// Further path whose response is searched for links, below the table's base path; repeatable
    #[arg(long, env = "UCS_GATEWAY_CHECK_UPSTREAM_PATH", value_name = "PATH", value_delimiter = ',')]
    pub(crate) upstream_path: Vec<String>,
}

/// One line of the result.
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    what: &'static str,
    found: String,
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    Ok,
    /// It works; the operator should know.
    Warning,
    /// It does not work, or cannot be told.
    Fault,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { grade: Grade::Ok, what, found: found.into(), advice: None }
    }

    fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { grade: Grade::Warning, what, found: found.into(), advice: Some(advice.into()) }
    }

    fn fault(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { grade: Grade::Fault, ..Finding::warning(what, found, advice) }
    }

    /// As it is printed.
    pub(crate) fn line(&self) -> String {
        let grade = self.grade.as_str();
        let advice = self.advice.as_ref().map(|advice| format!("\n                       → {advice}"));
        format!("  {grade:8} {:11} {}{}\n", self.what, self.found, advice.unwrap_or_default())
    }

    pub(crate) fn json(&self) -> Value {
        json!({"grade": self.grade.as_str(), "about": self.what, "found": self.found, "advice": self.advice})
    }
}

impl Grade {
    fn as_str(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Fault => "fault",
        }
    }
}

/// TLS to UCS, if its URL demands it.
fn tls(url: &UpstreamUrl, args: &UpstreamCheckArgs) -> Result<Option<Arc<TlsClient>>, String> {
    if !url.is_https {
        return Ok(None);
    }
    let Some(ca) = &args.upstream_ca else { return Err("https needs the CAs of UCS's certificate".to_owned()) };
    let files = ClientFiles { ca: ca.clone(), identity: None };
    TlsClient::load(&files, &url.host).map(Some).map_err(|error| error.to_string())
}

/// Asks UCS, one question after the other; without the first answers, the later questions are not asked.
pub(crate) async fn findings(
    url: &UpstreamUrl,
    args: &UpstreamCheckArgs,
    table: &RouteTable,
) -> Result<Vec<Finding>, CredentialsError> {
    let read = args.upstream_credentials.as_deref().map(UpstreamCredentials::read).transpose()?;
    let credentials = read.map(|read| Arc::new(ArcSwap::from_pointee(read)));
    let tls = match tls(url, args) {
        Ok(tls) => tls,
        Err(why) => return Ok(vec![Finding::fault("reachable", why, "see --upstream-ca")]),
    };
    let upstream = Upstream::new(url.clone(), tls);
    let client = UpstreamClient { upstream, credentials, connect_timeout: CONNECT, total_timeout: CALL };
    let link = UpstreamLink { client, set_mode_timeout: CALL };
    Ok(asked(&Asking { link, end: Instant::now() + WHOLE }, args, table).await)
}

async fn asked(asking: &Asking, args: &UpstreamCheckArgs, table: &RouteTable) -> Vec<Finding> {
    let (client, base, began) = (&asking.link.client, &*table.base_path, Instant::now());
    let reading = asking.link().read(base).await;
    if let Reading::Gone(words) = &reading {
        let advice = "start UCS, or correct --upstream; the gateway would respond with 502 to every request";
        return vec![Finding::fault("reachable", words, advice)];
    }
    let mut found = vec![Finding::ok("reachable", format!("{} accepts connections", client.upstream.url.authority))];
    if began.elapsed() >= CALL {
        let advice = "UCS hangs, or another program listens there, perhaps one that speaks TLS; nothing else was asked";
        found.push(Finding::fault("mode", reading.words(), advice));
        return found;
    }
    let (status_path, schema_path) = (format!("{base}/server/status"), format!("{base}{}", args.schema_probe));
    if let (Reading::Odd(_), Some(to)) = (&reading, asking.link().client.redirect(&status_path).await) {
        found.push(about_redirect(&status_path, &to, base));
        return found;
    }
    let schema = observe(asking.link().client.get(&schema_path).await);
    found.extend(about_mode(&reading, client.credentials.is_some()));
    found.push(about_base(asking, base, &reading, &schema).await);
    found.push(about_schema(asking, &schema_path, &schema).await);
    found.push(about_links(asking, args, table).await);
    found
}

/// The calls to UCS, and when the last one must have ended.
struct Asking {
    link: UpstreamLink,
    end: Instant,
}

impl Asking {
    /// The link for the next call, which ends in time.
    fn link(&self) -> UpstreamLink {
        let mut link = self.link.clone();
        link.client.total_timeout = CALL.min(self.end.saturating_duration_since(Instant::now()));
        link
    }
}

/// UCS's status is elsewhere. The gateway follows no redirect, so nothing else is asked.
fn about_redirect(path: &str, (status, to): &(u16, String), base: &str) -> Finding {
    let found = format!("{path} is redirected ({status}) to {to}; the gateway follows no redirect");
    // In a query it is where a login page goes back to.
    let place = to.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let advice = match place.strip_suffix("/server/status") {
        Some(other) if other.starts_with('/') => format!("write base_path: {other} in the table"),
        Some(url) if url.contains("://") => {
            let ca = if url.starts_with("https:") { " and --upstream-ca FILE" } else { "" };
            format!("give --upstream {}{ca}, here and to serve", url.strip_suffix(base).unwrap_or(url))
        }
        _ => "a login page or another server responds in UCS's place: give --upstream the address of UCS itself, here \
              and to serve"
            .to_owned(),
    };
    Finding::fault("mode", found, advice)
}

/// The status: its mode, its run, and whether a login is needed.
fn about_mode(reading: &Reading, has_login: bool) -> Vec<Finding> {
    let without = "UCS may be of a version without Server Mode: then the gateway alone keeps the mode. Otherwise correct \
                   base_path in the table, or --upstream";
    match reading {
        Reading::Mode(status) => {
            let login = match has_login {
                true => "accepted for reading; whether it may set the mode is shown by the first flip",
                false => "none needed for reading; whether setting the mode needs one is shown by the first flip",
            };
            let run = match &status.started {
                Some(started) => Finding::ok("run", format!("started {started}: a restart of UCS will be recognized")),
                None => Finding::warning(
                    "run",
                    "the status has no `started`, so a restart of UCS is not recognized",
                    "after a restart of UCS compare the modes: ucs-gateway mode get",
                ),
            };
            let mode = Finding::ok("mode", format!("Query Server Status reports {}", status.mode));
            vec![mode, run, Finding::ok("login", login)]
        }
        Reading::Locked(words) => {
            let (found, advice) = match has_login {
                true => (format!("refused: {words}"), "correct the file of --upstream-credentials"),
                false => (format!("required: {words}"), "give --upstream-credentials FILE, here and to serve"),
            };
            vec![Finding::fault("login", found, advice)]
        }
        Reading::Absent(words) => vec![Finding::warning("mode", format!("its status has no mode: {words}"), without)],
        Reading::Busy(_) | Reading::Gone(_) | Reading::Odd(_) => {
            let advice = "wait until UCS has started or finished its switch, and check again; if it stays, another server \
                          responds in its place";
            vec![Finding::fault("mode", reading.words(), advice)]
        }
    }
}

/// Whether UCS's operations are below the table's base path.
async fn about_base(asking: &Asking, base: &str, reading: &Reading, schema: &Observation) -> Finding {
    let shown = |base: &str| if base.is_empty() { "\"\"".to_owned() } else { base.to_owned() };
    let responds = |reading: &Reading| matches!(reading, Reading::Mode(_) | Reading::Locked(_));
    if responds(reading) || matches!(schema, Observation::Schema | Observation::EmptyList) {
        return Finding::ok("base path", format!("UCS's operations are below {}", shown(base)));
    }
    for other in KNOWN_BASE_PATHS.into_iter().filter(|other| *other != base) {
        if responds(&asking.link().read(other).await) {
            let found = format!("nothing of UCS is below {}, but its status is below {}", shown(base), shown(other));
            return Finding::fault("base path", found, format!("write base_path: {} in the table", shown(other)));
        }
    }
    let advice = "compare base_path in the table with UCS's option cview/base_url, and --upstream with UCS's address";
    Finding::fault("base path", format!("not proven: no operation of UCS was found below {}", shown(base)), advice)
}

async fn about_schema(asking: &Asking, path: &str, observation: &Observation) -> Finding {
    match observation {
        Observation::Schema => Finding::ok("schema", format!("{path} has a profile schema")),
        Observation::EmptyList => Finding::warning(
            "schema",
            format!("{path} is an empty list: UCS has no profile schema, and cannot serve production"),
            "create one in maintenance before production",
        ),
        Observation::NotFound => Finding::warning(
            "schema",
            format!("{path} is 404: there is no profile schema, or no such path; the gateway cannot tell them apart"),
            "if there is a schema, give serve a path that shows it: --schema-probe PATH, or off",
        ),
        Observation::Unclear(words) => match asking.link().client.redirect(path).await {
            Some((status, to)) => Finding::fault(
                "schema",
                format!("{path} is redirected ({status}) to {to}; the gateway follows no redirect"),
                "give serve a path that shows the schema without a redirect: --schema-probe PATH, or off",
            ),
            None => Finding::fault(
                "schema",
                format!("{path} tells nothing: {words}"),
                "a path that shows the schema is --schema-probe PATH, a login --upstream-credentials; off ends the probe",
            ),
        },
    }
}

/// Absolute links in the bodies of operations without a parameter: a client that follows one goes past the gateway.
async fn about_links(asking: &Asking, args: &UpstreamCheckArgs, table: &RouteTable) -> Finding {
    let (paths, skipped) = paths_to_read(args, table);
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    let (mut read, mut unread, mut is_late) = (0, None, false);
    for path in &paths {
        let response = asking.link().client.get(&format!("{}{path}", table.base_path)).await;
        if let Err(CallError::Timeout(_)) = response {
            is_late = true;
            break;
        }
        if let Ok(CallResponse { status: 200, body }) = response {
            read += 1;
            for host in hosts_of_links(&body) {
                hosts.entry(host).or_insert_with(|| path.clone());
            }
        } else if args.upstream_path.contains(path) {
            unread.get_or_insert(path);
        }
    }
    let late = if is_late { ", then none came in time" } else { "" };
    let scope = format!("in {read} of {} responses{late}; {skipped} GET operations need a parameter", paths.len());
    let own = &asking.link.client.upstream.url.authority;
    if let Some(path) = hosts.get(own) {
        return Finding::fault(
            "links",
            format!(
                "{path} has links to UCS's own address {own}: clients that follow them go past the gateway ({scope})"
            ),
            "configure UCS with the gateway's address as its own, and close UCS's port to clients",
        );
    }
    match hosts.first_key_value() {
        Some((host, path)) => Finding::warning(
            "links",
            format!("{path} has links to {host} ({scope})"),
            "right if that is the gateway's address for clients; search operations with a parameter by --upstream-path",
        ),
        None if is_late => Finding::fault(
            "links",
            format!("not proven: none {scope}"),
            "UCS is slow: check again when it is less busy",
        ),
        None if read == 0 || unread.is_some() => {
            let unread = unread.map(|path| format!("{path} has no 200, ")).unwrap_or_default();
            let advice =
                "give --upstream-credentials FILE if UCS needs a login, and --upstream-path a path that exists";
            Finding::fault("links", format!("not proven: {unread}none {scope}"), advice)
        }
        None => Finding::ok("links", format!("none {scope}, see --upstream-path")),
    }
}

/// The paths of GET operations without a parameter, and the number of those with one.
fn paths_to_read(args: &UpstreamCheckArgs, table: &RouteTable) -> (Vec<String>, usize) {
    let is_read = |method: &RouteMethod| matches!(method, RouteMethod::Only(method) if &**method == "GET");
    let routes = table.routes.iter().filter(|route| is_read(&route.method) && route.answer.is_none());
    let (fixed, others): (Vec<_>, Vec<_>) = routes
        .map(|route| &route.pattern)
        .partition(|pattern| matches!(pattern, Pattern::Template(template) if !template.contains('{')));
    let fixed = fixed.into_iter().map(|pattern| pattern.as_str().to_owned());
    (args.upstream_path.iter().cloned().chain(fixed).collect(), others.len())
}
