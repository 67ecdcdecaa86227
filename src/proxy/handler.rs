//! The straight line of a request, readable downwards: decide, then UCS or the gateway's own response. A refusal is an error
//! here, and becomes a response in one place.

use hyper::StatusCode;

use super::classify::{Found, Refused, decide};
use super::client::ClientBody;
use super::context::{Downstream, RequestContext, Worker};
use super::local;
use super::outgoing::{NO_ANSWER, admitted_line, towards_upstream};
use super::refusal::{self, Refusal};
use super::request_log::Account;
use super::response::Reply;
use crate::http1::WireFault;
use crate::policy::table::RouteAnswer;

/// Responds to one request, always.
pub async fn respond(request: RequestContext<'_>, body: ClientBody, mut account: Account) -> Box<Reply> {
    let response = match handle(request, body, &mut account).await {
        Ok(response) => response,
        Err(refused) => refusal::respond::respond(request.downstream, Some(request.head), &refused, &mut account),
    };
    response.with(account)
}

/// Responds to bytes that are no request.
pub fn respond_to_fault(downstream: &Downstream, fault: WireFault, mut account: Account) -> Box<Reply> {
    let refused = Refused::from(Refusal::Wire(fault));
    refusal::respond::respond(downstream, None, &refused, &mut account).with(account)
}

async fn handle(request: RequestContext<'_>, body: ClientBody, account: &mut Account) -> Result<Box<Reply>, Refused> {
    let RequestContext { downstream, head } = request;
    let found = decide(&downstream.worker.seat, head)?;
    account.class_slot = downstream.worker.class_slot(&found.table, found.class());
    downstream.mutating.set(!head.method.is_safe());
    match found.route().and_then(|route| route.answer_to(head.method.as_str())) {
        // The gateway's own responses are rare, so their futures are in boxes. A change waits for the requests in flight: it
        // must not be one of them.
        Some(RouteAnswer::SetMode) => Box::pin(local::set_mode(request, found.without_permit(), body, account)).await,
        Some(RouteAnswer::Status) => Box::pin(local::status(request, found, body, account)).await,
        None => forward(request, found, body, account).await,
    }
}

async fn forward(
    request: RequestContext<'_>,
    mut found: Found,
    body: ClientBody,
    account: &mut Account,
) -> Result<Box<Reply>, Refused> {
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    let Some(permit) = found.permit.take() else { return Err(found.refused(Refusal::Stopping)) };
    let place = match worker.place(&found.table, found.class()) {
        Ok(place) => place,
        Err(full) => {
            drop(permit);
            return Err(found.refused(Refusal::ClassFull(full)));
        }
    };
    let towards = towards_upstream(request, &found, &head.method, &[]);
    if account.is_logged() {
        account.line = Some(Box::new(admitted_line(request, &found, NO_ANSWER, towards.request_id())));
    }
    match worker.forwarder.forward(permit, place, towards, body, Some(downstream.task.clone())).await {
        Ok(answered) => {
            note_schema(worker, &found, answered.status);
            account.answered(answered.status);
            Ok(Reply::relay(answered, &worker.buffers))
        }
        Err(error) => {
            let fault = downstream.wire.body_fault();
            Err(found.refused(fault.map_or(Refusal::Forward(error), Refusal::Wire)))
        }
    }
}

/// A 404 of UCS to an operation that needs the profile schema is a hint, no more: control's probe decides.
fn note_schema(worker: &Worker, found: &Found, status: StatusCode) {
    if status != StatusCode::NOT_FOUND {
        return;
    }
    if let Some(route) = found.route().filter(|route| route.needs_profile_schema) {
        worker.control_handle.hint_schema(route.is_create_with_schema());
    }
}
