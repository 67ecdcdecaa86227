//! `/routes`, `/routes/reload`, `/explain`: the table in force. It reads no file; a reload is asked for over the control handle.

use hyper::StatusCode;
use serde_json::json;

use super::Plane;
use super::query::{self, bad};
use super::reply::{self, Problem, Reply};
use crate::access::Principal;
use crate::control_handle::ReloadError;
use crate::policy::explain::{explain as explain_by, modes, view};
use crate::policy::table::Unmatched;

/// The longest path that is explained, in bytes.
const LONGEST_PATH: usize = 8192;

/// The table in force with its counts.
pub(super) fn show(plane: &Plane) -> Reply {
    let live = plane.parts.gate.table();
    let table = live.table();
    let classes: Vec<_> =
        table.classes.iter().map(|class| json!({"class": &*class.name, "modes": modes(class.modes)})).collect();
    let mut routes = Vec::with_capacity(table.routes.len());
    for (route, tally) in table.routes.iter().zip(live.tallies()) {
        let mut shown = json!(view(table, route));
        shown["in_flight"] = json!(tally.in_flight);
        shown["admitted"] = json!(tally.admitted);
        shown["refused"] = json!(tally.refused);
        routes.push(shown);
    }
    let unmatched = match table.unmatched {
        Unmatched::NotFound => json!("not_found"),
        Unmatched::Class(class) => json!({"class": &*table.classes[class].name}),
    };
    let document = json!({
        "generation": live.generation(),
        "base_path": &*table.base_path,
        "unmatched": unmatched,
        "classes": classes,
        "routes": routes,
    });
    reply::json(StatusCode::OK, &document)
}

/// Has the file read again. The body is empty or `{}`.
pub(super) async fn reload(plane: &Plane, caller: &Principal, body: &[u8]) -> Result<Reply, Problem> {
    let empty = body.trim_ascii().is_empty()
        || matches!(serde_json::from_slice(body), Ok(serde_json::Value::Object(members)) if members.is_empty());
    if !empty {
        let detail = "a reload takes no options; send an empty body or {}";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_body", detail));
    }
    tracing::info!(principal = %caller.name, "a reload of the route table was asked for");
    let control_handle = plane.parts.control_handle.clone();
    // In a task of its own: a client that goes away does not stop what it began.
    let asked = tokio::spawn(async move { control_handle.reload().await });
    match asked.await.unwrap_or(Err(ReloadError::ShuttingDown)) {
        Ok(reloaded) => Ok(reply::json(StatusCode::OK, &reloaded)),
        Err(error) => Err(match &error {
            ReloadError::Faults(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "route_faults", error.to_string()),
            ReloadError::Busy => Problem::new(StatusCode::CONFLICT, "switching", error.to_string()).retry_after(5),
            ReloadError::ShuttingDown => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", error.to_string())
            }
        }),
    }
}

/// Why a request would be answered as it is.
pub(super) fn explain(plane: &Plane, query: Option<&str>) -> Result<Reply, Problem> {
    let [method, path] = query::read(query, ["method", "path"])?;
    let path = path.ok_or_else(|| bad("path is missing; write e.g. ?method=GET&path=/profiles/1"))?;
    let method = method.unwrap_or_else(|| "GET".to_owned());
    if method.is_empty() || method.len() > 32 || hyper::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(bad(format!("method: {method:?} is no HTTP method; methods are case-sensitive, e.g. GET")));
    }
    if path.len() > LONGEST_PATH {
        return Err(bad(format!("path: is longer than {LONGEST_PATH} bytes")));
    }
    let path = path.split('?').next().unwrap_or_default();
    Ok(reply::json(StatusCode::OK, &explain_by(plane.parts.gate.table().table(), &method, path)))
}
