//! `/livez`, `/readyz`, `/metrics`: what machines ask. Maintenance is ready, and so is a flip under way: a gateway that
//! refuses by its mode does its work.

use hyper::StatusCode;
use serde_json::json;

use super::Plane;
use super::reply::{self, Problem, Reply};
use crate::telemetry::Metrics;

/// The process serves.
pub(super) fn live() -> Reply {
    reply::json(StatusCode::OK, &json!({"live": true}))
}

/// Whether requests can be judged: a record is known, and the gateway is not shutting down.
pub(super) fn ready(plane: &Plane) -> Reply {
    let published = plane.parts.gate.published();
    let stopping = *plane.parts.stopping.borrow();
    let why_not = match (&published.record, stopping) {
        (_, true) => Some("shutting_down"),
        (None, false) => Some("no_record"),
        (Some(_), false) => None,
    };
    let record = published.record.as_deref();
    let document = json!({
        "ready": why_not.is_none(),
        "reason": why_not,
        "mode": record.map(|record| record.mode),
        "phase": record.map(|record| record.phase),
        "revision": record.map(|record| record.revision),
        "schema": published.schema,
        "alarm": published.alarm,
    });
    let status = if why_not.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &document)
}

/// OpenMetrics text.
pub(super) fn metrics(plane: &Plane) -> Result<Reply, Problem> {
    let text = plane.parts.metrics.render(&plane.parts.gate);
    let text = text.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok(reply::whole(StatusCode::OK, Metrics::CONTENT_TYPE, text))
}
