//! `mode get|set|close|open|watch|history|preview`: the mode of a running gateway, through its admin API: arguments, calls,
//! exit codes. It reads no state file but the token.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::admin_client::{AdminArgs, AdminClient, CallError};
use super::history_text::describe_history;
use super::mode_set::{self, SetEnd};
use super::mode_text::{
    describe_drain, describe_flip, describe_mode, describe_preview, describe_record_event, describe_rehearsal,
    requests, summary_of_counts,
};
use super::output::{FAILED, MISCONFIGURED, block_on, fail, note, print};
use super::times::Reader;
use crate::config::named;
use crate::policy::duration::Written;
use crate::policy::mode::{End, Mode, OnTimeout, When};
use crate::transport::Address;

/// The timeout of a call that changes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The timeout of a flip: the longest drain, and more than may follow it. The gateway responds earlier, at the deadline of the
/// flip that is under way at the latest.
const LONGEST_FLIP: Duration = Duration::from_secs(25 * 3600);

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
    #[command(after_long_help = EXIT_CODES)]
    Set(SetArgs),
    /// Close this gateway alone: refuse what only one mode admits, whichever mode is in force; the mode is not changed
    Close(LocalArgs),
    /// Admit the operations of the mode again after `close`
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
    #[arg(long, value_name = "TIME", value_parser = local_time)]
    back_at: Option<When>,
    /// Change back automatically after this time, e.g. 2h; `never` removes an expiry
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<End>,
    /// Change at this time: HH:MM (the next one, local time) or an RFC 3339 time; `never` cancels the scheduled change
    #[arg(long, value_name = "TIME", value_parser = local_time)]
    at: Option<When>,
    /// Drain timeout: how long to wait for requests in flight, e.g. 60s
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<Written>,
    /// Action at the drain timeout
    #[arg(long, value_name = "ACTION", value_parser = named(OnTimeout::NAMES))]
    on_timeout: Option<OnTimeout>,
    /// Change the mode only if the record still has this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    /// Change to production even if UCS has no profile schema or cannot be connected to
    #[arg(long)]
    force: bool,
    /// Wait until the change has ended; with `--wait=false` only until it has begun
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    wait: bool,
    /// Change nothing: check the change, and show the requests that its drain would wait for now
    #[arg(long, conflicts_with = "at")]
    rehearse: bool,
}

impl SetArgs {
    /// Whether the record changes even if the mode is in force already.
    fn amends(&self) -> bool {
        self.reason.is_some() || self.message.is_some() || self.back_at.is_some() || self.expires_in.is_some()
    }
}

fn mode_names() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(Mode::ALL.map(Mode::as_str)).try_map(|name| name.parse())
}

/// A time as people write it: HH:MM is the next one of the local clock.
fn local_time(text: &str) -> Result<When, String> {
    next_local(text, &jiff::ZonedDateTime::now())
}

fn next_local(text: &str, now: &jiff::ZonedDateTime) -> Result<When, String> {
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
    Ok(When::At(next.timestamp()))
}

/// The end of the help of `mode set`.
const EXIT_CODES: &str = "Exit codes: 0 settled, already in force, scheduled, or begun with --wait=false; 1 failed; 2 wrong \
                          usage; 3 reverted at the drain timeout; 4 refused by the gateway or UCS, or cancelled; 5 the gateway cannot be \
                          reached; 130 left by Ctrl-C, the change continues.";

/// Exit code of `mode set` when the drain timed out and the old mode is in force again.
const REVERTED: u8 = 3;

/// Exit code of `mode set` when the gateway refused the change.
const REFUSED: u8 = 4;

/// Exit code when the gateway cannot be reached.
const UNREACHABLE: u8 = 5;

/// Exit code of `mode set` when the operator left by Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(arguments: &ModeArgs) -> ExitCode {
    block_on(async { command(arguments).await.unwrap_or_else(|error| refused_or_failed(arguments.json, error)) })
}

fn refused_or_failed(json: bool, error: CommandError) -> ExitCode {
    match error {
        CommandError::Call(CallError::Refused(refusal)) => {
            if json {
                let _ = writeln!(io::stdout(), "{}", refusal.document);
            }
            let document = &refusal.document;
            let still = summary_of_counts(&document["report"]["still_running"]);
            let still = if still.is_empty() { still } else { format!("\nstill running: {still}") };
            let (code, next) = meaning_of(document["reason"].as_str().unwrap_or_default());
            let next = next.map(|next| format!("\nnext: {next}")).unwrap_or_default();
            fail(code, format!("{}{still}{next}", CallError::Refused(refusal)))
        }
        CommandError::Call(
            error @ (CallError::Token { .. } | CallError::BadToken | CallError::NoCa | CallError::ClearText),
        ) => fail(MISCONFIGURED, error),
        CommandError::Call(error @ CallError::Connect { .. }) => fail(UNREACHABLE, error),
        CommandError::Call(error) => {
            fail(UNREACHABLE, format!("{error}; a change may continue: `ucs-gateway mode get` shows it"))
        }
        error => fail(FAILED, error),
    }
}

/// The exit code of a refusal, and the next step of the operator, in the words of the command line.
fn meaning_of(reason: &str) -> (u8, Option<&'static str>) {
    match reason {
        "bad_body" => (MISCONFIGURED, None),
        "drain_timeout" => (
            REVERTED,
            Some("repeat it with a longer --drain-timeout, or with --on-timeout cut, which aborts what still runs"),
        ),
        "member_missing" => (REVERTED, Some("`ucs-gateway fleet list` shows the members and their state")),
        "stale" => (REFUSED, Some("`ucs-gateway mode get` shows the record as it is now")),
        "switching" => (
            REFUSED,
            Some("`ucs-gateway mode watch` follows that change; setting the mode that it leaves takes it back"),
        ),
        "no_profile_schema" => (REFUSED, Some("create a profile schema in maintenance, or repeat it with --force")),
        "cancelled" => (REFUSED, None),
        "upstream_refused" => (REFUSED, Some("`ucs-gateway mode get` shows what is known of UCS's own mode")),
        "unauthorized" => {
            (FAILED, Some("name the right token: --token-file FILE, UCS_GATEWAY_TOKEN, or --state-dir of the gateway"))
        }
        "unmatched" => (FAILED, Some("this is the data port: name the admin port with --admin or UCS_GATEWAY_ADMIN")),
        "forbidden" => (FAILED, Some("use another credential, or have access.yaml grant this permission")),
        _ => (FAILED, None),
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

async fn command(arguments: &ModeArgs) -> Result<ExitCode, CommandError> {
    let client = AdminClient::new(&arguments.admin)?;
    if let Address::Tcp(address) = &arguments.admin.admin.address
        && !address.is_loopback()
        && arguments.admin.admin_ca.is_none()
    {
        writeln!(io::stderr(), "ucs-gateway: warning: the token is sent to {address} in clear text")?;
    }
    let reader = Reader::here();
    let (document, text) = match &arguments.command {
        ModeCommand::Get => shown(get(&client, "/mode").await?, |document| describe_mode(document, &reader)),
        ModeCommand::Close(local) => {
            shown(set_local(&client, true, local).await?, |document| describe_mode(document, &reader))
        }
        ModeCommand::Open(local) => {
            shown(set_local(&client, false, local).await?, |document| describe_mode(document, &reader))
        }
        ModeCommand::Set(wanted) => match set(&client, wanted).await? {
            SetEnd::Ended(document) => shown(document, |document| describe_set(wanted, document)),
            SetEnd::Left => {
                note("the change continues without this command: `ucs-gateway mode watch` shows how it ends");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        },
        ModeCommand::Watch => return watch(&client, arguments.json).await,
        ModeCommand::History { limit } => {
            let document = get(&client, &format!("/mode/history?limit={limit}")).await?;
            shown(document, |document| describe_history(document, &reader))
        }
        ModeCommand::Preview { mode } => {
            shown(get(&client, &format!("/mode/preview?mode={mode}")).await?, describe_preview)
        }
    };
    let text = if arguments.json { format!("{document}\n") } else { text };
    Ok(print(&text, ExitCode::SUCCESS))
}

fn shown(document: Value, text: impl Fn(&Value) -> String) -> (Value, String) {
    let text = text(&document);
    (document, text)
}

fn describe_set(wanted: &SetArgs, document: &Value) -> String {
    let reader = Reader::here();
    match wanted {
        SetArgs { rehearse: true, .. } => describe_rehearsal(document),
        SetArgs { at: Some(When::Never), .. } => {
            "nothing is scheduled\n".to_owned() + &describe_mode(document, &reader)
        }
        SetArgs { at: Some(_), mode, .. } => {
            format!("scheduled: a change to {mode}; until then\n") + &describe_mode(document, &reader)
        }
        _ => describe_flip(document, wanted.amends(), &reader),
    }
}

async fn get(client: &AdminClient, target: &str) -> Result<Value, CallError> {
    client.call(Method::GET, target, None, PATIENCE).await
}

async fn set_local(client: &AdminClient, closed: bool, local: &LocalArgs) -> Result<Value, CallError> {
    let body = json!({"closed": closed, "reason": local.reason});
    client.call(Method::PUT, "/local", Some(&body), PATIENCE).await
}

async fn set(client: &AdminClient, wanted: &SetArgs) -> Result<SetEnd, CallError> {
    let body = set_body(wanted);
    if wanted.rehearse {
        // In a fleet it takes as long as the drains would.
        return Ok(SetEnd::Ended(client.call(Method::PUT, "/mode", Some(&body), LONGEST_FLIP).await?));
    }
    mode_set::set(client, &body, LONGEST_FLIP).await
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
    add("rehearse", wanted.rehearse.then_some(Value::Bool(true)));
    add("wait", (!wanted.wait).then_some(Value::Bool(false)));
    Value::Object(body)
}

async fn watch(client: &AdminClient, json: bool) -> Result<ExitCode, CommandError> {
    let mut events = client.events().await?;
    while let Some((name, event)) = events.next().await? {
        let reader = Reader::here();
        let line = match (json, name.as_str()) {
            (true, _) => json!({"event": name, "data": event}).to_string(),
            (false, "record") => describe_record_event(&event, &reader),
            (false, "drain") => format!("{}  {}", reader.time_of_day(), describe_drain(&event, &reader)),
            (false, "refused") => {
                let (more, total) = (event["more"].as_u64().unwrap_or(0), event["total"].as_u64().unwrap_or(0));
                format!("{}  refused {} more, {total} in all", reader.time_of_day(), requests(more))
            }
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
