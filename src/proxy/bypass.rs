//! A bypass: a principal with `mode:bypass` sends one request past the mode, for validation before reopening. Only where UCS does
//! not enforce the mode itself, never during a flip or a local close, and the flip after it waits for it as for any other.

use std::sync::Arc;

use super::classify::{Passage, Refused, RouteMatch, decide};
use super::context::RequestContext;
use super::headers;
use super::refusal::Refusal;
use crate::access::Permission;
use crate::control_handle::BypassUse;
use crate::http1::{KnownName, RequestHead};
use crate::policy::upstream_mode::UpstreamState;

/// The field that asks for a bypass with the value `1`. It never reaches UCS.
const FIELD: &str = headers::UCS_GATEWAY_BYPASS;

/// The fields of the credential. The first one is for proxies, so it never reaches UCS anyway, and leaves the other one to the
/// login at UCS.
const FOR_PROXIES: &str = "proxy-authorization";
const AUTHORIZATION: &str = "authorization";

/// Whether the request asks to pass the mode.
pub(crate) fn is_requested(head: &RequestHead) -> bool {
    head.fields.values_of_other(FIELD).any(|value| value == b"1")
}

/// The fields that hold the credential of a request with the field of a bypass, whatever the mode is: they stay here.
pub(crate) fn credential_fields(head: &RequestHead) -> &'static [&'static str] {
    let has_for_proxies = || head.fields.has(KnownName::ProxyAuthorization);
    if head.fields.values_of_other(FIELD).next().is_some() && !has_for_proxies() { &[AUTHORIZATION] } else { &[] }
}

/// Admits a request that the mode has refused, if its principal may and UCS does not enforce the mode.
pub(crate) async fn admit(request: RequestContext<'_>, refused: Option<RouteMatch>) -> Result<RouteMatch, Refused> {
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    let principal = match authorized(request).await {
        Ok(principal) => principal,
        Err(refusal) => return Err(Refused { refusal, matched: refused }),
    };
    let published = worker.gate.published();
    if published.upstream.state != UpstreamState::None {
        return Err(Refused { refusal: Refusal::UpstreamEnforces(published), matched: refused });
    }
    let matched = decide(&worker.gate, head, Passage::PastMode)?;
    let operation = matched.route().map_or("unmatched", |route| &route.operation);
    let (client, method) = (downstream.client_name(Some(head)), &head.method);
    let (trace_id, span_id) = headers::trace_and_span(&head.fields);
    tracing::info!(%principal, operation, %method, client, trace_id, span_id, "mode bypassed");
    worker.recorder.metrics.bypassed.add(1);
    worker.control_handle.note_bypass(BypassUse { principal: principal.to_string(), operation: operation.to_owned() });
    Ok(matched)
}

/// The name of the principal, which has the permission.
async fn authorized(request: RequestContext<'_>) -> Result<Arc<str>, Refusal> {
    let for_proxies = request.head.fields.has(KnownName::ProxyAuthorization);
    let principal = request.principal(if for_proxies { FOR_PROXIES } else { AUTHORIZATION }).await?;
    if !principal.permissions.allow(Permission::ModeBypass) {
        return Err(Refusal::Forbidden(Permission::ModeBypass.as_str()));
    }
    Ok(principal.name)
}
