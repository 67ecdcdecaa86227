//! The two operations that the gateway answers itself: Set Server Mode (CV.WS.MODE) and Query Server Status (CV.WS.STAT).
//! It changes no mode: it asks the control handle.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::LOCATION;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::classify::{Refused, RouteMatch};
use super::client::ClientBody;
use super::context::{Downstream, RequestContext};
use super::outgoing::{NO_ANSWER, admitted_entry, towards_upstream};
use super::refusal::Refusal;
use super::request_log::RequestLog;
use super::response::{self, Response};
use super::upstream::error::ForwardError;
use super::upstream::exchange::GaveUp;
use super::upstream::forward::UpstreamResponse;
use crate::access::{AccessError, Peer, Permission, site};
use crate::http1::{Fields, RequestHead};
use crate::policy::mode::{Actor, ActorKind, Mode, ModeChange, ModeRecord, Phase};
use crate::telemetry::Outcome;

/// The longest body that is read here, in bytes. UCS's own documents have a few hundred.
const MAX_DOCUMENT: usize = 64 * 1024;

/// Fields of a request for a part of a document, or for another form of it.
const NOT_OF_THE_WHOLE: [&str; 7] =
    ["accept-encoding", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// How long the client may take to send the small body of Set Server Mode.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The body of Set Server Mode.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetServerMode {
    mode: String,
}

/// Responds to Set Server Mode: authorised by the gateway's own principals before anything moves, and when the flip has
/// settled.
pub async fn set_mode(
    request: RequestContext<'_>,
    matched: RouteMatch,
    body: ClientBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    request_log.outcome = Outcome::Answered;
    let RequestContext { downstream, head } = request;
    let changed = match read_change(downstream, head, body).await {
        Ok(change) => downstream.worker.control_handle.set_mode(change).await.map_err(Refusal::Change),
        Err(refusal) => Err(refusal),
    };
    let flipped = match changed {
        Ok(flipped) => flipped,
        Err(refusal) => return Err(matched.refused(refusal)),
    };
    if request_log.is_logged() {
        let id = downstream.worker.request_ids.id_of(&head.fields);
        request_log.line = Some(Box::new(admitted_entry(request, &matched, StatusCode::OK.as_u16(), id.as_bytes())));
    }
    // The key has a space: so it is documented.
    let document = format!("{{\"server changed\":\"{}\"}}", flipped.record.mode);
    let mut reply = response::answer(StatusCode::OK, document.into_bytes(), &downstream.worker.buffers);
    reply.add(LOCATION, format!("{}/server/status", matched.table.table().base_path));
    Ok(reply)
}

/// A browser sends a password that it remembers with the requests of any page, so that a right credential proves nothing
/// of who wants the change. The gateway goes by many names: the page's own is the one by which it was called.
fn check_site(head: &RequestHead) -> Result<(), Refusal> {
    let text = |value| std::str::from_utf8(value).unwrap_or_default();
    let host = text(head.authority().or_else(|| head.host()).unwrap_or_default());
    let mut origins = head.fields.values("origin").map(text);
    let own = origins.next().is_none_or(|origin| site::is_same_site(origin, host));
    if !own || origins.next().is_some() {
        return Err(Refusal::CrossSite("Origin is not where it was sent"));
    }
    if head.fields.values("sec-fetch-site").map(text).any(site::is_fetched_from_elsewhere) {
        return Err(Refusal::CrossSite("Sec-Fetch-Site says so"));
    }
    if head.fields.values("content-type").map(text).any(site::is_sent_unasked) {
        return Err(Refusal::CrossSite("its body is of a form's type; send Content-Type: application/json"));
    }
    Ok(())
}

/// The one credential of a request. Two would let it be one caller's here and another's elsewhere.
fn credential(head: &RequestHead) -> Result<Option<&str>, Refusal> {
    let malformed = || Refusal::Access(AccessError::Malformed);
    let mut values = head.fields.values("authorization");
    let value = values.next().map(|value| std::str::from_utf8(value).map_err(|_| malformed())).transpose()?;
    if values.next().is_some() { Err(malformed()) } else { Ok(value) }
}

async fn read_change(downstream: &Downstream, head: &RequestHead, body: ClientBody) -> Result<ModeChange, Refusal> {
    check_site(head)?;
    let authorization = credential(head)?;
    let principal = downstream.worker.access.authenticate(authorization, Peer::Tcp(downstream.peer)).await;
    let principal = principal.map_err(Refusal::Access)?;
    if !principal.permissions.allow(Permission::ModeSet) {
        return Err(Refusal::Forbidden(Permission::ModeSet.as_str()));
    }
    let limit = BODY_TIME.min(downstream.worker.forwarder.exchanges.idle_body());
    let collected = tokio::time::timeout(limit, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let collected = collected.map_err(|_| ForwardError::GaveUp(GaveUp::ClientBody))?;
    let bytes = collected.map_err(|error| match downstream.state.body_fault() {
        _ if error.is::<LengthLimitError>() => Refusal::Forward(ForwardError::BodyTooLarge),
        Some(fault) => Refusal::Wire(fault),
        None => Refusal::Forward(ForwardError::BadBody),
    })?;
    let mode = parse_mode(&bytes.to_bytes()).map_err(Refusal::BadModeRequest)?;
    Ok(ModeChange::to(mode, Actor { kind: ActorKind::Client, name: principal.name.to_string() }))
}

/// Documented: one member `mode`, its value in any case.
fn parse_mode(bytes: &[u8]) -> Result<Mode, String> {
    const EXPECTED: &str = "send {\"mode\":\"production\"} or {\"mode\":\"maintenance\"}";
    // serde would read an array as the members in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(format!("{EXPECTED}: the body must be a JSON object"));
    }
    let body: SetServerMode = serde_json::from_slice(bytes).map_err(|error| format!("{EXPECTED}: {error}"))?;
    [Mode::Production, Mode::Maintenance]
        .into_iter()
        .find(|mode| body.mode.eq_ignore_ascii_case(mode.as_str()))
        .ok_or_else(|| format!("{EXPECTED}: there is no mode {:?}", body.mode))
}

/// Responds to Query Server Status: UCS's own document, with the mode that the gateway knows better.
pub async fn status(
    request: RequestContext<'_>,
    mut matched: RouteMatch,
    body: ClientBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    request_log.outcome = Outcome::Answered;
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    let Some(permit) = matched.permit.take() else { return Err(matched.refused(Refusal::Stopping)) };
    let place = match worker.place(&matched.table, matched.class()) {
        Ok(place) => place,
        Err(full) => {
            drop(permit);
            return Err(matched.refused(Refusal::ClassFull(full)));
        }
    };
    // The response to HEAD tells the length of the document, so there must be one.
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    // The document is read and changed here: whole, plain, and never the copy that the client has.
    let towards = towards_upstream(request, &matched, method, &NOT_OF_THE_WHOLE);
    if request_log.is_logged() {
        request_log.line = Some(Box::new(admitted_entry(request, &matched, NO_ANSWER, towards.request_id())));
    }
    // Its client has received nothing of the response while it is read here: so it gets a refusal, and is never cut.
    let read = match worker.forwarder.forward(permit, place, towards, body, None).await {
        Ok(answered) => read_document(answered).await,
        Err(error) => Err(error),
    };
    let (status, fields, bytes) = match read {
        Ok(read) => read,
        Err(error) => return Err(matched.refused(Refusal::Forward(error))),
    };
    let record = worker.seat.published().record.clone();
    let document = with_mode(status, &bytes, record.as_deref());
    let told = if document.is_some() { StatusCode::OK } else { status };
    if let Some(line) = &mut request_log.line {
        line.status = told.as_u16();
    }
    Ok(match document {
        Some(document) => response::answer(told, document, &worker.buffers),
        None => Response::read(told, &fields, bytes, &worker.buffers),
    })
}

async fn read_document(answered: UpstreamResponse) -> Result<(StatusCode, Fields, Bytes), ForwardError> {
    let UpstreamResponse { status, fields, body } = answered;
    let collected = Limited::new(body, MAX_DOCUMENT).collect().await;
    // What is not UCS's own failure is the limit's.
    let why = |error: Box<dyn std::error::Error + Send + Sync>| {
        error.downcast::<ForwardError>().map_or(ForwardError::BadDocument, |error| *error)
    };
    Ok((status, fields, collected.map_err(why)?.to_bytes()))
}

/// The document with the authoritative mode. A UCS that has no such operation leaves the mode alone. `None`: other refusals
/// of UCS (a login, say) pass.
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
