//! Handles one request: decide, then forward it to UCS or respond locally. A refusal is returned as an error, and becomes a
//! response in one place.

use std::rc::Rc;

use hyper::StatusCode;

use super::bypass;
use super::capabilities;
use super::classify::{Passage, Refused, RouteMatch, decide};
use super::context::{Downstream, RequestContext, Worker};
use super::cors;
use super::headers::Received;
use super::incoming::IncomingBody;
use super::local;
use super::outgoing::prepare;
use super::refusal::{self, Refusal};
use super::request_log::RequestLog;
use super::response::{self, Response};
use super::upstream::forward::Client;
use crate::http1::RequestError;
use crate::policy::table::RouteAnswer;
use crate::telemetry::Outcome;

/// Handles a request; every request gets a response.
pub(crate) async fn respond(
    request: RequestContext<'_>,
    body: IncomingBody,
    mut request_log: RequestLog,
) -> Box<Response> {
    let mut response = match handle(request, body, &mut request_log).await {
        Ok(response) => response,
        Err(refused) => refusal::respond::respond(request.downstream, Some(request.head), &refused, &mut request_log),
    };
    if response.is_own {
        cors::mark(&request.downstream.worker.origins, &mut response, request.head);
    }
    response.with(request_log)
}

/// Responds to a malformed request.
pub(crate) fn respond_to_malformed(
    downstream: &Downstream,
    error: RequestError,
    mut request_log: RequestLog,
) -> Box<Response> {
    let refused = Refused::from(Refusal::Request(error));
    refusal::respond::respond(downstream, None, &refused, &mut request_log).with(request_log)
}

async fn handle(
    request: RequestContext<'_>,
    body: IncomingBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    let RequestContext { downstream, head } = request;
    if downstream.worker.livez && head.method.is_safe() && head.path_text() == "/livez" {
        return Ok(live(&downstream.worker, request_log));
    }
    if capabilities::is_about_gateway(head) {
        return Ok(capabilities::respond(&downstream.worker, head, request_log)?);
    }
    let matched = match decide(&downstream.worker.gate, head, Passage::ByMode) {
        Err(Refused { refusal, matched }) if cors::takes_preflight(&downstream.worker.origins, head, &refusal) => {
            return Ok(cors::preflight(&downstream.worker, head, matched.as_ref(), request_log));
        }
        Err(Refused { refusal: Refusal::Mode(_), matched }) if bypass::is_requested(head) => {
            Box::pin(bypass::admit(request, matched)).await?
        }
        decided => decided?,
    };
    request_log.class_slot = downstream.worker.class_slot(&matched.table, matched.class());
    match matched.route().and_then(|route| route.answer_to(head.method.as_str())) {
        // Local responses are rare, so their futures are boxed. A mode change waits for the requests in flight, so it must not
        // be one of them.
        Some(RouteAnswer::SetMode) => {
            Box::pin(local::set_mode(request, matched.without_permit(), body, request_log)).await
        }
        Some(RouteAnswer::Status) => Box::pin(local::status(request, matched, body, request_log)).await,
        None => forward(request, matched, body, request_log).await,
    }
}

/// The response to a load balancer: this worker is alive, in whatever mode. It is no request to UCS, so it has no class and no
/// permit.
fn live(worker: &Worker, request_log: &mut RequestLog) -> Box<Response> {
    request_log.outcome = Outcome::Answered;
    request_log.class_slot = worker.class_slot(&worker.gate.table(), None);
    response::json(StatusCode::OK, b"{\"live\":true}".to_vec(), &worker.buffers)
}

async fn forward(
    request: RequestContext<'_>,
    mut matched: RouteMatch,
    body: IncomingBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    let (admission, outgoing) =
        match prepare(request, &mut matched, &head.method, bypass::credential_fields(head), request_log) {
            Ok(prepared) => prepared,
            Err(refusal) => return Err(matched.refused(refusal)),
        };
    // RFC 9110, 15.2: HTTP/1.0 has no interim responses.
    let interim = (request.received() != Received::Http10).then(|| Rc::clone(&downstream.state));
    let client = Client { task: downstream.task.clone(), interim };
    match worker.forwarder.forward(admission, outgoing, body, Some(client)).await {
        Ok(upstream_response) => {
            note_schema(worker, &matched, upstream_response.status);
            request_log.upstream_responded(upstream_response.status);
            Ok(Response::relay(upstream_response, &worker.buffers))
        }
        Err(error) => Err(matched.refused(request.failed(error))),
    }
}

/// A 404 from UCS for an operation that needs the profile schema is only a hint: the probe of `control` decides.
fn note_schema(worker: &Worker, matched: &RouteMatch, status: StatusCode) {
    if status != StatusCode::NOT_FOUND {
        return;
    }
    if let Some(route) = matched.route().filter(|route| route.needs_profile_schema) {
        worker.control_handle.hint_schema(route.is_create_with_schema());
    }
}
