//! The straight line of a request, readable downwards: wire, path, route, gate, then UCS or the gateway's own answer. It
//! never fails: whatever goes wrong inside becomes an answer here, in one place.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Body;
use hyper::header::{EXPECT, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Request, Response, Uri, Version};

use super::account::{Account, Line};
use super::answers;
use super::body::ReplyBody;
use super::error::Refusal;
use super::headers;
use super::reply::{self, About};
use super::wire::{ClientBody, WireFault};
use super::worker::Downstream;
use crate::gate::{Permit, Refused, TableLease};
use crate::policy::path::CanonicalPath;
use crate::policy::routes::{Answer, Route, RouteIndex, Unmatched};

/// Answers one request, always.
pub async fn respond(
    downstream: Rc<Downstream>,
    request: Request<ClientBody>,
    mut account: Account,
) -> Response<ReplyBody> {
    let worker = &downstream.worker;
    let found = match decide(&downstream, &request) {
        Decision::Admitted(found) => found,
        Decision::Refused(refusal, found) => return refuse(&downstream, &request, found.as_ref(), &refusal, account),
    };
    account.class_slot = worker.class_slot(&found.table, found.class());
    downstream.mutating.set(!request.method().is_safe());
    match found.route().and_then(|route| route.answer_to(request.method().as_str())) {
        // The gateway answers these by itself: what they wait for must not wait for them.
        Some(Answer::SetMode) => {
            let found = found.without_permit();
            answers::set_mode(&downstream, found, request, account).await
        }
        Some(Answer::Status) => answers::status(&downstream, found, request, account).await,
        None => forward(&downstream, found, request, account).await,
    }
}

/// A request that was classified.
#[derive(Debug)]
pub struct Found {
    /// The table that classified it.
    pub table: Rc<TableLease>,
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
fn decide(downstream: &Downstream, request: &Request<ClientBody>) -> Decision {
    let path = match CanonicalPath::parse(request.uri().path().as_bytes()) {
        Ok(path) => path,
        Err(why) => return Decision::Refused(Refusal::Path(why), None),
    };
    let seat = &downstream.worker.seat;
    loop {
        let table = seat.table();
        let index = table.table().classify(request.method().as_str(), &path);
        if index.is_none() && table.table().unmatched == Unmatched::NotFound {
            return Decision::Refused(Refusal::Unmatched, None);
        }
        let refusal = match seat.enter(&table, index) {
            Ok(permit) => {
                let rewritten = (path.as_str() != request.uri().path()).then(|| path.as_str().to_owned());
                return Decision::Admitted(Found { table, index, rewritten, permit: Some(permit) });
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
    request: Request<ClientBody>,
    mut account: Account,
) -> Response<ReplyBody> {
    let worker = &downstream.worker;
    let Some(permit) = found.permit.take() else {
        return refuse(downstream, &request, Some(&found), &Refusal::Stopping, account);
    };
    let place = match worker.place(&found.table, found.class()) {
        Ok(place) => place,
        Err(full) => {
            drop(permit);
            return refuse(downstream, &request, Some(&found), &Refusal::ClassFull(full), account);
        }
    };
    let (mut head, body) = request.into_parts();
    let kept = Kept { method: head.method.clone(), uri: head.uri.clone(), headers: None };
    towards_upstream(downstream, &found, &mut head);
    account.line = account.is_logged().then(|| Box::new(line(downstream, &head, &found, NO_ANSWER)));
    let answered = worker.forwarder.forward(permit, place, head, body, downstream.abort()).await;
    match answered {
        Ok(mut response) => {
            headers::to_downstream(response.headers_mut());
            worker.note_schema(&found, response.status());
            account.answered(response.status());
            response.map(|download| ReplyBody::relay(download, account))
        }
        Err(error) => {
            let refusal = match downstream.wire.body_fault() {
                Some(fault) => Refusal::Wire(fault),
                None => Refusal::Forward(error),
            };
            refuse_kept(downstream, &kept, Some(&found), &refusal, true, account)
        }
    }
}

/// Makes the head that UCS gets: the bytes that were classified, one host, HTTP/1.1, no hop-by-hop header.
pub fn towards_upstream(downstream: &Downstream, found: &Found, head: &mut Parts) {
    // RFC 9112 3.2.2: the authority of an absolute-form target wins over Host.
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    if !head.headers.contains_key(HOST) {
        head.headers.insert(HOST, downstream.worker.upstream_host.clone());
    }
    // The gateway asks the client for the body when a connection to UCS takes it; UCS need not ask again.
    head.headers.remove(EXPECT);
    headers::to_upstream(&mut head.headers, &downstream.hop, &downstream.worker.request_ids);
    let canonical = found.rewritten.as_deref();
    if canonical.is_some() || head.uri.authority().is_some() {
        head.uri = origin_form(&head.uri, canonical);
    }
    head.version = Version::HTTP_11;
}

fn origin_form(uri: &Uri, canonical: Option<&str>) -> Uri {
    let path = canonical.unwrap_or(uri.path());
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    // A canonical path holds nothing that a target may not hold; the query came from a parsed target.
    Uri::from(target.unwrap_or(PathAndQuery::from_static("/")))
}

/// What a late refusal still has to name.
#[derive(Debug)]
struct Kept<'h> {
    method: hyper::Method,
    uri: Uri,
    /// Where the request's id is, when no line of the log has it yet.
    headers: Option<&'h HeaderMap>,
}

/// Answers what is no request.
pub fn refuse_fault(downstream: &Downstream, fault: WireFault, account: Account) -> Response<ReplyBody> {
    let kept = Kept { method: hyper::Method::GET, uri: Uri::default(), headers: None };
    refuse_kept(downstream, &kept, None, &Refusal::Wire(fault), true, account)
}

/// The one place where a refusal becomes an answer.
pub fn refuse(
    downstream: &Downstream,
    request: &Request<ClientBody>,
    found: Option<&Found>,
    refusal: &Refusal,
    account: Account,
) -> Response<ReplyBody> {
    let kept = Kept { method: request.method().clone(), uri: request.uri().clone(), headers: Some(request.headers()) };
    refuse_kept(downstream, &kept, found, refusal, !request.body().is_end_stream(), account)
}

/// The same, when the body was read already, or given up.
pub fn refuse_late(
    downstream: &Downstream,
    head: &Parts,
    found: &Found,
    refusal: &Refusal,
    account: Account,
) -> Response<ReplyBody> {
    let kept = Kept { method: head.method.clone(), uri: head.uri.clone(), headers: Some(&head.headers) };
    let unread = matches!(refusal, Refusal::Access(_) | Refusal::Forbidden(_) | Refusal::BadModeRequest(_));
    refuse_kept(downstream, &kept, Some(found), refusal, unread, account)
}

fn refuse_kept(
    downstream: &Downstream,
    kept: &Kept<'_>,
    found: Option<&Found>,
    refusal: &Refusal,
    unread: bool,
    mut account: Account,
) -> Response<ReplyBody> {
    let worker = &downstream.worker;
    let lease = found.map_or_else(|| worker.seat.table(), |found| Rc::clone(&found.table));
    let table = lease.table();
    let path = if matches!(refusal, Refusal::Wire(_)) { "" } else { kept.uri.path() };
    let route = found.and_then(Found::route);
    let class = route.map(|route| &table.classes[route.class].name);
    account.class_slot = worker.class_slot(&lease, route.map(|route| route.class));
    account.outcome = refusal.outcome();
    let about = About {
        method: &kept.method,
        path,
        operation: route.map(|route| &*route.operation),
        class: class.map(|class| &**class),
    };
    if account.is_logged() {
        let made = || kept.headers.map(|headers| headers::request_id(headers, &worker.request_ids)).unwrap_or_default();
        let request_id = account.line.take().map_or_else(made, |line| line.request_id);
        account.line = Some(Box::new(Line {
            peer: downstream.peer.ip(),
            method: kept.method.clone(),
            path: path.to_owned(),
            operation: about.operation.unwrap_or("-").to_owned(),
            class: about.class.unwrap_or("none").to_owned(),
            status: refusal.status().as_u16(),
            revision: refusal.record().map_or(0, |record| record.revision),
            request_id,
        }));
    }
    worker.count_refusal(refusal);
    reply::refuse(refusal, about, table, unread, account)
}

/// The status in the log of a request that was not answered.
pub const NO_ANSWER: u16 = 0;

/// The log line of a request that was admitted.
pub fn line(downstream: &Downstream, head: &Parts, found: &Found, status: u16) -> Line {
    let class = found.class().map(|class| Arc::clone(&found.table.table().classes[class].name));
    Line {
        peer: downstream.peer.ip(),
        method: head.method.clone(),
        path: found.rewritten.clone().unwrap_or_else(|| head.uri.path().to_owned()),
        operation: found.route().map_or("-", |route| &*route.operation).to_owned(),
        class: class.as_deref().unwrap_or("none").to_owned(),
        status,
        revision: downstream.worker.seat.published().record.as_ref().map_or(0, |record| record.revision),
        request_id: headers::request_id(&head.headers, &downstream.worker.request_ids),
    }
}
