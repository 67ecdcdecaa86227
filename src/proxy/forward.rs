//! One admitted request to UCS and the head of its answer back. It decides nothing about modes; what it must do when a
//! connection is stale, UCS is late, or the client goes away, it does here.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use hyper::body::Body;

use super::body::{Download, Link, RequestBody, Uploading};
use super::bulkhead::Place;
use super::connection::Connection;
use super::exchange::{Exchange, Exchanges, GaveUp, UploadState};
use super::headers::UpstreamHead;
use super::pool::{ConnectError, Lease, Pool};
use super::sending::{SendFault, Sending};
use super::wire::{AnswerFault, AnswerHead, ClientBody, Fields, HEAD_BYTES, read_head};
use super::worker::Downstream;
use crate::gate::Permit;

/// Why there is no answer of UCS to pass on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// UCS closed the connection, or answered what is not HTTP.
    #[error("UCS's answer is broken: {0}")]
    Broken(#[from] AnswerFault),
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

/// UCS's answer.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its field lines, as UCS sent them.
    pub fields: Fields,
    /// Its body, as it comes.
    pub body: Download,
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
        place: Option<Place>,
        head: UpstreamHead,
        body: ClientBody,
        downstream: Option<Rc<Downstream>>,
    ) -> Result<Answered, ForwardError> {
        // Announced as too long: neither UCS nor a client that waits for 100 need begin.
        if body.size_hint().lower() > self.max_body {
            return Err(ForwardError::BodyTooLarge);
        }
        let exchange = self.exchanges.begin(permit, place, downstream);
        // RFC 9110 9.2.1: safe methods ask for no change, so an early end does no harm.
        let mutating = !head.is_safe || !body.is_end_stream();
        let is_head = head.is_head;
        let sending = Sending::request(head, RequestBody::relay(body, Rc::clone(&exchange), self.max_body));
        let mut errand = Errand { exchange, pool: Rc::clone(&self.pool), sending, mutating, is_head };
        if !mutating {
            let (answer, lease) = errand.answer_head().await?;
            return errand.answered(answer, lease);
        }
        let whole = async move {
            let (answer, lease) = errand.answer_head().await?;
            errand.answered(answer, lease)
        };
        FinishAnyway { future: Some(Box::pin(whole)), pool: Rc::clone(&self.pool) }.await
    }
}

/// One request on its way to UCS, until the head of its answer has come.
struct Errand {
    exchange: Rc<Exchange>,
    pool: Rc<Pool>,
    sending: Sending<RequestBody>,
    mutating: bool,
    is_head: bool,
}

impl Errand {
    /// Asks UCS, a second time if the first connection was stale.
    async fn answer_head(&mut self) -> Result<(AnswerHead, Lease), ForwardError> {
        match self.attempt(false).await {
            Ok(answered) => Ok(answered),
            Err(Failure::Broken { stale: true, .. }) if self.is_repeatable() => {
                self.sending.rewind();
                Box::pin(self.again()).await
            }
            Err(failure) => Err(self.explain(failure)),
        }
    }

    /// Whether UCS took nothing of it, or may take it twice: it is safe, and without a body it can be said again word for word.
    fn is_repeatable(&self) -> bool {
        !self.mutating || self.sending.is_untouched()
    }

    /// The second and last attempt, on a new connection.
    async fn again(&mut self) -> Result<(AnswerHead, Lease), ForwardError> {
        self.exchange.was_not_sent();
        self.pool.count_retry();
        self.attempt(true).await.map_err(|failure| self.explain(failure))
    }

    async fn attempt(&mut self, fresh: bool) -> Result<(AnswerHead, Lease), Failure> {
        let idle = if fresh { None } else { self.pool.lease_idle() };
        let mut lease = match idle {
            Some(lease) => lease,
            // In a box, as it is rare.
            None => Box::pin(self.pool.lease(fresh)).await.map_err(|error| Failure::Final(error.into()))?,
        };
        // A cut while it waited for the connection: nothing was sent, nothing will be.
        if let Some(why) = self.exchange.gave_up() {
            return Err(Failure::Final(ForwardError::GaveUp(why)));
        }
        self.exchange.sent();
        let mut so_far = SoFar::default();
        let connection = &mut lease.connection;
        match poll_fn(|context| self.poll_answer(connection, &mut so_far, context)).await {
            Ok(answer) => Ok((answer, lease)),
            Err(fault) => {
                let ended = matches!(fault, AnswerFault::Ended | AnswerFault::Broke(_)) && connection.unread.is_empty();
                Err(Failure::Broken { fault, stale: ended && lease.reused && self.exchange.gave_up().is_none() })
            }
        }
    }

    /// Sends what UCS takes, and looks for the head of its answer.
    fn poll_answer(
        &mut self,
        connection: &mut Connection,
        so_far: &mut SoFar,
        context: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, AnswerFault>> {
        if self.exchange.gave_up().is_some() {
            return Poll::Ready(Err(AnswerFault::GaveUp));
        }
        if so_far.refused.is_none()
            && !self.sending.is_over()
            && let Some(writer) = connection.writer()
        {
            match self.sending.poll(writer, context) {
                Poll::Ready(Err(SendFault::Refused(error))) => so_far.refused = Some(error),
                Poll::Ready(Err(SendFault::Body)) => return Poll::Ready(Err(AnswerFault::GaveUp)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if let Some(answer) = read_head(&mut connection.unread, self.is_head)? {
                return Poll::Ready(Ok(answer));
            }
            if so_far.came > HEAD_BYTES {
                return Poll::Ready(Err(AnswerFault::HeadTooLong));
            }
            self.exchange.wake_when_given_up(context);
            match ready!(connection.poll_fill(None, context)) {
                Ok(0) => return Poll::Ready(Err(so_far.refused.take().map_or(AnswerFault::Ended, AnswerFault::Broke))),
                Ok(length) => so_far.came += length,
                Err(error) => return Poll::Ready(Err(AnswerFault::Broke(error))),
            }
        }
    }

    /// The head has come; the rest of the exchange is with the body.
    fn answered(self, answer: AnswerHead, mut lease: Lease) -> Result<Answered, ForwardError> {
        let AnswerHead { status, fields, body, keeps_open } = answer;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.explain(Failure::Final(ForwardError::Switched)));
        }
        let Errand { exchange, pool, sending, mutating, .. } = self;
        exchange.answer_began();
        let uploading = if sending.is_over() { None } else { send_on(sending, &mut lease) };
        let link = Link { exchange, lease, pool, uploading, mutating, keeps_open };
        Ok(Answered { status, fields, body: Download::new(body, link) })
    }

    /// The error that the client should hear of: what the gateway or the client did comes before what UCS then saw.
    fn explain(&self, failure: Failure) -> ForwardError {
        if let Some(why) = self.exchange.gave_up() {
            return ForwardError::GaveUp(why);
        }
        match (self.exchange.upload(), failure) {
            (UploadState::Broken, _) => ForwardError::BadBody,
            (UploadState::TooLarge, _) => ForwardError::BodyTooLarge,
            (UploadState::Running | UploadState::Done, Failure::Final(error)) => error,
            // A connection that UCS broke says nothing of what UCS still does: the exchange counts as abandoned.
            (UploadState::Running | UploadState::Done, Failure::Broken { fault, .. }) => fault.into(),
        }
    }
}

/// UCS has begun to answer before it had the whole request: the rest goes up while the answer comes down.
fn send_on(mut sending: Sending<RequestBody>, lease: &mut Lease) -> Option<Uploading> {
    let mut writer = lease.connection.take_writer()?;
    let task = tokio::task::spawn_local(async move {
        // How it ended is for the answer to tell: this connection serves no other request.
        let _ = poll_fn(|context| sending.poll(&mut writer, context)).await;
    });
    Some(Uploading(task.abort_handle()))
}

enum Failure {
    /// The connection broke before it gave any answer. `stale`: an earlier exchange had used it, so UCS likely closed it
    /// in the same moment.
    Broken {
        fault: AnswerFault,
        stale: bool,
    },
    Final(ForwardError),
}

/// What is known of an attempt before its answer.
#[derive(Default)]
struct SoFar {
    /// What UCS refused to take more with. It may have answered already, so this counts only if no answer comes.
    refused: Option<io::Error>,
    /// Bytes that came and were no final head: a UCS that floods with interim answers must not keep a worker busy up to a
    /// deadline.
    came: usize,
}

/// An exchange that goes on in a task of its own when its owner drops it.
struct FinishAnyway<F: Future<Output = Forwarded> + 'static> {
    future: Option<Pin<Box<F>>>,
    pool: Rc<Pool>,
}

type Forwarded = Result<Answered, ForwardError>;

impl<F: Future<Output = Forwarded> + 'static> Future for FinishAnyway<F> {
    type Output = Forwarded;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Forwarded> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let output = std::task::ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output = Forwarded> + 'static> Drop for FinishAnyway<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let pool = Rc::clone(&self.pool);
            tokio::task::spawn_local(async move {
                // What the answer's end must settle, its own drop does: see `Download`.
                if let Err(error) = future.await {
                    pool.count_fault(error.upstream_fault());
                }
            });
        }
    }
}
