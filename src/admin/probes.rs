//! `/livez`, `/readyz` and `/metrics`, for machines. The gateway is ready in maintenance and during a flip, too: refusing
//! requests by mode is its job.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::json;

use super::fleet_calls;
use super::gate_sample;
use super::response::{self, AdminResponse, Problem};
use super::state::AdminState;
use crate::policy::fleet::Closed;
use crate::telemetry::Metrics;

/// Whether every part gives a sign of life.
pub(super) async fn live(state: &AdminState) -> AdminResponse {
    let silent = state.parts.liveness.silent().await;
    match silent.is_empty() {
        true => response::json(StatusCode::OK, &json!({"live": true})),
        false => response::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"live": false, "silent": silent})),
    }
}

/// Whether requests can be served: a record is known, and the gateway is not shutting down.
pub(super) fn ready(state: &AdminState) -> AdminResponse {
    let published = state.parts.gate.published();
    let stopping = *state.parts.stopping.borrow();
    let why_not = match (&published.record, stopping) {
        (_, true) => Some("shutting_down"),
        (None, false) => Some("no_record"),
        // A member whose UCS is behind responds as one that refuses by mode.
        (Some(_), false) => published.closed.filter(|closed| !closed.is_of_upstream()).map(Closed::as_str),
    };
    let record = published.record.as_deref();
    let faults = state.parts.reloads.faults();
    let file_faults: BTreeMap<_, _> = faults.iter().filter_map(|(name, fault)| Some((name, fault.as_ref()?))).collect();
    let expiring: BTreeMap<_, _> = state.parts.metrics.expiring_certificates().into_iter().collect();
    let document = json!({
        "ready": why_not.is_none(),
        "reason": why_not,
        "mode": record.map(|record| record.mode),
        "phase": record.map(|record| record.phase),
        "revision": record.map(|record| record.revision),
        "schema": published.schema,
        "alarm": published.alarm,
        "access_fault": fault_of(&faults, "access"),
        "file_faults": file_faults,
        "certificates_expiring": expiring,
    });
    let status = if why_not.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response::json(status, &document)
}

/// OpenMetrics text.
pub(super) fn metrics(state: &AdminState) -> Result<AdminResponse, Problem> {
    let mut sample = gate_sample::sample(&state.parts.gate);
    let faults = state.parts.reloads.faults();
    sample.fleet = state.parts.fleet.as_ref().and_then(fleet_calls::sample);
    sample.has_access_fault = fault_of(&faults, "access").is_some();
    sample.file_faults = faults.into_iter().map(|(name, fault)| (name, fault.is_some())).collect();
    let text = state.parts.metrics.render(sample);
    let text = text.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok(response::whole(StatusCode::OK, Metrics::CONTENT_TYPE, text))
}

fn fault_of<'a>(faults: &'a [(&'static str, Option<String>)], name: &str) -> Option<&'a String> {
    faults.iter().find(|(other, _)| *other == name).and_then(|(_, fault)| fault.as_ref())
}
