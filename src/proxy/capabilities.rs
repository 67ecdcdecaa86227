//! Responds to requests about the gateway itself: OPTIONS of the whole server, and requests that may not be forwarded any further
//! (RFC 9110, 7.6.2 and 9.3.7). They change nothing, so no mode refuses them, and UCS receives none of them.

use hyper::{Method, StatusCode};

use super::context::Worker;
use super::headers::max_forwards;
use super::refusal::Refusal;
use super::request_log::RequestLog;
use super::response::Response;
use crate::http1::RequestHead;
use crate::policy::path::CanonicalPath;
use crate::policy::table::NoRoute;
use crate::proxy::headers::UCS_GATEWAY;
use crate::telemetry::Outcome;

/// Whether the request ends at the gateway.
#[inline]
pub(crate) fn is_about_gateway(head: &RequestHead) -> bool {
    max_forwards::is_counted(&head.method)
        && (head.is_about_server() || max_forwards::is_used_up(&head.method, &head.fields))
}

/// The methods of the path, or of all paths.
pub(crate) fn respond(
    worker: &Worker,
    head: &RequestHead,
    request_log: &mut RequestLog,
) -> Result<Box<Response>, Refusal> {
    let table_ref = worker.gate.table();
    let table = table_ref.table();
    // A TRACE that ends here would have to be reflected, with the credentials in it.
    if head.method != Method::OPTIONS {
        return Err(Refusal::NoRoute(NoRoute::UnknownMethod));
    }
    let allow = if head.is_about_server() {
        table.allow_anywhere()
    } else {
        let path = CanonicalPath::parse(head.path()).map_err(Refusal::Path)?;
        table.allow(&path).ok_or(Refusal::NoRoute(NoRoute::Path))?
    };
    request_log.outcome = Outcome::Answered;
    request_log.class_slot = worker.class_slot(&table_ref, None);
    let mut response = Response::own(StatusCode::NO_CONTENT, bytes::Bytes::new(), &worker.buffers);
    response.add("Allow", allow);
    response.add(UCS_GATEWAY, "answered");
    Ok(response)
}
