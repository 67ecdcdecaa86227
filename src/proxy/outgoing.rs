//! The upstream head of an admitted request, and its entry in the access log. It sends nothing.

use std::rc::Rc;

use hyper::Method;

use super::access_log::{AccessLogEntry, RequestText};
use super::classify::RouteMatch;
use super::context::RequestContext;
use super::headers::{self, Destination, ProxyFields, UpstreamHead};

/// The status in the access log of a request that got no response.
pub(crate) const NO_STATUS: u16 = 0;

/// Makes the head for UCS: the classified path, one host, no hop-by-hop fields, and none of the fields in `without`.
pub(crate) fn upstream_head(
    request: RequestContext<'_>,
    matched: &RouteMatch,
    method: &Method,
    without: &[&str],
) -> UpstreamHead {
    let RequestContext { downstream, head } = request;
    let worker = &downstream.worker;
    // RFC 9112, 3.2.2: the authority of an absolute-form target overrides Host.
    let host = head.authority().or_else(|| head.host());
    let to = Destination {
        method,
        path: matched.rewritten.as_deref().map_or(head.path(), str::as_bytes),
        query: head.query(),
        host: host.unwrap_or(worker.upstream_host.as_bytes()),
    };
    let own = ProxyFields { hop: &downstream.forwarded, ids: &worker.request_ids, buffers: &worker.buffers };
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
    let path = matched.rewritten.as_deref().map_or(head.path(), str::as_bytes);
    AccessLogEntry {
        method: head.method.clone(),
        text: RequestText::of(path, request_id, &worker.buffers),
        table: Rc::clone(&matched.table),
        route: matched.index,
        class: matched.class(),
        status,
        revision: worker.gate.published().record.as_ref().map_or(0, |record| record.revision),
    }
}
