//! The forecast of a flip: `GET /mode/preview`, and `PUT /mode` with `rehearse`. It reads the gate and changes nothing.

use std::sync::Arc;

use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fleet_calls;
use super::mode_calls::{self, failed, no_record};
use super::query::{self, bad};
use super::response::{self, AdminResponse, Problem};
use super::state::AdminState;
use crate::control_handle::ChangeError;
use crate::gate::OperationCounts;
use crate::policy::mode::{Change, Mode, ModeChange, ModeSet, Phase, Refusal, SchemaKnowledge, apply};

/// The requests that a flip to `mode` would refuse: those that only the other mode admits, by operation, in flight and recent.
pub(super) fn preview(state: &AdminState, query: Option<&str>) -> Result<AdminResponse, Problem> {
    let [mode] = query::read(query, ["mode"])?;
    let mode = mode.and_then(|mode| mode.parse::<Mode>().ok());
    let mode = mode.ok_or_else(|| bad("mode: must be production or maintenance, e.g. ?mode=maintenance"))?;
    let published = state.parts.gate.published();
    let record = published.record.as_deref().ok_or_else(|| no_record(&published))?;
    let Forecast { operations, per_minute, window_seconds } = Forecast::of(state, mode);
    let document = json!({
        "mode": mode,
        "current": {"mode": record.mode, "phase": record.phase, "revision": record.revision},
        "waits_for": state.parts.gate.forbidden_in_flight(mode.other()),
        "per_minute": per_minute,
        "window_seconds": window_seconds,
        "would_refuse": operations,
        "schema": published.schema,
    });
    Ok(response::json(StatusCode::OK, &document))
}

/// Checks a change as its flip would be checked, and reports the requests that its drain would wait for; in a fleet, at
/// every member. Admission stays as it is.
pub(super) async fn rehearse(state: &AdminState, change: ModeChange) -> Result<AdminResponse, Problem> {
    let mut document = rehearsed(state, &change)?;
    if document["rehearsal"]["would_change"] == true
        && let Some(reader) = &state.parts.fleet
    {
        document["rehearsal"]["fleet"] = json!(fleet_calls::rehearse(state, reader, change).await?);
    }
    Ok(response::json(StatusCode::OK, &document))
}

fn rehearsed(state: &AdminState, change: &ModeChange) -> Result<Value, Problem> {
    let gate = &state.parts.gate;
    let published = gate.published();
    let record = published.record.as_ref().ok_or_else(|| no_record(&published))?;
    let mode = change.mode;
    let lacks_schema = mode == Mode::Production && !change.force && published.schema == SchemaKnowledge::Undefined;
    let refused = match apply(record, &Change::Set(change.clone()), Timestamp::now()) {
        Err(Refusal::Stale) => Some(ChangeError::Stale(Arc::clone(record))),
        Err(_) => Some(ChangeError::Busy(Arc::clone(record))),
        Ok(_) if record.phase == Phase::Switching => Some(ChangeError::Busy(Arc::clone(record))),
        Ok(_) if lacks_schema => Some(ChangeError::NoSchema(Arc::clone(record))),
        Ok(_) => None,
    };
    if let Some(refused) = refused {
        return Err(failed(&refused));
    }
    let would_change = mode != record.mode;
    let waits_for = if would_change { gate.forbidden_in_flight(mode.other()) } else { 0 };
    let mut running = if would_change { gate.running(Some(mode.other())) } else { Vec::new() };
    running.sort_by_key(|counts| std::cmp::Reverse(counts.in_flight));
    let Forecast { per_minute, window_seconds, .. } = Forecast::of(state, mode);
    let mut document = mode_calls::document(gate, &published, record);
    document["rehearsal"] = json!({
        "mode": mode,
        "would_change": would_change,
        "drained": waits_for == 0,
        "waits_for": waits_for,
        "running": running.iter().map(counted).collect::<Vec<_>>(),
        "per_minute": if would_change { per_minute } else { 0.0 },
        "window_seconds": window_seconds,
    });
    Ok(document)
}

/// An operation with its requests in flight, as in reports and events.
pub(super) fn counted(counts: &OperationCounts) -> Value {
    json!({"operation": &*counts.operation, "class": &*counts.class, "count": counts.in_flight})
}

/// The operations that a mode refuses, by their rates.
struct Forecast {
    operations: Vec<Value>,
    per_minute: f64,
    window_seconds: u64,
}

impl Forecast {
    fn of(state: &AdminState, mode: Mode) -> Forecast {
        let live = state.parts.gate.table();
        let (rates, window) = state.rates.per_minute(&live, Instant::now()).unwrap_or_default();
        let rate = |slot: usize| rates.get(slot).copied().unwrap_or(0.0);
        let mut operations: Vec<_> = live.operation_counts().into_iter().enumerate().collect();
        let refused = ModeSet::only(mode.other());
        operations.retain(|(slot, counts)| counts.modes == refused && (counts.in_flight > 0 || rate(*slot) > 0.0));
        operations.sort_by(|(one, _), (other, _)| rate(*other).total_cmp(&rate(*one)));
        // From 0.0, as an empty sum is -0.0.
        let per_minute = operations.iter().fold(0.0, |sum: f64, (slot, _)| sum + rate(*slot));
        let shown = operations.iter().map(|(slot, counts)| {
            json!({
                "operation": &*counts.operation,
                "class": &*counts.class,
                "in_flight": counts.in_flight,
                "per_minute": rate(*slot),
            })
        });
        Forecast {
            operations: shown.collect(),
            per_minute: (per_minute * 10.0).round() / 10.0,
            window_seconds: window.as_secs(),
        }
    }
}
