//! `/mode` and its history: JSON to a [`ModeChange`], and its result to a response. It decides nothing about modes.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::guard::Caller;
use super::query::{self, bad};
use super::response::{self, AdminResponse, Problem};
use super::state::AdminState;
use crate::control_handle::{ChangeError, FlipReport, Flipped};
use crate::gate::{Gate, Published};
use crate::policy::duration::Written;
use crate::policy::mode::{Actor, ActorKind, End, Mode, ModeChange, ModeRecord, ModeSet, OnTimeout, Phase, When};

/// The longest reason, and the longest message, in characters.
const LONGEST_TEXT: usize = 500;

/// The longest drain timeout that a caller may request.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 3600);

/// The shortest expiry: a shorter one would be over before the flip has settled.
const SHORTEST_EXPIRY: Duration = Duration::from_secs(1);

/// The default and the largest number of history entries.
const HISTORY: usize = 50;
const LONGEST_HISTORY: usize = 1000;

/// The body of `PUT /mode`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedChange {
    #[serde(deserialize_with = "mode_in_any_case")]
    mode: Mode,
    reason: Option<String>,
    message: Option<String>,
    #[serde(default, deserialize_with = "revision")]
    if_revision: Option<u64>,
    drain_timeout: Option<Written>,
    on_timeout: Option<OnTimeout>,
    expires_in: Option<End>,
    back_at: Option<When>,
    at: Option<When>,
    #[serde(default)]
    force: bool,
    wait: Option<bool>,
    #[serde(default)]
    rehearse: bool,
}

/// The request of `PUT /mode`.
pub(super) struct Wanted {
    pub(super) change: ModeChange,
    /// Whether to respond when the flip has ended; otherwise once it has begun.
    waits: bool,
    /// Whether to forecast the change, and change nothing.
    pub(super) rehearses: bool,
}

/// UCS takes the mode in any case, so the admin API does too.
fn mode_in_any_case<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let wanted = "write \"production\" or \"maintenance\"";
        serde::de::Error::custom(format!("{:?} is not a mode; {wanted}", text.chars().take(40).collect::<String>()))
    })
}

/// JSON has no integers: 7.0 is 7, and some clients send it in this form.
fn revision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    // Up to 2^53 each whole number has a floating point one of its own.
    let whole =
        number.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number));
    let revision = number.as_u64().or(whole.map(|number| number as u64));
    let wrong =
        || serde::de::Error::custom(format!("invalid value: {number}, expected a revision, which is a whole number"));
    revision.map(Some).ok_or_else(wrong)
}

/// The record, flat, with the current counts.
pub(super) fn show(state: &AdminState) -> Result<AdminResponse, Problem> {
    let published = state.parts.gate.published();
    let record = published.record.as_deref().ok_or_else(|| no_record(&published))?;
    Ok(response::json(StatusCode::OK, &document(&state.parts.gate, &published, record)))
}

/// The document of `GET /mode`, of the `record` event, and (with `report`) of a successful flip.
pub(crate) fn document(gate: &Gate, published: &Published, record: &ModeRecord) -> Value {
    let mut document = json!(record);
    document["in_flight"] = in_flight(gate);
    document["schema"] = json!(published.schema);
    document["upstream"] = json!(published.upstream);
    document["local"] = json!(published.local);
    // Only of a member of a fleet.
    if let Some(closed) = published.closed {
        document["closed"] = json!(closed.as_str());
    }
    document["alarm"] = json!(published.alarm);
    document
}

/// Requests in flight by set of modes.
pub(super) fn in_flight(gate: &Gate) -> Value {
    let [production, maintenance, both] = ModeSet::ALL.map(|set| gate.in_flight(set));
    json!({"production": production, "maintenance": maintenance, "both": both})
}

pub(super) fn no_record(published: &Published) -> Problem {
    let alarm = published.alarm.as_deref().unwrap_or("retry shortly");
    let detail = format!("the gateway does not know its mode yet; {alarm}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_record", detail).retry_after(1)
}

/// Changes the mode, and responds once the flip has ended, or has begun if its end is not waited for.
pub(super) async fn set(state: &AdminState, caller: &Caller, wanted: Wanted) -> Result<AdminResponse, Problem> {
    let Wanted { change, waits, rehearses: _ } = wanted;
    let patience = change.drain_timeout.unwrap_or(state.parts.drain_timeout) + state.parts.flip_slack;
    let Caller { name, trace_id, span_id } = caller;
    tracing::info!(principal = %name, mode = %change.mode, reason = change.reason, trace_id, span_id, "mode change requested");
    let is_later = matches!(change.at, Some(When::At(_)));
    let control_handle = state.parts.control_handle.clone();
    let begun = begun(&state.parts.gate, change.mode, change.if_revision);
    // In a task of its own: a client that disconnects does not stop its change.
    let asked = tokio::spawn(async move { control_handle.set_mode(change).await });
    let ended = tokio::select! {
        biased;
        ended = asked => Some(ended),
        () = is_late(state, patience) => None,
        record = begun, if !waits => {
            let report = FlipReport { changed: true, ..FlipReport::default() };
            return Ok(settled(state, &Flipped { record, report }, StatusCode::ACCEPTED));
        }
    };
    match ended {
        Some(Ok(Ok(flipped))) => {
            Ok(settled(state, &flipped, if is_later { StatusCode::ACCEPTED } else { StatusCode::OK }))
        }
        Some(Ok(Err(error))) => Err(failed(&error)),
        Some(Err(_)) => Err(failed(&ChangeError::ShuttingDown)),
        None => {
            let detail = "the flip has not ended in time and may still complete; see GET /mode";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "no_answer", detail))
        }
    }
}

/// Waits for `patience`, and on for the flip under way, which may be another one with a longer drain.
async fn is_late(state: &AdminState, patience: Duration) {
    let mut left = Some(patience);
    while let Some(wait) = left {
        tokio::time::sleep(wait).await;
        let record = state.parts.gate.published().record.clone();
        left = record.and_then(|record| left_of(&record, state.parts.flip_slack, Timestamp::now()));
    }
}

/// How long the flip under way may still take; `None` if there is none, or it should have ended.
fn left_of(record: &ModeRecord, slack: Duration, now: Timestamp) -> Option<Duration> {
    let deadline = record.deadline.filter(|_| record.phase == Phase::Switching)?;
    Duration::try_from(deadline.checked_add(slack).ok()?.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// The record of a flip to `mode`: one that begins, or the one under way, unless the request is stale.
async fn begun(gate: &Gate, mode: Mode, if_revision: Option<u64>) -> Arc<ModeRecord> {
    let mut published = gate.watch();
    let before = published.borrow().record.as_ref().map_or(0, |record| record.revision);
    let is_begun = |record: &ModeRecord| {
        let is_stale = record.revision == before && if_revision.is_some_and(|named| named != before);
        record.phase == Phase::Switching && record.mode == mode && !is_stale
    };
    loop {
        let record = published.borrow_and_update().record.clone();
        match record.filter(|record| is_begun(record)) {
            Some(record) => return record,
            // The gate outlives its callers.
            None => drop(published.changed().await),
        }
    }
}

fn settled(state: &AdminState, flipped: &Flipped, status: StatusCode) -> AdminResponse {
    let gate = &state.parts.gate;
    let mut document = document(gate, &gate.published(), &flipped.record);
    document["report"] = json!(flipped.report);
    response::json(status, &document)
}

/// The problem of each error of a change.
pub(super) fn failed(error: &ChangeError) -> Problem {
    let (status, advice) = match error {
        ChangeError::Stale(_) => (StatusCode::CONFLICT, "read GET /mode and decide again"),
        ChangeError::Busy(_) => {
            (StatusCode::CONFLICT, "wait for it, or ask for the mode that it comes from to take it back")
        }
        ChangeError::NoSchema(_) => (StatusCode::CONFLICT, "create one in maintenance, or force the change"),
        ChangeError::Cancelled(_) => (StatusCode::CONFLICT, ""),
        ChangeError::Upstream { .. } => (StatusCode::BAD_GATEWAY, ""),
        ChangeError::Deadline { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, "ask again with a longer drain_timeout, or with on_timeout cut or commit")
        }
        ChangeError::MemberMissing { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, "see GET /fleet, and `fleet forget` for a process that is gone")
        }
        ChangeError::StoreUnavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "nothing is lost: see GET /mode once the store responds, and ask again")
        }
        ChangeError::NotDurable { .. } => {
            (StatusCode::INSUFFICIENT_STORAGE, "free space in the state directory and ask again")
        }
        ChangeError::NotInFleet(_) => (StatusCode::SERVICE_UNAVAILABLE, ""),
        ChangeError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "ask the next one"),
    };
    let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
    let problem = Problem::new(status, error.reason(), format!("{error}{advice}"));
    let problem = match error {
        ChangeError::Upstream { report, .. }
        | ChangeError::Deadline { report, .. }
        | ChangeError::MemberMissing { report, .. } => problem.with("report", report),
        ChangeError::ShuttingDown => problem,
        _ => problem.with("report", FlipReport::default()),
    };
    match error.record() {
        Some(record) => problem.with("record", record),
        None => problem,
    }
}

/// The change that a body asks for.
pub(super) fn read_change(body: &[u8], caller: &Caller) -> Result<Wanted, Problem> {
    // serde would read an array as the members in their order.
    if body.trim_ascii().first() != Some(&b'{') {
        return Err(Problem::bad_body("the body must be a JSON object, e.g. {\"mode\": \"maintenance\"}"));
    }
    let wanted: WantedChange =
        serde_json::from_slice(body).map_err(|error| Problem::bad_body(what_is_wrong(body, &error)))?;
    check(&wanted)?;
    let change = ModeChange {
        mode: wanted.mode,
        actor: Actor::new(ActorKind::Operator, &*caller.name),
        reason: wanted.reason.filter(|reason| !reason.trim().is_empty()),
        message: wanted.message.map(|message| message.trim().to_owned()),
        back_at: wanted.back_at,
        at: wanted.at,
        cause: None,
        if_revision: wanted.if_revision,
        drain_timeout: wanted.drain_timeout.map(|timeout| timeout.0),
        on_timeout: wanted.on_timeout,
        expires_in: wanted.expires_in,
        force: wanted.force,
    };
    let waits = wanted.wait.unwrap_or(true) || matches!(change.at, Some(When::At(_)));
    Ok(Wanted { change, waits, rehearses: wanted.rehearse })
}

/// Checks the values and how they go together.
fn check(wanted: &WantedChange) -> Result<(), Problem> {
    for (name, text) in [("reason", &wanted.reason), ("message", &wanted.message)] {
        check_text(name, text.as_deref())?;
    }
    if wanted.drain_timeout.is_some_and(|timeout| timeout.0 > LONGEST_DRAIN) {
        return Err(Problem::bad_body("drain_timeout: at most 24h"));
    }
    if matches!(wanted.expires_in, Some(End::After(after)) if after < SHORTEST_EXPIRY) {
        return Err(Problem::bad_body("expires_in: at least 1s; \"never\" for a mode that stays"));
    }
    if wanted.rehearse && wanted.at.is_some() {
        return Err(Problem::bad_body("rehearse: not together with at; it says what a change would meet now"));
    }
    for (name, time) in [("back_at", wanted.back_at), ("at", wanted.at)] {
        if matches!(time, Some(When::At(time)) if time <= Timestamp::now()) {
            let fault = format!("{name}: this time has passed; name a later one, or \"never\" to remove it");
            return Err(Problem::bad_body(fault));
        }
    }
    Ok(())
}

/// Checks the texts that an operator writes for people.
pub(super) fn check_text(name: &str, text: Option<&str>) -> Result<(), Problem> {
    if text.is_some_and(|text| text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control)) {
        let detail = format!("{name}: at most {LONGEST_TEXT} characters, and none of them a control character");
        return Err(Problem::bad_body(detail));
    }
    Ok(())
}

/// The parser reports a column, but the member is more useful. So each member is parsed alone.
fn what_is_wrong(body: &[u8], error: &serde_json::Error) -> String {
    let members: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let fault_of = |(name, value): (&String, &Value)| {
        let mut alone = Map::from_iter([("mode".to_owned(), json!(Mode::Production))]);
        alone.insert(name.clone(), value.clone());
        let fault = WantedChange::deserialize(Value::Object(alone)).err()?;
        Some(format!("{name}: {fault}"))
    };
    let fault = members.iter().find_map(fault_of);
    fault.unwrap_or_else(|| if error.is_data() { error.to_string() } else { format!("the body is not JSON: {error}") })
}

/// The journal, newest first.
pub(super) async fn history(state: &AdminState, query: Option<&str>) -> Result<AdminResponse, Problem> {
    let [limit] = query::read(query, ["limit"])?;
    let limit = match limit {
        None => HISTORY,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LONGEST_HISTORY).contains(limit))
            .ok_or_else(|| bad(format!("limit: must be 1 to {LONGEST_HISTORY}")))?,
    };
    let journal = Arc::clone(&state.parts.journal);
    let entries = state.journal_turn.take(move || journal(limit)).await;
    let entries = entries.unwrap_or_else(|_| Err("the reading of the journal failed".to_owned())).map_err(|fault| {
        tracing::error!("{fault}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "history_unreadable", fault)
    })?;
    Ok(response::json(StatusCode::OK, &json!({"entries": entries})))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::mode::{Change, apply};

    #[test]
    fn a_change_waits_for_the_deadline_of_the_flip_that_it_joined() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let settled = ModeRecord::first(Mode::Production, 1, "test", at(0));
        let slack = Duration::from_secs(30);
        assert_eq!(left_of(&settled, slack, at(0)), None);
        let change = ModeChange {
            drain_timeout: Some(Duration::from_secs(600)),
            ..ModeChange::to(Mode::Maintenance, Actor::gateway())
        };
        let switching = apply(&settled, &Change::Set(change), at(0)).unwrap();
        assert_eq!(left_of(&switching, slack, at(90)), Some(Duration::from_secs(540)));
        assert_eq!(left_of(&switching, slack, at(630)), None);
        assert_eq!(left_of(&switching, slack, at(99_999)), None);
    }
}
