//! The two operations that the gateway handles itself: Set Server Mode (CV.WS.MODE) and Query Server Status (CV.WS.STAT).
//! It changes no mode: it sends the change to `control`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::bypass;
use super::classify::{Refused, RouteMatch};
use super::context::RequestContext;
use super::incoming::IncomingBody;
use super::outgoing::{admitted_entry, prepare};
use super::refusal::Refusal;
use super::request_log::RequestLog;
use super::response::{self, Response};
use super::upstream::error::ForwardError;
use super::upstream::exchange::GaveUp;
use super::upstream::forward::UpstreamResponse;
use crate::access::{Permission, site};
use crate::http1::{Fields, RequestHead};
use crate::policy::mode::{Actor, ActorKind, Mode, ModeChange, ModeRecord, Phase};
use crate::telemetry::Outcome;

/// The longest body that is read into memory, in bytes. UCS's own documents have a few hundred.
const MAX_DOCUMENT: usize = 64 * 1024;

/// Request fields that ask for a part of a document, or for another representation of it.
const NOT_OF_THE_WHOLE: [&str; 7] =
    ["accept-encoding", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// How long the client may take to send the small body of Set Server Mode.
const BODY_TIME: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetServerMode {
    mode: String,
}

/// Handles Set Server Mode: authorizes the caller by the gateway's own principals, changes the mode, and responds once the flip
/// has settled.
pub(crate) async fn set_mode(
    request: RequestContext<'_>,
    matched: RouteMatch,
    body: IncomingBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    request_log.outcome = Outcome::Answered;
    let RequestContext { downstream, head } = request;
    let changed = match read_change(request, body).await {
        Ok(change) => downstream.worker.control_handle.set_mode(change).await.map_err(Refusal::Change),
        Err(refusal) => Err(refusal),
    };
    let flipped = match changed {
        Ok(flipped) => flipped,
        Err(refusal) => return Err(matched.refused(refusal)),
    };
    if request_log.is_logged() {
        let id = downstream.worker.request_ids.id_of(&head.fields);
        request_log.entry = Some(Box::new(admitted_entry(request, &matched, StatusCode::OK.as_u16(), id.as_bytes())));
    }
    // The key contains a space, as documented.
    let document = format!("{{\"server changed\":\"{}\"}}", flipped.record.mode);
    let mut response = response::json(StatusCode::OK, document.into_bytes(), &downstream.worker.buffers);
    response.add("Location", format!("{}/server/status", matched.table.table().base_path));
    Ok(response)
}

/// Rejects requests that a page of another site may have made: a browser adds a saved password to the requests of any page, so
/// a valid credential does not prove intent. The gateway has many names; its own site is the one in the request's `Host`.
fn check_site(head: &RequestHead) -> Result<(), Refusal> {
    let text = |value| std::str::from_utf8(value).unwrap_or_default();
    let host = text(head.authority().or_else(|| head.host()).unwrap_or_default());
    let mut origins = head.fields.values("origin").map(text);
    let own = origins.next().is_none_or(|origin| site::is_same_site(origin, host));
    if !own || origins.next().is_some() {
        return Err(Refusal::CrossSite("Origin does not match the host"));
    }
    if head.fields.values("sec-fetch-site").map(text).any(site::is_fetched_from_elsewhere) {
        return Err(Refusal::CrossSite("Sec-Fetch-Site names another site"));
    }
    if head.fields.values("content-type").map(text).any(site::is_sent_unasked) {
        return Err(Refusal::CrossSite(
            "its content type is that of an HTML form; send Content-Type: application/json",
        ));
    }
    Ok(())
}

async fn read_change(request: RequestContext<'_>, body: IncomingBody) -> Result<ModeChange, Refusal> {
    let RequestContext { downstream, head } = request;
    check_site(head)?;
    let principal = request.principal("authorization").await?;
    if !principal.permissions.allow(Permission::ModeSet) {
        return Err(Refusal::Forbidden(Permission::ModeSet.as_str()));
    }
    let limit = BODY_TIME.min(downstream.worker.forwarder.exchanges.idle_body());
    let collected = tokio::time::timeout(limit, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let collected = collected.map_err(|_| ForwardError::GaveUp(GaveUp::ClientBody))?;
    let bytes = collected.map_err(|error| match downstream.state.body_error() {
        _ if error.is::<LengthLimitError>() => Refusal::Forward(ForwardError::BodyTooLarge),
        Some(error) => Refusal::Request(error),
        None => Refusal::Forward(ForwardError::BadBody),
    })?;
    let mode = parse_mode(&bytes.to_bytes()).map_err(Refusal::BadModeRequest)?;
    Ok(ModeChange::to(mode, Actor::new(ActorKind::Client, &*principal.name)))
}

/// Parses the documented body: one member `mode`, its value in any case.
fn parse_mode(bytes: &[u8]) -> Result<Mode, String> {
    const EXPECTED: &str = "send {\"mode\":\"production\"} or {\"mode\":\"maintenance\"}";
    // Some clients put a byte order mark before JSON.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    // serde would accept an array of the members in order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(format!("{EXPECTED}: the body must be a JSON object"));
    }
    let body: SetServerMode = serde_json::from_slice(bytes).map_err(|error| format!("{EXPECTED}: {error}"))?;
    body.mode.parse().map_err(|error| format!("{EXPECTED}: {error}"))
}

/// Handles Query Server Status: UCS's own document, with the authoritative mode of the gateway.
pub(crate) async fn status(
    request: RequestContext<'_>,
    mut matched: RouteMatch,
    body: IncomingBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    request_log.outcome = Outcome::Answered;
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    // The response to HEAD states the length of the document, so the document is fetched.
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    // The document is modified here, so it must be complete, unencoded, and not a 304.
    let without = [&NOT_OF_THE_WHOLE[..], bypass::credential_fields(head)].concat();
    let (admission, outgoing) = match prepare(request, &mut matched, method, &without, request_log) {
        Ok(prepared) => prepared,
        Err(refusal) => return Err(matched.refused(refusal)),
    };
    // The client has received no part of the response yet, so a failure is a refusal and never a truncated response.
    let read = match worker.forwarder.forward(admission, outgoing, body, None).await {
        Ok(upstream_response) => read_document(upstream_response).await,
        Err(error) => Err(error),
    };
    let (status, fields, bytes) = match read {
        Ok(read) => read,
        Err(error) => return Err(matched.refused(request.failed(error))),
    };
    let record = worker.gate.published().record.clone();
    let document = with_mode(status, &bytes, record.as_deref());
    let final_status = if document.is_some() { StatusCode::OK } else { status };
    if let Some(entry) = &mut request_log.entry {
        entry.status = final_status.as_u16();
    }
    Ok(match document {
        Some(document) => response::json(final_status, document, &worker.buffers),
        None => Response::read(final_status, &fields, bytes, &worker.buffers),
    })
}

async fn read_document(upstream_response: UpstreamResponse) -> Result<(StatusCode, Fields, Bytes), ForwardError> {
    let UpstreamResponse { status, fields, body } = upstream_response;
    let collected = Limited::new(body, MAX_DOCUMENT).collect().await;
    // Any error that is not a `ForwardError` means that the document exceeds the limit.
    let why = |error: Box<dyn std::error::Error + Send + Sync>| {
        error.downcast::<ForwardError>().map_or(ForwardError::BadDocument, |error| *error)
    };
    Ok((status, fields, collected.map_err(why)?.to_bytes()))
}

/// The document with the authoritative mode; with the mode alone if UCS has no such operation. `None` if the response of UCS is
/// another error (such as a missing login), which is passed on.
fn with_mode(status: StatusCode, document: &[u8], record: Option<&ModeRecord>) -> Option<Vec<u8>> {
    let mode = record.map(|record| match (record.phase, record.from) {
        (Phase::Switching, Some(from)) => from,
        (Phase::Switching, None) | (Phase::Settled, _) => record.mode,
    });
    let lacks_operation = matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(document);
    let mut members = match parsed {
        Ok(members) if status.is_success() => members,
        Ok(_) | Err(_) if status.is_success() || lacks_operation => serde_json::Map::new(),
        Ok(_) | Err(_) => return None,
    };
    if let Some(mode) = mode {
        members.insert("mode".to_owned(), mode.as_str().into());
    }
    Some(serde_json::to_vec(&members).unwrap_or_default())
}
