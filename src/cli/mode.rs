//! `mode get|set|close|open|watch|history|preview`: the mode of a running gateway, through its admin API. It reads no
//! state file but the token.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::admin_client::{AdminArgs, AdminClient, CallError};
use super::mode_text::{
    describe_drain, describe_flip, describe_history, describe_mode, describe_preview, summary_of_counts,
};
use super::output::{FAILED, MISCONFIGURED, fail};
use crate::config::named;
use crate::control_handle::FLIP_SLACK;
use crate::policy::duration::{Written, WrittenEnd};
use crate::policy::mode::{Mode, OnTimeout};
use crate::policy::written_time::WrittenTime;
use crate::transport::Address;

/// The timeout of a call that changes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The assumed drain timeout without --drain-timeout, as the setting of the gateway is not known here.
const LONGEST_DEFAULT_DRAIN: Duration = Duration::from_secs(24 * 3600);

/// The arguments of `mode`.
#[derive(Args, Debug)]
pub(crate) struct ModeArgs {
    /// Print the JSON document of the admin API
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: ModeCommand,
}

#[derive(Debug, Subcommand)]
enum ModeCommand {
    /// Show the current mode
    Get,
    /// Change the mode and wait until it is settled
    Set(SetArgs),
    /// Close both single modes at this gateway alone; the mode itself stays
    Close(LocalArgs),
    /// Open this gateway again after `close`
    Open(LocalArgs),
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
        #[arg(value_parser = mode_names(), ignore_case = true)]
        mode: Mode,
    },
}

#[derive(Args, Debug)]
struct LocalArgs {
    /// Reason, recorded in the history
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Args, Debug)]
struct SetArgs {
    /// Target mode
    #[arg(value_parser = mode_names(), ignore_case = true)]
    mode: Mode,
    /// Reason, recorded in the history
    #[arg(long)]
    reason: Option<String>,
    /// Message for clients that are refused; empty removes it
    #[arg(long)]
    message: Option<String>,
    /// When clients may expect the other mode: HH:MM (the next one, local time), an RFC 3339 time, or `never`
    #[arg(long, value_parser = local_time)]
    back_at: Option<WrittenTime>,
    /// Change back automatically after this time, e.g. 2h; `never` removes an expiry
    #[arg(long)]
    expires_in: Option<WrittenEnd>,
    /// Change at this time: HH:MM (the next one, local time) or an RFC 3339 time; `never` cancels the scheduled change
    #[arg(long, value_parser = local_time)]
    at: Option<WrittenTime>,
    /// Drain timeout: how long to wait for requests in flight, e.g. 60s
    #[arg(long)]
    drain_timeout: Option<Written>,
    /// Action at the drain timeout
    #[arg(long, value_parser = named::<OnTimeout>(OnTimeout::NAMES))]
    on_timeout: Option<OnTimeout>,
    /// Change the mode only if the record still has this revision
    #[arg(long)]
    if_revision: Option<u64>,
    /// Change to production even if UCS has no profile schema or cannot be connected to
    #[arg(long)]
    force: bool,
    /// Wait until the change has ended; with `--wait=false` only until it has begun
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    wait: bool,
}

/// The names of the modes.
fn mode_names() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(Mode::ALL.map(Mode::as_str)).try_map(|name| name.parse())
}

/// A time as people write it: HH:MM is the next one of the local clock.
fn local_time(text: &str) -> Result<WrittenTime, String> {
    next_local(text, &jiff::ZonedDateTime::now())
}

fn next_local(text: &str, now: &jiff::ZonedDateTime) -> Result<WrittenTime, String> {
    let Ok(time) = jiff::civil::Time::strptime("%H:%M", text) else {
        return text.parse().map_err(|error| format!("{error}, or HH:MM"));
    };
    let today = now.with().time(time).build().map_err(|error| error.to_string())?;
    let next = if today > *now {
        today
    } else {
        let tomorrow = now.tomorrow().map_err(|error| error.to_string())?;
        tomorrow.with().time(time).build().map_err(|error| error.to_string())?
    };
    Ok(WrittenTime::At(next.timestamp()))
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
    if let Address::Tcp(address) = &arguments.admin.admin
        && !address.is_loopback()
    {
        writeln!(io::stderr(), "ucs-gateway: warning: the token is sent to {address} in clear text")?;
    }
    let (document, print): (Value, fn(&Value) -> String) = match &arguments.command {
        ModeCommand::Get => (get(&client, "/mode").await?, describe_mode),
        ModeCommand::Close(local) => (set_local(&client, true, local).await?, describe_mode),
        ModeCommand::Open(local) => (set_local(&client, false, local).await?, describe_mode),
        ModeCommand::Set(wanted) if wanted.at.is_some() => (set(&client, wanted).await?, describe_mode),
        ModeCommand::Set(wanted) => (set(&client, wanted).await?, describe_flip),
        ModeCommand::Watch => return watch(&client, arguments.json).await,
        ModeCommand::History { limit } => {
            (get(&client, &format!("/mode/history?limit={limit}")).await?, describe_history)
        }
        ModeCommand::Preview { mode } => {
            (get(&client, &format!("/mode/preview?mode={}", mode)).await?, describe_preview)
        }
    };
    let text = if arguments.json { format!("{document}\n") } else { print(&document) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn get(client: &AdminClient, target: &str) -> Result<Value, CallError> {
    client.call(Method::GET, target, None, PATIENCE).await
}

async fn set_local(client: &AdminClient, closed: bool, local: &LocalArgs) -> Result<Value, CallError> {
    let body = json!({"closed": closed, "reason": local.reason});
    client.call(Method::PUT, "/local", Some(&body), PATIENCE).await
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
    body.insert("mode".to_owned(), json!(wanted.mode));
    let mut add = |name: &str, value: Option<Value>| value.map(|value| body.insert(name.to_owned(), value));
    add("reason", wanted.reason.as_ref().map(|reason| json!(reason)));
    add("message", wanted.message.as_ref().map(|message| json!(message)));
    add("back_at", wanted.back_at.map(|time| json!(time)));
    add("at", wanted.at.map(|time| json!(time)));
    add("if_revision", wanted.if_revision.map(|revision| json!(revision)));
    add("drain_timeout", wanted.drain_timeout.map(|timeout| json!(timeout)));
    add("on_timeout", wanted.on_timeout.map(|choice| json!(choice)));
    add("expires_in", wanted.expires_in.map(|expires| json!(expires)));
    add("force", wanted.force.then_some(Value::Bool(true)));
    add("wait", (!wanted.wait).then_some(Value::Bool(false)));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

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
        let all = [&all[..], &["--if-revision", "7", "--force", "--message", "m"]].concat();
        let wanted = json!({"mode": "production", "reason": "r", "expires_in": "2h", "drain_timeout": "90s",
            "on_timeout": "cut", "if_revision": 7, "force": true, "message": "m"});
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

    #[test]
    fn a_time_of_the_clock_is_the_next_one() {
        let at = |text: &str| text.parse::<jiff::ZonedDateTime>().unwrap();
        let next = |text: &str, now: &str| next_local(text, &at(now)).unwrap().to_string();
        let evening = "2026-03-28T21:00:00+01:00[Europe/Berlin]";
        assert_eq!(next("21:30", evening), "2026-03-28T20:30:00Z");
        assert_eq!(next("21:00", evening), "2026-03-29T19:00:00Z", "summer time has begun");
        assert_eq!(next("02:30", evening), "2026-03-29T01:30:00Z", "an hour that is skipped");
        assert_eq!(next("2026-04-01T00:00:00+02:00", evening), "2026-03-31T22:00:00Z");
        assert_eq!(next("never", evening), "never");
        for wrong in ["25:00", "noon", "21", ""] {
            assert!(next_local(wrong, &at(evening)).unwrap_err().contains("HH:MM"), "{wrong}");
        }
    }
}
