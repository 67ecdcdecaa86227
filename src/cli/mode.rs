//! `mode get|set|watch|history|preview`: the mode of a running gateway, through its admin API. It reads no state file but the
//! token.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::admin_client::{AdminArgs, AdminClient, CallError};
use super::output::{FAILED, MISCONFIGURED, fail};
use crate::config::AdminAddress;
use crate::control_handle::FLIP_SLACK;
use crate::policy::duration::{Written, WrittenEnd};
use crate::policy::mode::{Mode, OnTimeout};

/// The timeout of a call that changes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The assumed drain timeout without --drain-timeout, as the setting of the gateway is not known here.
const LONGEST_DEFAULT_DRAIN: Duration = Duration::from_secs(24 * 3600);

/// The arguments of `mode`.
#[derive(Args, Debug)]
pub(crate) struct ModeArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the JSON document of the admin API
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: ModeCommand,
}

#[derive(Debug, Subcommand)]
enum ModeCommand {
    /// Show the current mode
    Get,
    /// Change the mode and wait until it is settled
    Set(SetArgs),
    /// Follow mode changes and drains until interrupted
    Watch,
    /// Show past changes, newest first
    History {
        /// Maximum number of entries, 1 to 1000
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show the requests that a mode change would refuse now
    Preview {
        /// Target mode
        mode: ModeName,
    },
}

#[derive(Args, Debug)]
struct SetArgs {
    /// Target mode
    mode: ModeName,
    /// Reason, recorded in the history
    #[arg(long)]
    reason: Option<String>,
    /// Change back automatically after this time, e.g. 2h; `never` removes an expiry
    #[arg(long)]
    expires_in: Option<WrittenEnd>,
    /// Drain timeout: how long to wait for requests in flight, e.g. 60s
    #[arg(long)]
    drain_timeout: Option<Written>,
    /// Action at the drain timeout
    #[arg(long)]
    on_timeout: Option<OnTimeoutName>,
    /// Change the mode only if the record still has this revision
    #[arg(long)]
    if_revision: Option<u64>,
    /// Change to production even if UCS has no profile schema
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    Production,
    Maintenance,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnTimeoutName {
    /// Revert to the previous mode
    Revert,
    /// Abort the remaining requests, then change the mode
    Cut,
    /// Change the mode although requests are still running
    Commit,
}

impl ModeName {
    fn mode(self) -> Mode {
        match self {
            ModeName::Production => Mode::Production,
            ModeName::Maintenance => Mode::Maintenance,
        }
    }
}

impl OnTimeoutName {
    fn choice(self) -> OnTimeout {
        match self {
            OnTimeoutName::Revert => OnTimeout::Revert,
            OnTimeoutName::Cut => OnTimeout::Cut,
            OnTimeoutName::Commit => OnTimeout::Commit,
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ModeArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, format!("cannot start: {error}")),
    };
    match runtime.block_on(command(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Call(CallError::Refused(refusal))) => {
            if arguments.json {
                let _ = writeln!(io::stdout(), "{}", refusal.document);
            }
            let still = summary_of_counts(&refusal.document["report"]["still_running"]);
            let still = if still.is_empty() { still } else { format!("\nstill running: {still}") };
            let code = if refusal.document["reason"] == "bad_body" { MISCONFIGURED } else { FAILED };
            fail(code, format!("{}{still}", CallError::Refused(refusal)))
        }
        Err(CommandError::Call(error @ (CallError::Token { .. } | CallError::BadToken))) => fail(MISCONFIGURED, error),
        Err(error) => fail(FAILED, error),
    }
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("the gateway ended the event stream; it is shutting down, or this client read too slowly")]
    StreamEnded,
}

async fn command(arguments: &ModeArgs) -> Result<(), CommandError> {
    let client = AdminClient::new(&arguments.admin)?;
    if let AdminAddress::Tcp(address) = &arguments.admin.admin
        && !address.is_loopback()
    {
        writeln!(io::stderr(), "ucs-gateway: warning: the token is sent to {address} in clear text")?;
    }
    let (document, print): (Value, fn(&Value) -> String) = match &arguments.command {
        ModeCommand::Get => (get(&client, "/mode").await?, describe_mode),
        ModeCommand::Set(wanted) => (set(&client, wanted).await?, describe_flip),
        ModeCommand::Watch => return watch(&client, arguments.json).await,
        ModeCommand::History { limit } => {
            (get(&client, &format!("/mode/history?limit={limit}")).await?, describe_history)
        }
        ModeCommand::Preview { mode } => {
            (get(&client, &format!("/mode/preview?mode={}", mode.mode())).await?, describe_preview)
        }
    };
    let text = if arguments.json { format!("{document}\n") } else { print(&document) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn get(client: &AdminClient, target: &str) -> Result<Value, CallError> {
    client.call(Method::GET, target, None, PATIENCE).await
}

/// Changes the mode, and reports the drain on standard error.
async fn set(client: &AdminClient, wanted: &SetArgs) -> Result<Value, CommandError> {
    let patience = wanted.drain_timeout.map_or(LONGEST_DEFAULT_DRAIN, |timeout| timeout.0) + FLIP_SLACK * 2;
    let body = set_body(wanted);
    let flip = client.call(Method::PUT, "/mode", Some(&body), patience);
    tokio::pin!(flip);
    // Progress is optional: without the permission or the stream, the change continues.
    let progress = async {
        let Ok(mut events) = client.events().await else { return };
        while let Ok(Some((name, event))) = events.next().await {
            if name == "drain" {
                let _ = writeln!(io::stderr(), "{}", describe_drain(&event));
            }
        }
    };
    tokio::select! {
        biased;
        flipped = &mut flip => return Ok(flipped?),
        () = progress => {}
    }
    Ok(flip.await?)
}

fn set_body(wanted: &SetArgs) -> Value {
    let mut body = Map::new();
    body.insert("mode".to_owned(), json!(wanted.mode.mode()));
    let mut add = |name: &str, value: Option<Value>| value.map(|value| body.insert(name.to_owned(), value));
    add("reason", wanted.reason.as_ref().map(|reason| json!(reason)));
    add("if_revision", wanted.if_revision.map(|revision| json!(revision)));
    add("drain_timeout", wanted.drain_timeout.map(|timeout| json!(timeout)));
    add("on_timeout", wanted.on_timeout.map(|choice| json!(choice.choice())));
    add("expires_in", wanted.expires_in.map(|expires| json!(expires)));
    add("force", wanted.force.then_some(Value::Bool(true)));
    Value::Object(body)
}

async fn watch(client: &AdminClient, json: bool) -> Result<(), CommandError> {
    let mut events = client.events().await?;
    while let Some((name, event)) = events.next().await? {
        let line = match (json, name.as_str()) {
            (true, _) => json!({"event": name, "data": event}).to_string(),
            (false, "record") => describe_mode(&event).trim_end().replace('\n', "; "),
            (false, "drain") => describe_drain(&event),
            (false, "refused") => format!("refused {} more, {} in all", event["more"], event["total"]),
            (false, _) => continue,
        };
        writeln!(io::stdout(), "{line}")?;
    }
    Err(CommandError::StreamEnded)
}

fn describe_mode(document: &Value) -> String {
    let text = |name: &str| document[name].as_str().unwrap_or("-");
    let actor = &document["actor"];
    let mut lines = vec![match document["phase"].as_str() {
        Some("switching") => format!("switching from {} to {}", text("from"), text("mode")),
        _ => text("mode").to_owned(),
    }];
    let who = format!("{} ({})", actor["name"].as_str().unwrap_or("-"), actor["kind"].as_str().unwrap_or("-"));
    lines.push(format!("since {} by {who}, revision {}", text("since"), document["revision"]));
    for (name, label) in [("reason", "reason"), ("cause", "cause"), ("expires", "expires"), ("alarm", "ALARM")] {
        if let Some(value) = document[name].as_str() {
            lines.push(format!("{label}: {value}"));
        }
    }
    lines.extend(describe_drain_outcome(document));
    let counts = &document["in_flight"];
    let each = ["production", "maintenance", "both"].map(|set| format!("{set} {}", counts[set]));
    lines.push(format!("in flight: {}; profile schema: {}", each.join(", "), text("schema")));
    lines.push(describe_upstream(&document["upstream"]));
    lines.join("\n") + "\n"
}

/// UCS's own mode, how it compares with the gateway's, and why.
fn describe_upstream(upstream: &Value) -> String {
    let text = |name: &str| upstream[name].as_str().unwrap_or("-");
    let detail = upstream["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("UCS: {}, {} since {}{detail}", text("mode"), text("state"), text("since"))
}

/// What is not sure about the drain of a mode.
fn describe_drain_outcome(record: &Value) -> Option<String> {
    let named = summary_of_counts(&record["abandoned"]);
    match record["drain"].as_str()? {
        "assumed" if named.is_empty() => Some("drain: assumed; a killed gateway may have left requests".to_owned()),
        "assumed" => Some(format!("drain: assumed; given up on: {named}")),
        "forced" => Some(format!("drain: forced while requests were running: {named}")),
        _ => None,
    }
}

fn describe_flip(document: &Value) -> String {
    let report = &document["report"];
    let mut text = match report["changed"] == false {
        true => "no change: the mode is already in force\n".to_owned(),
        false => format!("settled after a drain of {} ms\n", report["drain_ms"]),
    };
    for (name, label) in [("waited_for", "waited for"), ("abandoned", "abandoned"), ("still_running", "still running")]
    {
        let counts = summary_of_counts(&report[name]);
        if !counts.is_empty() {
            text.push_str(&format!("{label}: {counts}\n"));
        }
    }
    text + &describe_mode(document)
}

fn describe_drain(event: &Value) -> String {
    let running = summary_of_counts(&event["running"]);
    let running = if running.is_empty() { running } else { format!(": {running}") };
    format!("switching to {}: waiting for {}{running}", event["mode"].as_str().unwrap_or("-"), event["waiting_for"])
}

fn describe_history(document: &Value) -> String {
    let entries = document["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for entry in entries {
        // An entry of the journal is a record, or contains one.
        let record = if entry["record"].is_object() { &entry["record"] } else { entry };
        let word = |name: &str| record[name].as_str().unwrap_or("-");
        let actor = record["actor"]["name"].as_str().unwrap_or("-");
        let why = record["reason"].as_str().or(record["cause"].as_str()).unwrap_or("");
        let (since, mode, phase) = (word("since"), word("mode"), word("phase"));
        text.push_str(format!("{:>6}  {since}  {mode:<11}  {phase:<9}  {actor}  {why}", record["revision"]).trim_end());
        text.push('\n');
        if let Some(drain) = describe_drain_outcome(record) {
            text.push_str(&format!("        {drain}\n"));
        }
    }
    if text.is_empty() { "no changes yet\n".to_owned() } else { text }
}

fn describe_preview(document: &Value) -> String {
    let mode = document["mode"].as_str().unwrap_or("-");
    let mut text = format!(
        "a change to {mode} would wait for {} requests in flight and refuse {} per minute (over the last {} s)\n",
        document["waits_for"], document["per_minute"], document["window_seconds"]
    );
    for operation in document["would_refuse"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = operation["operation"].as_str().unwrap_or("-");
        text.push_str(&format!("{:>6} in flight {:>9}/min  {name}\n", operation["in_flight"], operation["per_minute"]));
    }
    text
}

fn summary_of_counts(counts: &Value) -> String {
    let counts = counts.as_array().map(Vec::as_slice).unwrap_or_default();
    let each = counts.iter().map(|one| format!("{} {}", one["count"], one["operation"].as_str().unwrap_or("-")));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::admin::tests::{Running, flip_at_once, start};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        mode: ModeArgs,
    }

    fn set_of(arguments: &[&str]) -> Value {
        let command = Command::try_parse_from([&["x", "set"], arguments].concat()).unwrap();
        let ModeCommand::Set(wanted) = command.mode.command else { panic!("not set") };
        set_body(&wanted)
    }

    #[test]
    fn flags_become_the_body_and_nothing_else_does() {
        assert_eq!(set_of(&["maintenance"]), json!({"mode": "maintenance"}));
        let all =
            ["production", "--reason", "r", "--expires-in", "2h", "--drain-timeout", "90s", "--on-timeout", "cut"];
        let all = [&all[..], &["--if-revision", "7", "--force"]].concat();
        let wanted = json!({"mode": "production", "reason": "r", "expires_in": "2h", "drain_timeout": "90s",
            "on_timeout": "cut", "if_revision": 7, "force": true});
        assert_eq!(set_of(&all), wanted);
        let endless = set_of(&["maintenance", "--expires-in", "never"]);
        assert_eq!(endless, json!({"mode": "maintenance", "expires_in": "never"}));
        assert!(Command::try_parse_from(["x", "set", "maintenance", "--expires-in", "2 h"]).is_err());
        assert!(Command::try_parse_from(["x", "set", "off"]).is_err());
    }

    #[test]
    fn a_flip_is_described() {
        let waited = json!([{"operation": "Query", "class": "profile", "count": 3}]);
        let told = describe_flip(&json!({"mode": "maintenance", "phase": "settled", "revision": 8, "since": "now",
            "actor": {"kind": "operator", "name": "ann"}, "drain": "forced", "abandoned": waited, "schema": "defined",
            "in_flight": {"production": 0, "maintenance": 1, "both": 2},
            "upstream": {"mode": "unknown", "state": "behind", "since": "then", "detail": "it is gone"},
            "report": {"changed": true, "drain_ms": 12, "waited_for": waited}}));
        for wanted in [
            "drain of 12 ms",
            "waited for: 3 Query",
            "by ann (operator), revision 8",
            "UCS: unknown, behind since then: it is gone",
            "drain: forced while requests were running: 3 Query",
        ] {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
    }

    fn arguments(running: &Running, arguments: &[&str]) -> (AdminClient, ModeArgs) {
        let (address, token) = (running.address.to_string(), running.folder.join("admin.token"));
        let admin = ["x", "--admin", &address, "--token-file", token.to_str().unwrap()];
        let mode = Command::try_parse_from([&admin[..], arguments].concat()).unwrap().mode;
        (AdminClient::new(&mode.admin).unwrap(), mode)
    }

    #[tokio::test]
    async fn set_flips_a_running_gateway_and_get_shows_it() {
        let running = start(flip_at_once).await;
        let (client, mode) =
            arguments(&running, &["set", "maintenance", "--reason", "night work", "--if-revision", "7"]);
        let ModeCommand::Set(wanted) = &mode.command else { panic!("not set") };
        assert_eq!(set(&client, wanted).await.unwrap()["report"]["changed"], json!(true));
        let shown = describe_mode(&get(&client, "/mode").await.unwrap());
        assert!(shown.starts_with("maintenance\n") && shown.contains("reason: night work"), "{shown}");
        let preview = describe_preview(&get(&client, "/mode/preview?mode=production").await.unwrap());
        assert!(preview.starts_with("a change to production would wait for 0"), "{preview}");
        assert_eq!(describe_history(&get(&client, "/mode/history?limit=2").await.unwrap()).lines().count(), 2);
    }

    #[tokio::test]
    async fn watch_reads_the_stream_and_a_wrong_token_is_refused() {
        let running = start(flip_at_once).await;
        let (client, mut mode) = arguments(&running, &["watch"]);
        let mut events = client.events().await.unwrap();
        let (name, event) = events.next().await.unwrap().unwrap();
        assert_eq!((name.as_str(), &event["revision"]), ("record", &json!(7)));
        mode.admin.token = Some("wrong".to_owned());
        let refused = AdminClient::new(&mode.admin).unwrap().events().await.err().unwrap();
        assert!(matches!(&refused, CallError::Refused(refusal) if refusal.status == 401), "{refused}");
        assert_eq!(refused.to_string(), "the credential is not accepted");
    }
}
