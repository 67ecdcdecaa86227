//! One admitted request to UCS and the head of its answer back. It decides nothing about modes; what it must do when a
//! connection is stale, UCS is late, or the client goes away, it does here.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::task::AbortHandle;

use super::body::{Download, Link, RequestBody, UploadState};
use super::exchange::{Exchange, Exchanges, GaveUp};
use super::pool::{ConnectError, Lease, Pool};
use crate::gate::Permit;

/// Why there is no answer of UCS to pass on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// UCS closed the connection, or answered what is not HTTP.
    #[error("UCS broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// UCS's answer to an operation that the gateway answers is not what it should be.
    #[error("UCS's answer cannot be read, or is too long")]
    BadDocument,
    /// UCS left HTTP, which no request that reaches it asks for: `Upgrade` ends at the gateway.
    #[error("UCS switched to another protocol, which nobody asked it for")]
    Switched,
    /// A deadline passed, or a flip cut the exchange off.
    #[error("given up: {0:?}")]
    GaveUp(GaveUp),
    /// The request's body has bad framing, or its sender went away.
    #[error("the request's body ended early")]
    BadBody,
    /// The request's body is longer than the limit.
    #[error("the request's body is longer than allowed")]
    BodyTooLarge,
}

/// What forwarding needs of its worker.
#[derive(Debug)]
pub struct Forwarder {
    /// Connections to UCS.
    pub pool: Rc<Pool>,
    /// What is under way.
    pub exchanges: Rc<Exchanges>,
    /// The longest body of a request, in bytes.
    pub max_body: u64,
}

impl Forwarder {
    /// Sends a request and waits for the head of the answer. When the caller goes away during a mutating request, the
    /// exchange is brought to its end all the same, within its deadlines.
    pub async fn forward(
        self: &Rc<Self>,
        permit: Permit,
        head: Parts,
        body: Incoming,
        downstream: Option<AbortHandle>,
    ) -> Result<Response<Download>, ForwardError> {
        // Announced as too long: neither UCS nor a client that waits for 100 need begin.
        if body.size_hint().lower() > self.max_body {
            return Err(ForwardError::BodyTooLarge);
        }
        let exchange = Rc::new(self.exchanges.begin(permit, downstream));
        // RFC 9110 9.2.1: safe methods ask for no change, so an early end does no harm.
        let mutating = !head.method.is_safe() || !body.is_end_stream();
        if mutating {
            FinishAnyway::new(exchange_with_ucs(Rc::clone(self), exchange, head, body, true)).await
        } else {
            exchange_with_ucs(Rc::clone(self), exchange, head, body, false).await
        }
    }
}

async fn exchange_with_ucs(
    forwarder: Rc<Forwarder>,
    exchange: Rc<Exchange>,
    head: Parts,
    body: Incoming,
    mutating: bool,
) -> Result<Response<Download>, ForwardError> {
    // Only a request without a body can be said again word for word.
    let spare = (!mutating && body.is_end_stream()).then(|| head.clone());
    let (body, upload) = RequestBody::relay(body, Rc::clone(&exchange), forwarder.max_body);
    let (response, lease) = match attempt(&forwarder, &exchange, Request::from_parts(head, body), false).await {
        Ok(answered) => answered,
        Err(Failure::Final(error)) => return Err(explain(&exchange, upload.get(), error)),
        Err(Failure::NotSent(request)) => again(&forwarder, &exchange, *request, &upload).await?,
        Err(Failure::Stale(error)) => match spare {
            Some(head) => again(&forwarder, &exchange, Request::from_parts(head, RequestBody::Empty), &upload).await?,
            None => return Err(explain(&exchange, upload.get(), ForwardError::Broken(error))),
        },
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        lease.abort.abort();
        return Err(explain(&exchange, upload.get(), ForwardError::Switched));
    }
    exchange.wait_for_upstream_body();
    let pool = Rc::clone(&forwarder.pool);
    let link = Link { exchange, lease, pool, upload, mutating };
    Ok(response.map(|incoming| Download::new(incoming, link)))
}

/// The second and last attempt, on a new connection.
async fn again(
    forwarder: &Forwarder,
    exchange: &Rc<Exchange>,
    request: Request<RequestBody>,
    upload: &Cell<UploadState>,
) -> Result<(Response<Incoming>, Lease), ForwardError> {
    exchange.was_not_sent();
    forwarder.pool.count_retry();
    let error = match attempt(forwarder, exchange, request, true).await {
        Ok(answered) => return Ok(answered),
        Err(Failure::Final(error)) => error,
        Err(Failure::Stale(error)) => ForwardError::Broken(error),
        Err(Failure::NotSent(_)) => ForwardError::Connect(ConnectError::Closed),
    };
    Err(explain(exchange, upload.get(), error))
}

enum Failure {
    /// The connection was closed before it took anything: the request comes back untouched.
    NotSent(Box<Request<RequestBody>>),
    /// A used connection broke before any answer: likely closed by UCS in the same moment.
    Stale(hyper::Error),
    Final(ForwardError),
}

async fn attempt(
    forwarder: &Forwarder,
    exchange: &Exchange,
    request: Request<RequestBody>,
    fresh: bool,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let mut lease = forwarder.pool.lease(fresh).await.map_err(|error| Failure::Final(error.into()))?;
    // A cut while it waited for the connection: nothing was sent, nothing will be.
    if let Some(why) = exchange.gave_up() {
        return Err(Failure::Final(ForwardError::GaveUp(why)));
    }
    exchange.sent_on(lease.abort.clone());
    match lease.sender.try_send_request(request).await {
        Ok(response) => Ok((response, lease)),
        Err(mut error) => Err(match error.take_message() {
            Some(request) if exchange.gave_up().is_none() => Failure::NotSent(Box::new(request)),
            _ if lease.reused && exchange.gave_up().is_none() && closed_without_answer(error.error()) => {
                Failure::Stale(error.into_error())
            }
            _ => Failure::Final(ForwardError::Broken(error.into_error())),
        }),
    }
}

/// The three faces of a connection that UCS closed while it was idle: end of file, reset, failed write.
fn closed_without_answer(error: &hyper::Error) -> bool {
    use std::error::Error;
    let reset = || error.source().and_then(|source| source.downcast_ref::<std::io::Error>()).is_some();
    error.is_canceled() || error.is_closed() || error.is_incomplete_message() || reset()
}

/// The error that the client should hear of: what the gateway or the client did comes before what UCS then saw.
fn explain(exchange: &Exchange, upload: UploadState, error: ForwardError) -> ForwardError {
    if let Some(why) = exchange.gave_up() {
        return ForwardError::GaveUp(why);
    }
    match (upload, error) {
        (UploadState::Broken, _) => ForwardError::BadBody,
        (UploadState::TooLarge, _) => ForwardError::BodyTooLarge,
        (UploadState::Running | UploadState::Done, error) => {
            // UCS itself ended it: nothing is left running that a drain would have to wait for.
            exchange.finish();
            error
        }
    }
}

/// A future that goes on in a task of its own when its owner drops it.
struct FinishAnyway<F: Future + 'static>(Option<Pin<Box<F>>>);

impl<F: Future + 'static> FinishAnyway<F> {
    fn new(future: F) -> FinishAnyway<F> {
        FinishAnyway(Some(Box::pin(future)))
    }
}

impl<F: Future + 'static> Future for FinishAnyway<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = std::task::ready!(future.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future + 'static> Drop for FinishAnyway<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            // What the answer's end must settle, its own drop does: see `Download`.
            tokio::task::spawn_local(async move { drop(future.await) });
        }
    }
}
