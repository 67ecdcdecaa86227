//! The two operations that the gateway answers itself: Set Server Mode (CV.WS.MODE) and Query Server Status (CV.WS.STAT).
//! It changes no mode: it asks the desk.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LOCATION, RANGE,
};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;

use super::account::Account;
use super::body::{Download, ReplyBody};
use super::error::Refusal;
use super::exchange::GaveUp;
use super::forward::ForwardError;
use super::headers;
use super::reply;
use super::respond::{Found, NO_ANSWER, line, refuse, refuse_late, towards_upstream};
use super::wire::ClientBody;
use super::worker::Downstream;
use crate::access::{Peer, Permission};
use crate::policy::mode::{Actor, ActorKind, Mode, ModeChange, ModeRecord, Phase};
use crate::telemetry::Outcome;

/// The longest body that is read here, in bytes. UCS's own documents have a few hundred.
const MAX_DOCUMENT: usize = 64 * 1024;

/// How long the client may take to send the small body of Set Server Mode.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The body of Set Server Mode.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetServerMode {
    mode: String,
}

/// Answers Set Server Mode: authorised by the gateway's own principals before anything moves, and answered when the flip
/// has settled.
pub async fn set_mode(
    downstream: &Rc<Downstream>,
    found: Found,
    request: Request<ClientBody>,
    mut account: Account,
) -> Response<ReplyBody> {
    let (head, body) = request.into_parts();
    account.outcome = Outcome::Answered;
    let late = |refusal: Refusal, account| refuse_late(downstream, &head, &found, &refusal, account);
    let change = match read_change(downstream, head.headers.get(AUTHORIZATION), body).await {
        Ok(change) => change,
        Err(refusal) => return late(refusal, account),
    };
    match downstream.worker.desk.set_mode(change).await {
        Err(error) => late(Refusal::Change(error), account),
        Ok(flipped) => {
            account.line =
                account.is_logged().then(|| Box::new(line(downstream, &head, &found, StatusCode::OK.as_u16())));
            // The key has a space: so it is documented.
            let document = format!("{{\"server changed\":\"{}\"}}", flipped.record.mode);
            let mut response = reply::answer(StatusCode::OK, document.into_bytes(), account);
            let location = format!("{}/server/status", found.table.table().base_path);
            let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static("/server/status"));
            response.headers_mut().insert(LOCATION, location);
            response
        }
    }
}

async fn read_change(
    downstream: &Downstream,
    authorization: Option<&HeaderValue>,
    body: ClientBody,
) -> Result<ModeChange, Refusal> {
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let principal = downstream.worker.access.authenticate(authorization, Peer::Tcp(downstream.peer)).await;
    let principal = principal.map_err(Refusal::Access)?;
    if !principal.permissions.allow(Permission::ModeSet) {
        return Err(Refusal::Forbidden(Permission::ModeSet.as_str()));
    }
    let limit = BODY_TIME.min(downstream.worker.forwarder.exchanges.idle_body());
    let collected = tokio::time::timeout(limit, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let collected = collected.map_err(|_| ForwardError::GaveUp(GaveUp::ClientBody))?;
    let bytes = collected.map_err(|error| match downstream.wire.body_fault() {
        _ if error.is::<LengthLimitError>() => Refusal::Forward(ForwardError::BodyTooLarge),
        Some(fault) => Refusal::Wire(fault),
        None => Refusal::Forward(ForwardError::BadBody),
    })?;
    let mode = parse_mode(&bytes.to_bytes()).map_err(Refusal::BadModeRequest)?;
    Ok(ModeChange {
        mode,
        actor: Actor { kind: ActorKind::Client, name: principal.name.to_string() },
        reason: None,
        cause: None,
        if_revision: None,
        drain_timeout: None,
        on_timeout: None,
        expires_in: None,
        force: false,
    })
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

/// Answers Query Server Status: UCS's own document, with the mode that the gateway knows better.
pub async fn status(
    downstream: &Rc<Downstream>,
    mut found: Found,
    request: Request<ClientBody>,
    mut account: Account,
) -> Response<ReplyBody> {
    account.outcome = Outcome::Answered;
    let Some(permit) = found.permit.take() else {
        return refuse(downstream, &request, Some(&found), &Refusal::Stopping, account);
    };
    let place = match downstream.worker.place(&found.table, found.class()) {
        Ok(place) => place,
        Err(full) => {
            drop(permit);
            return refuse(downstream, &request, Some(&found), &Refusal::ClassFull(full), account);
        }
    };
    let (kept, body) = request.into_parts();
    let mut head = kept.clone();
    towards_upstream(downstream, &found, &mut head);
    // The answer to HEAD tells the length of the document, so there must be one.
    if head.method == Method::HEAD {
        head.method = Method::GET;
    }
    // The document is read and changed here: whole, plain, and never the copy that the client has.
    for name in [ACCEPT_ENCODING, RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        head.headers.remove(name);
    }
    account.line = account.is_logged().then(|| Box::new(line(downstream, &head, &found, NO_ANSWER)));
    // Given up on, it still gets an answer: nothing goes to the client before the document is whole.
    let answered = downstream.worker.forwarder.forward(permit, place, head, body, None).await;
    let document = match answered {
        Err(error) => Err(error),
        Ok(response) => read_document(response).await,
    };
    match document {
        Err(error) => refuse_late(downstream, &kept, &found, &Refusal::Forward(error), account),
        Ok((mut head, bytes)) => {
            let record = downstream.worker.seat.published().record.clone();
            let Some(document) = with_mode(head.status, &bytes, record.as_deref()) else {
                headers::to_downstream(&mut head.headers);
                head.headers.insert(reply::SPOKE, HeaderValue::from_static("answered"));
                account.line.iter_mut().for_each(|line| line.status = head.status.as_u16());
                return Response::from_parts(head, ReplyBody::own(bytes, account));
            };
            account.line.iter_mut().for_each(|line| line.status = StatusCode::OK.as_u16());
            reply::answer(StatusCode::OK, document, account)
        }
    }
}

async fn read_document(response: Response<Download>) -> Result<(Parts, Bytes), ForwardError> {
    let (head, body) = response.into_parts();
    let exchange = body.exchange().cloned();
    let collected = Limited::new(body, MAX_DOCUMENT).collect().await;
    let gave_up = || exchange.and_then(|exchange| exchange.gave_up());
    let collected = collected.map_err(|_| gave_up().map_or(ForwardError::BadDocument, ForwardError::GaveUp))?;
    Ok((head, collected.to_bytes()))
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
