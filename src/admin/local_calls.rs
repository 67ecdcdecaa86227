//! `PUT /local`: closes both single modes at this gateway alone, or opens them again. It decides nothing about the record.

use serde::Deserialize;

use super::guard::Caller;
use super::mode_calls;
use super::response::{AdminResponse, Problem};
use super::state::AdminState;
use crate::control_handle::ChangeError;
use crate::policy::mode::{Actor, ActorKind, LocalChange};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedLocal {
    closed: bool,
    reason: Option<String>,
}

/// Closes or opens, and responds with the document of `GET /mode` once that is in force and saved.
pub(super) async fn set(state: &AdminState, caller: &Caller, body: &[u8]) -> Result<AdminResponse, Problem> {
    // serde would read an array as the members in their order.
    if body.trim_ascii().first() != Some(&b'{') {
        return Err(Problem::bad_body("the body must be a JSON object, e.g. {\"closed\": true}"));
    }
    let wanted: WantedLocal = serde_json::from_slice(body).map_err(|error| Problem::bad_body(error.to_string()))?;
    mode_calls::check_text("reason", wanted.reason.as_deref())?;
    let (WantedLocal { closed, reason }, Caller { name, trace_id, span_id }) = (&wanted, caller);
    tracing::info!(principal = %name, closed, reason, trace_id, span_id, "local close requested");
    let change = LocalChange {
        closed: wanted.closed,
        reason: wanted.reason.filter(|reason| !reason.trim().is_empty()),
        actor: Actor::new(ActorKind::Operator, &*caller.name),
    };
    let control_handle = state.parts.control_handle.clone();
    // In a task of its own: a client that disconnects does not stop its change.
    let asked = tokio::spawn(async move { control_handle.set_local(change).await });
    match asked.await.unwrap_or(Err(ChangeError::ShuttingDown)) {
        Ok(()) => mode_calls::show(state),
        Err(error) => Err(mode_calls::failed(&error)),
    }
}
