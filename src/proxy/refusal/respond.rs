//! The one place where a refusal becomes a response, is counted, and gets its entry in the access log.

use std::rc::Rc;

use bytes::Bytes;
use hyper::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};

use super::Refusal;
use super::cache::Key;
use super::page::{self, About, Page, retry_after};
use crate::access::AccessError;
use crate::gate::TableRef;
use crate::http1::{Buffers, RequestHead};
use crate::proxy::access_log::{Line, Words};
use crate::proxy::classify::{Found, Refused};
use crate::proxy::context::{Downstream, Worker};
use crate::proxy::request_log::Account;
use crate::proxy::response::Reply;

/// The response to a refused request; `head` is absent when its bytes are no request.
pub fn respond(
    downstream: &Downstream,
    head: Option<&RequestHead>,
    refused: &Refused,
    account: &mut Account,
) -> Box<Reply> {
    let (worker, Refused { refusal, found }) = (&downstream.worker, refused);
    let lease = found.as_ref().map_or_else(|| worker.seat.table(), |found| Rc::clone(&found.table));
    let table = lease.table();
    let path = if matches!(refusal, Refusal::Wire(_)) { "" } else { head.map_or("", RequestHead::path_text) };
    let route = found.as_ref().and_then(Found::route);
    let class = route.map(|route| &table.classes[route.class].name);
    account.class_slot = worker.class_slot(&lease, route.map(|route| route.class));
    account.outcome = refusal.outcome();
    let about = About {
        method: head.map_or(&Method::GET, |head| &head.method),
        path,
        operation: route.map(|route| &*route.operation),
        class: class.map(|class| &**class),
    };
    if account.is_logged() {
        let words = refused_words(worker, head, path, account.line.take());
        account.line = Some(Box::new(refused_line(refused, Rc::clone(&lease), about, words)));
    }
    count(worker, refusal);
    let with = |lines: &[u8], content: Bytes| response(refusal, lines, content, &worker.buffers);
    let make = |about: About<'_>| page::page(refusal, about, table);
    // Refusals by the mode come by the thousand.
    if let (Refusal::Mode(published), Some(Found { index: Some(index), .. })) = (refusal, found) {
        let key = Key { published, generation: lease.generation(), routes: table.routes.len(), index: *index };
        return worker.refusals.with_page(key, about, make, with);
    }
    let Page { lines, content } = make(about);
    with(&lines, Bytes::from(content))
}

/// Counts what only some refusals have.
fn count(worker: &Worker, refusal: &Refusal) {
    if let Refusal::Wire(fault) = refusal {
        worker.ledger.metrics.wire_fault(fault.reason());
    }
    if let Some(fault) = refusal.upstream_fault() {
        worker.ledger.metrics.upstream_failed(fault);
    }
}

/// The response that says this, with what depends on the moment.
fn response(refusal: &Refusal, lines: &[u8], content: Bytes, buffers: &Rc<Buffers>) -> Box<Reply> {
    let status = refusal.status();
    let mut reply = Reply::own(status, content, buffers);
    reply.fields.extend_from_slice(lines);
    if let Refusal::Access(AccessError::Throttled { retry_after }) = refusal {
        reply.add_seconds(RETRY_AFTER, retry_after.as_secs());
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.add_seconds(RETRY_AFTER, retry_after(refusal.record().as_deref()));
    }
    if status == StatusCode::UNAUTHORIZED {
        reply.add(WWW_AUTHENTICATE, "Basic realm=\"ucs-gateway\", charset=\"UTF-8\"");
    }
    reply.closes = refusal.closes();
    reply
}

/// What went to UCS has its id already.
fn refused_words(worker: &Worker, head: Option<&RequestHead>, path: &str, earlier: Option<Box<Line>>) -> Words {
    let fresh = head.filter(|_| earlier.is_none()).map(|head| worker.request_ids.id_of(&head.fields));
    let fresh = fresh.as_deref().unwrap_or_default().as_bytes();
    let id = earlier.as_ref().map_or(fresh, |line| line.words.request_id());
    Words::of(path.as_bytes(), id, &worker.buffers)
}

fn refused_line(refused: &Refused, table: Rc<TableRef>, about: About<'_>, words: Words) -> Line {
    let Refused { refusal, found } = refused;
    let found = found.as_ref();
    Line {
        method: about.method.clone(),
        words,
        table,
        route: found.and_then(|found| found.index),
        class: found.and_then(Found::route).map(|route| route.class),
        status: refusal.status().as_u16(),
        revision: refusal.record().map_or(0, |record| record.revision),
    }
}
