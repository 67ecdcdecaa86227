//! The straight line of a request, readable downwards: decide, then UCS or the gateway's own response. A refusal is an error
//! here, and becomes a response in one place.

use hyper::StatusCode;

use super::classify::{Refused, RouteMatch, decide};
use super::client::ClientBody;
use super::context::{Downstream, RequestContext, Worker};
use super::local;
use super::outgoing::{NO_ANSWER, admitted_entry, towards_upstream};
use super::refusal::{self, Refusal};
use super::request_log::RequestLog;
use super::response::Response;
use crate::http1::RequestError;
use crate::policy::table::RouteAnswer;

/// Responds to one request, always.
pub async fn respond(request: RequestContext<'_>, body: ClientBody, mut request_log: RequestLog) -> Box<Response> {
    let response = match handle(request, body, &mut request_log).await {
        Ok(response) => response,
        Err(refused) => refusal::respond::respond(request.downstream, Some(request.head), &refused, &mut request_log),
    };
    response.with(request_log)
}

/// Responds to bytes that are no request.
pub fn respond_to_malformed(
    downstream: &Downstream,
    fault: RequestError,
    mut request_log: RequestLog,
) -> Box<Response> {
    let refused = Refused::from(Refusal::Wire(fault));
    refusal::respond::respond(downstream, None, &refused, &mut request_log).with(request_log)
}

async fn handle(
    request: RequestContext<'_>,
    body: ClientBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
    let RequestContext { downstream, head } = request;
    let matched = decide(&downstream.worker.seat, head)?;
    request_log.class_slot = downstream.worker.class_slot(&matched.table, matched.class());
    downstream.mutating.set(!head.method.is_safe());
    match matched.route().and_then(|route| route.answer_to(head.method.as_str())) {
        // The gateway's own responses are rare, so their futures are in boxes. A change waits for the requests in flight: it
        // must not be one of them.
        Some(RouteAnswer::SetMode) => {
            Box::pin(local::set_mode(request, matched.without_permit(), body, request_log)).await
        }
        Some(RouteAnswer::Status) => Box::pin(local::status(request, matched, body, request_log)).await,
        None => forward(request, matched, body, request_log).await,
    }
}

async fn forward(
    request: RequestContext<'_>,
    mut matched: RouteMatch,
    body: ClientBody,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refused> {
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
    let towards = towards_upstream(request, &matched, &head.method, &[]);
    if request_log.is_logged() {
        request_log.line = Some(Box::new(admitted_entry(request, &matched, NO_ANSWER, towards.request_id())));
    }
    match worker.forwarder.forward(permit, place, towards, body, Some(downstream.task.clone())).await {
        Ok(answered) => {
            note_schema(worker, &matched, answered.status);
            request_log.answered(answered.status);
            Ok(Response::relay(answered, &worker.buffers))
        }
        Err(error) => {
            let fault = downstream.state.body_fault();
            Err(matched.refused(fault.map_or(Refusal::Forward(error), Refusal::Wire)))
        }
    }
}

/// A 404 of UCS to an operation that needs the profile schema is a hint, no more: control's probe decides.
fn note_schema(worker: &Worker, matched: &RouteMatch, status: StatusCode) {
    if status != StatusCode::NOT_FOUND {
        return;
    }
    if let Some(route) = matched.route().filter(|route| route.needs_profile_schema) {
        worker.control_handle.hint_schema(route.is_create_with_schema());
    }
}
