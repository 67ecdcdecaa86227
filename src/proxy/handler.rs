//! The straight line of a request, readable downwards: wire, path, route, gate, then UCS or the gateway's own answer. It
//! never fails: whatever goes wrong inside becomes an answer here, in one place.

use std::rc::Rc;

use hyper::Method;

use super::account::{Account, Line, Words};
use super::answers;
use super::error::Refusal;
use super::headers::{self, Destination, Own, UpstreamHead};
use super::reply::{self, About, Reply};
use super::wire::{ClientBody, RequestHead, WireFault};
use super::worker::{Downstream, Worker};
use crate::gate::{Permit, Refused, TableRef};
use crate::policy::path::CanonicalPath;
use crate::policy::table::{Route, RouteAnswer, RouteIndex, Unmatched};

/// Answers one request, always.
pub async fn respond(
    downstream: &Rc<Downstream>,
    head: &RequestHead,
    body: ClientBody,
    mut account: Account,
) -> Box<Reply> {
    let worker = &downstream.worker;
    let found = match decide(downstream, head) {
        Decision::Admitted(found) => found,
        Decision::Refused(refusal, found) => {
            return refuse(downstream, Some(head), found.as_ref(), &refusal, account);
        }
    };
    account.class_slot = worker.class_slot(&found.table, found.class());
    downstream.mutating.set(!head.method.is_safe());
    match found.route().and_then(|route| route.answer_to(head.method.as_str())) {
        // The gateway answers these by itself: what they wait for must not wait for them. In boxes, as they are rare.
        Some(RouteAnswer::SetMode) => {
            let found = found.without_permit();
            Box::pin(answers::set_mode(downstream, found, head, body, account)).await
        }
        Some(RouteAnswer::Status) => Box::pin(answers::status(downstream, found, head, body, account)).await,
        None => forward(downstream, found, head, body, account).await,
    }
}

/// A request that was classified.
#[derive(Debug)]
pub struct Found {
    /// The table that classified it.
    pub table: Rc<TableRef>,
    /// The route that takes it; `None`: unmatched, forwarded as a class.
    pub index: Option<RouteIndex>,
    /// Its canonical path, when that is not what was sent.
    pub rewritten: Option<String>,
    /// Counts it in flight, when it was admitted.
    pub permit: Option<Permit>,
}

impl Found {
    /// The route that takes it.
    pub fn route(&self) -> Option<&Route> {
        self.index.map(|index| &self.table.table().routes[index as usize])
    }

    /// The index of its class in the table; `None` when it has none.
    pub fn class(&self) -> Option<usize> {
        match (self.route(), self.table.table().unmatched) {
            (Some(route), _) => Some(route.class),
            (None, Unmatched::Class(class)) => Some(class),
            (None, Unmatched::NotFound) => None,
        }
    }

    fn without_permit(mut self) -> Found {
        self.permit = None;
        self
    }
}

enum Decision {
    Admitted(Found),
    /// With the route that took it, if it came to that.
    Refused(Refusal, Option<Found>),
}

/// All that is decided before a byte goes to UCS.
fn decide(downstream: &Downstream, head: &RequestHead) -> Decision {
    let path = match CanonicalPath::parse(head.path()) {
        Ok(path) => path,
        Err(why) => return Decision::Refused(Refusal::Path(why), None),
    };
    let seat = &downstream.worker.seat;
    loop {
        let table = seat.table();
        let index = table.table().classify(head.method.as_str(), &path);
        if index.is_none() && table.table().unmatched == Unmatched::NotFound {
            return Decision::Refused(Refusal::Unmatched, None);
        }
        let refusal = match seat.enter(&table, index) {
            Ok(permit) => {
                return Decision::Admitted(Found { table, index, rewritten: path.rewritten(), permit: Some(permit) });
            }
            Err(Refused::OldTable) => continue,
            Err(Refused::Mode(published)) => Refusal::Mode(published),
            Err(Refused::NoSchema(published)) => Refusal::NoSchema(published),
        };
        return Decision::Refused(refusal, Some(Found { table, index, rewritten: None, permit: None }));
    }
}

async fn forward(
    downstream: &Rc<Downstream>,
    mut found: Found,
    head: &RequestHead,
    body: ClientBody,
    mut account: Account,
) -> Box<Reply> {
    let worker = &downstream.worker;
    let Some(permit) = found.permit.take() else {
        return refuse(downstream, Some(head), Some(&found), &Refusal::Stopping, account);
    };
    let place = match worker.place(&found.table, found.class()) {
        Ok(place) => place,
        Err(full) => {
            drop(permit);
            return refuse(downstream, Some(head), Some(&found), &Refusal::ClassFull(full), account);
        }
    };
    let towards = towards_upstream(downstream, &found, head, &head.method, &[]);
    if account.is_logged() {
        account.line = Some(Box::new(admitted_line(downstream, head, &found, NO_ANSWER, towards.request_id())));
    }
    match worker.forwarder.forward(permit, place, towards, body, Some(Rc::clone(downstream))).await {
        Ok(answered) => {
            worker.note_schema(&found, answered.status);
            account.answered(answered.status);
            Reply::relay(answered, account)
        }
        Err(error) => {
            let refusal = match downstream.wire.body_fault() {
                Some(fault) => Refusal::Wire(fault),
                None => Refusal::Forward(error),
            };
            refuse(downstream, Some(head), Some(&found), &refusal, account)
        }
    }
}

/// Makes the head that UCS gets: the bytes that were classified, one host, no hop-by-hop header, nothing of `without`.
pub fn towards_upstream(
    downstream: &Downstream,
    found: &Found,
    head: &RequestHead,
    method: &Method,
    without: &[&str],
) -> UpstreamHead {
    let worker = &downstream.worker;
    // RFC 9112 3.2.2: the authority of an absolute-form target wins over Host.
    let host = head.authority().or_else(|| head.host());
    let to = Destination {
        method,
        path: found.rewritten.as_deref().map_or(head.path(), str::as_bytes),
        query: head.query(),
        host: host.unwrap_or(worker.upstream_host.as_bytes()),
    };
    let own = Own { hop: &downstream.hop, ids: &worker.request_ids, buffers: &worker.buffers };
    headers::to_upstream(to, &head.fields, without, own)
}

/// Answers what is no request.
pub fn refuse_fault(downstream: &Downstream, fault: WireFault, account: Account) -> Box<Reply> {
    refuse(downstream, None, None, &Refusal::Wire(fault), account)
}

/// The one place where a refusal becomes an answer.
pub fn refuse(
    downstream: &Downstream,
    head: Option<&RequestHead>,
    found: Option<&Found>,
    refusal: &Refusal,
    mut account: Account,
) -> Box<Reply> {
    let worker = &downstream.worker;
    let lease = found.map_or_else(|| worker.seat.table(), |found| Rc::clone(&found.table));
    let table = lease.table();
    let path = if matches!(refusal, Refusal::Wire(_)) { "" } else { head.map_or("", RequestHead::path_text) };
    let route = found.and_then(Found::route);
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
        account.line = Some(Box::new(refused_line(found, Rc::clone(&lease), refusal, about, words)));
    }
    worker.count_refusal(refusal);
    match found {
        Some(found) => worker.pages.refuse(refusal, found, about, account),
        None => reply::refuse(refusal, about, table, account),
    }
}

/// The status in the log of a request that was not answered.
pub const NO_ANSWER: u16 = 0;

/// What went to UCS has its id already.
fn refused_words(worker: &Worker, head: Option<&RequestHead>, path: &str, earlier: Option<Box<Line>>) -> Words {
    let fresh = head.filter(|_| earlier.is_none()).map(|head| worker.request_ids.id_of(&head.fields));
    let fresh = fresh.as_deref().unwrap_or_default().as_bytes();
    let id = earlier.as_ref().map_or(fresh, |line| line.words.request_id());
    Words::of(path.as_bytes(), id, &worker.buffers)
}

fn refused_line(found: Option<&Found>, table: Rc<TableRef>, refusal: &Refusal, about: About<'_>, words: Words) -> Line {
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

/// The log line of a request that was admitted.
pub fn admitted_line(
    downstream: &Downstream,
    head: &RequestHead,
    found: &Found,
    status: u16,
    request_id: &[u8],
) -> Line {
    let worker = &downstream.worker;
    let path = found.rewritten.as_deref().map_or(head.path(), str::as_bytes);
    Line {
        method: head.method.clone(),
        words: Words::of(path, request_id, &worker.buffers),
        table: Rc::clone(&found.table),
        route: found.index,
        class: found.class(),
        status,
        revision: worker.seat.published().record.as_ref().map_or(0, |record| record.revision),
    }
}
