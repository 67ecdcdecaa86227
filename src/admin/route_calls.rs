//! `/routes`, `/routes/reload` and `/explain`: the table in force. It reads no file; a reload is requested through the control
//! handle.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::guard::Caller;
use super::query::{self, bad};
use super::response::{self, AdminResponse, Problem};
use super::state::AdminState;
use crate::control_handle::{ReloadError, ReloadWhen};
use crate::gate::Gate;
use crate::policy::explain::{explain as explain_by, modes, view};
use crate::policy::table::Unmatched;
use crate::reloads::ReloadEnd;

/// The longest accepted path, in bytes.
const LONGEST_PATH: usize = 8192;

/// The table in force with its counts. A large one takes milliseconds, so it is written on a thread of its own: control
/// shares this one.
pub(super) async fn show(state: &AdminState) -> Result<AdminResponse, Problem> {
    let gate = Arc::clone(&state.parts.gate);
    let written = state.table_turn.take(move || response::json(StatusCode::OK, &table_document(&gate))).await;
    written.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))
}

fn table_document(gate: &Gate) -> Value {
    let live = gate.table();
    let table = live.table();
    let classes: Vec<_> =
        table.classes.iter().map(|class| json!({"class": &*class.name, "modes": modes(class.modes)})).collect();
    let mut routes = Vec::with_capacity(table.routes.len());
    for (route, counts) in table.routes.iter().zip(live.operation_counts()) {
        let mut shown = json!(view(table, route));
        shown["in_flight"] = json!(counts.in_flight);
        shown["admitted"] = json!(counts.admitted);
        shown["refused"] = json!(counts.refused);
        routes.push(shown);
    }
    let unmatched = match table.unmatched {
        Unmatched::NotFound => json!("not_found"),
        Unmatched::Class(class) => json!({"class": &*table.classes[class].name}),
    };
    json!({
        "generation": live.generation(),
        "base_path": &*table.base_path,
        "unmatched": unmatched,
        "classes": classes,
        "routes": routes,
    })
}

/// Reads all files again. The body is empty or `{}`.
pub(super) async fn reload(state: &AdminState, caller: &Caller, body: &[u8]) -> Result<AdminResponse, Problem> {
    let empty = body.trim_ascii().is_empty()
        || matches!(serde_json::from_slice(body), Ok(Value::Object(members)) if members.is_empty());
    if !empty {
        return Err(Problem::bad_body("a reload takes no options; send an empty body or {}"));
    }
    let Caller { name, trace_id, span_id } = caller;
    tracing::info!(principal = %name, trace_id, span_id, "route table reload requested");
    let reloads = Arc::clone(&state.parts.reloads);
    // In a task of its own: a client that disconnects does not stop the reload.
    let reloading = tokio::spawn(async move { reloads.reload_all(ReloadWhen::Now).await });
    let stopped = |_| ReloadEnd { routes: Err(ReloadError::ShuttingDown), faults: Vec::new() };
    let ReloadEnd { routes, faults } = reloading.await.unwrap_or_else(stopped);
    if let (Ok(_), false) = (&routes, faults.is_empty()) {
        let has_access = faults.iter().any(|(name, _)| *name == "access");
        let faults: Vec<String> = faults.into_iter().map(|(name, fault)| format!("{name}: {fault}")).collect();
        let detail =
            format!("the route table was reloaded; what else was read before stays in force:\n{}", faults.join("\n"));
        return Err(match has_access {
            true => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "access_faults", detail),
            false => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "file_faults", detail),
        });
    }
    match routes {
        Ok(reloaded) => Ok(response::json(StatusCode::OK, &reloaded)),
        Err(error) => Err(match &error {
            ReloadError::Faults(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "route_faults", error.to_string()),
            ReloadError::Busy => Problem::new(StatusCode::CONFLICT, "switching", error.to_string()).retry_after(5),
            ReloadError::ShuttingDown => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", error.to_string())
            }
        }),
    }
}

/// The handling of a request in each mode, and the reason.
pub(super) fn explain(state: &AdminState, query: Option<&str>) -> Result<AdminResponse, Problem> {
    let [method, path] = query::read(query, ["method", "path"])?;
    let path = path.ok_or_else(|| bad("path is missing; write e.g. ?method=GET&path=/profiles/1"))?;
    let method = method.unwrap_or_else(|| "GET".to_owned());
    if method.is_empty() || method.len() > 32 || hyper::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(bad(format!("method: {method:?} is not an HTTP method; methods are case-sensitive, e.g. GET")));
    }
    if path.len() > LONGEST_PATH {
        return Err(bad(format!("path: must not be longer than {LONGEST_PATH} bytes")));
    }
    let path = path.split('?').next().unwrap_or_default();
    Ok(response::json(StatusCode::OK, &explain_by(state.parts.gate.table().table(), &method, path)))
}
