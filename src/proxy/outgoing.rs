//! Prepares an admitted request for UCS: its place in its class, its head, and its entry in the access log. It sends nothing.

use std::rc::Rc;

use hyper::Method;

use super::access_log::{AccessLogEntry, RequestText};
use super::classify::RouteMatch;
use super::context::RequestContext;
use super::headers::{self, Destination, ProxyFields, UpstreamHead};
use super::refusal::Refusal;
use super::request_log::RequestLog;
use super::upstream::exchange::Admission;

/// The status in the access log of a request that got no response.
const NO_STATUS: u16 = 0;

/// Takes the request's permits and makes its head for UCS, with this method and none of the fields in `without`.
pub(crate) fn prepare(
    request: RequestContext<'_>,
    matched: &mut RouteMatch,
    method: &Method,
    without: &[&str],
    request_log: &mut RequestLog,
) -> Result<(Admission, UpstreamHead), Refusal> {
    let worker = &request.downstream.worker;
    if headers::is_looping(&request.head.fields) {
        return Err(Refusal::Loop);
    }
    let permit = matched.permit.take().ok_or(Refusal::Stopping)?;
    let class_permit = worker.enter_class(&matched.table, matched.class()).map_err(Refusal::ClassFull)?;
    let head = upstream_head(request, matched, method, without);
    if request_log.is_logged() {
        request_log.entry = Some(Box::new(admitted_entry(request, matched, NO_STATUS, head.request_id())));
    }
    let source = request.downstream.source_of(&request.head.fields);
    Ok((Admission { permit, class_permit, source }, head))
}

/// The classified path, one host, no hop-by-hop fields.
fn upstream_head(request: RequestContext<'_>, matched: &RouteMatch, method: &Method, without: &[&str]) -> UpstreamHead {
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    // RFC 9112, 3.2.2: the authority of an absolute-form target overrides Host.
    let host = head.authority().or_else(|| head.host());
    let to = Destination {
        method,
        path: matched.rewritten.as_deref().unwrap_or(head.path()),
        query: head.query(),
        host: host.unwrap_or(worker.upstream_host.as_bytes()),
    };
    let own = ProxyFields {
        hop: &downstream.forwarded,
        client: downstream.proxied_client(&head.fields),
        received: request.received(),
        ids: &worker.request_ids,
        buffers: &worker.buffers,
    };
    headers::to_upstream(to, &head.fields, without, own)
}

/// The access log entry of an admitted request.
pub(crate) fn admitted_entry(
    request: RequestContext<'_>,
    matched: &RouteMatch,
    status: u16,
    request_id: &[u8],
) -> AccessLogEntry {
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    let path = matched.rewritten.as_deref().unwrap_or(head.path());
    AccessLogEntry {
        method: Some(head.method.clone()),
        client: downstream.proxied_client(&head.fields),
        text: RequestText::of([path, request_id, headers::trace_ids(&head.fields)], &worker.buffers),
        table: Rc::clone(&matched.table),
        route: matched.index,
        class: matched.class(),
        status,
        revision: worker.revision(),
    }
}
