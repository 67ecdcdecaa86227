//! Turns a refusal into a response, counts it, and fills its entry in the access log. The only place that does so.

use std::rc::Rc;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use jiff::Timestamp;

use super::Refusal;
use super::cache::Key;
use super::log;
use super::page::{self, Page, RequestSummary, retry_after};
use crate::access::AccessError;
use crate::gate::TableRef;
use crate::http1::RequestHead;
use crate::policy::table::NoRoute;
use crate::proxy::access_log::{AccessLogEntry, RequestText, UNKNOWN};
use crate::proxy::classify::{Refused, RouteMatch};
use crate::proxy::context::{Downstream, Worker};
use crate::proxy::headers;
use crate::proxy::request_log::RequestLog;
use crate::proxy::response::Response;

/// Responds to a refused request; `head` is absent if the request is malformed.
pub(crate) fn respond(
    downstream: &Downstream,
    head: Option<&RequestHead>,
    refused: &Refused,
    request_log: &mut RequestLog,
) -> Box<Response> {
    let (worker, Refused { refusal, matched }) = (&downstream.worker, refused);
    let table_ref = matched.as_ref().map_or_else(|| worker.gate.table(), |matched| Rc::clone(&matched.table));
    let table = table_ref.table();
    let route = matched.as_ref().and_then(RouteMatch::route);
    let class = route.map(|route| &table.classes[route.class].name);
    request_log.class_slot = worker.class_slot(&table_ref, route.map(|route| route.class));
    request_log.outcome = refusal.outcome();
    let operation = route.map(|route| &*route.operation);
    if request_log.is_logged() {
        let entry = refused_entry(downstream, head, refused, Rc::clone(&table_ref), request_log.entry.take());
        request_log.entry = Some(Box::new(entry));
    } else if worker.refusal_log.takes(refusal, request_log.started()) {
        log::write(refusal, head, operation, &downstream.client_name(head));
    }
    count(worker, refusal);
    let with = |lines: &[u8], content: Bytes| response(refusal, lines, content, worker);
    let make = |path: &str| {
        let (method, class) = (head.map_or(&Method::GET, |head| &head.method), class.map(|class| &**class));
        page::page(refusal, RequestSummary { method, path, operation, class }, table)
    };
    // Refusals by the mode are frequent.
    if let (Refusal::Mode(published), Some(RouteMatch { index: Some(index), .. }), Some(head)) =
        (refusal, matched, head)
    {
        let key = Key { published, generation: table_ref.generation(), routes: table.routes.len(), index: *index };
        return worker.refusals.with_page(key, head, make, with);
    }
    let is_malformed = matches!(refusal, Refusal::Request(_));
    let Page { lines, content } = make(head.filter(|_| !is_malformed).map_or("", RequestHead::path_text));
    with(&lines, Bytes::from(content))
}

/// Counts the errors behind a refusal.
fn count(worker: &Worker, refusal: &Refusal) {
    if let Refusal::Request(error) = refusal {
        worker.recorder.metrics.wire_fault(error.reason());
    }
    if let Some(fault) = refusal.upstream_fault() {
        worker.recorder.metrics.upstream_failed(fault);
    }
}

/// The response with this page, and the fields that depend on the time.
fn response(refusal: &Refusal, lines: &[u8], content: Bytes, worker: &Worker) -> Box<Response> {
    let status = refusal.status();
    let mut response = Response::own(status, content, &worker.buffers);
    response.lines.extend_from_slice(lines);
    if let Refusal::NoRoute(NoRoute::Method { allow }) = refusal {
        response.add("Allow", allow);
    }
    if let Refusal::Access(AccessError::Throttled { retry_after }) = refusal {
        response.add_seconds("Retry-After", retry_after.as_secs());
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let most = worker.max_retry_after.as_secs();
        // When a local close ends does not depend on the record.
        let is_local = matches!(refusal, Refusal::Mode(published) if published.is_closed_here());
        let record = refusal.record().filter(|_| !is_local);
        response.add_seconds("Retry-After", retry_after(record.as_deref(), most, Timestamp::now));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.add("WWW-Authenticate", "Basic realm=\"ucs-gateway\", charset=\"UTF-8\"");
    }
    response.closes = refusal.closes();
    response
}

/// The entry of a refused request. One that was forwarded before it failed keeps its path, its id and the revision that admitted
/// it.
fn refused_entry(
    downstream: &Downstream,
    head: Option<&RequestHead>,
    refused: &Refused,
    table: Rc<TableRef>,
    earlier: Option<Box<AccessLogEntry>>,
) -> AccessLogEntry {
    let (worker, Refused { refusal, matched }) = (&downstream.worker, refused);
    let matched = matched.as_ref();
    let admitting = earlier.as_ref().and_then(|entry| entry.revision);
    // A mode without a record has no revision. A request with a match that is refused for another reason was admitted.
    let in_force = || matched.filter(|_| !matches!(refusal, Refusal::Mode(_))).and_then(|_| worker.revision());
    AccessLogEntry {
        method: head.map(|head| head.method.clone()),
        client: head.and_then(|head| downstream.proxied_client(&head.fields)),
        text: earlier.map_or_else(|| refused_text(worker, head), |entry| entry.text),
        table,
        route: matched.and_then(|matched| matched.index),
        class: matched.and_then(RouteMatch::route).map(|route| route.class),
        status: refusal.status().as_u16(),
        revision: admitting.or_else(|| refusal.record().map(|record| record.revision)).or_else(in_force),
    }
}

/// The path as it was sent, and the request id.
fn refused_text(worker: &Worker, head: Option<&RequestHead>) -> RequestText {
    let id = head.map(|head| worker.request_ids.id_of(&head.fields));
    let path = head.map_or(UNKNOWN, RequestHead::path_text);
    let trace = head.map_or(&[][..], |head| headers::trace_ids(&head.fields));
    RequestText::of([path.as_bytes(), id.as_deref().unwrap_or_default().as_bytes(), trace], &worker.buffers)
}
