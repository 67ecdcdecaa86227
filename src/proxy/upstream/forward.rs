//! One admitted request to UCS and the head of its answer back. It decides nothing about modes; what it must do when a
//! connection is stale, UCS is late, or the client goes away, it does here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use hyper::body::Body;

use crate::gate::Permit;
use crate::http1::writer::{MessageWriter, WriteError};
use crate::http1::{Fields, HEAD_BYTES, ResponseError, ResponseHead, read_head};
use crate::proxy::class_limits::ClassPermit;
use crate::proxy::client::ClientBody;
use crate::proxy::headers::UpstreamHead;
use crate::proxy::upstream::body::{Download, ExchangeGuard, RequestBody, SharedWriter, UploadTask};
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::error::ForwardError;
use crate::proxy::upstream::exchange::{ClientTask, Exchange, Exchanges, UploadState};
use crate::proxy::upstream::pool::{ConnectError, Pool, PooledConnection};
use crate::proxy::upstream::request;

/// UCS's answer.
#[derive(Debug)]
pub struct UpstreamResponse {
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
        &self,
        permit: Permit,
        class_permit: Option<ClassPermit>,
        head: UpstreamHead,
        body: ClientBody,
        client: Option<ClientTask>,
    ) -> Forwarded {
        // Announced as too long: neither UCS nor a client that waits for 100 need begin.
        if body.size_hint().lower() > self.max_body {
            return Err(ForwardError::BodyTooLarge);
        }
        let exchange = self.exchanges.begin(permit, class_permit, client);
        let mut forwarding = Forwarding {
            pool: Rc::clone(&self.pool),
            // RFC 9110 9.2.1: safe methods ask for no change, so an early end does no harm.
            mutating: !head.is_safe || !body.is_end_stream(),
            is_head: head.is_head,
            message: request::encode(head, RequestBody::relay(body, Rc::clone(&exchange), self.max_body)),
            exchange,
            fresh: false,
            leasing: None,
            lease: None,
            refused: None,
            came: 0,
        };
        if forwarding.mutating {
            let mut forwarding = FinishAnyway(Some(Box::new(forwarding)));
            return poll_fn(|context| forwarding.poll(context)).await;
        }
        let (answer, lease) = poll_fn(|context| forwarding.poll(context)).await?;
        forwarding.answered(answer, lease)
    }
}

/// One request on its way to UCS, until the head of its answer has come.
struct Forwarding {
    pool: Rc<Pool>,
    message: MessageWriter<RequestBody>,
    mutating: bool,
    is_head: bool,
    /// It is asked for the second and last time, on a new connection.
    fresh: bool,
    /// The wait for a connection, when none was idle.
    leasing: Option<Leasing>,
    /// The connection that it was sent on.
    lease: Option<PooledConnection>,
    /// What UCS refused to take more with. It may have answered already, so this counts only if no answer comes.
    refused: Option<io::Error>,
    /// Bytes that came and were no final head: a UCS that floods with interim answers must not keep a worker busy up to a
    /// deadline.
    came: usize,
    /// Behind the connection, so that this is closed before the permit is dropped.
    exchange: Rc<Exchange>,
}

type Leasing = Pin<Box<dyn Future<Output = Result<PooledConnection, ConnectError>>>>;

impl Forwarding {
    /// Expectations UCS, a second time if the first connection was stale. Not to be polled once it is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(ResponseHead, PooledConnection), ForwardError>> {
        loop {
            let mut lease = match self.lease.take() {
                Some(lease) => lease,
                None => match ready!(self.poll_lease(context)) {
                    Ok(lease) => lease,
                    Err(error) => return Poll::Ready(Err(self.explain(error))),
                },
            };
            let fault = match self.poll_answer(&mut lease.connection, context) {
                Poll::Pending => {
                    self.lease = Some(lease);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(answer)) => return Poll::Ready(Ok((answer, lease))),
                Poll::Ready(Err(fault)) => fault,
            };
            if !self.may_ask_again(&fault, &lease) {
                return Poll::Ready(Err(self.explain(fault.into())));
            }
            drop(lease);
            (self.fresh, self.refused, self.came) = (true, None, 0);
            self.message.rewind();
            self.exchange.was_not_sent();
            self.pool.count_retry();
        }
    }

    fn poll_lease(&mut self, context: &mut Context<'_>) -> Poll<Result<PooledConnection, ForwardError>> {
        let idle = if self.fresh || self.leasing.is_some() { None } else { self.pool.checkout_idle() };
        let lease = match idle {
            Some(lease) => lease,
            None => {
                let (pool, fresh) = (&self.pool, self.fresh);
                let leasing = self.leasing.get_or_insert_with(|| Box::pin(Rc::clone(pool).checkout(fresh)));
                let lease = ready!(leasing.as_mut().poll(context));
                self.leasing = None;
                lease?
            }
        };
        // A cut while it waited for the connection: nothing was sent, nothing will be.
        if let Some(why) = self.exchange.gave_up() {
            return Poll::Ready(Err(ForwardError::GaveUp(why)));
        }
        self.exchange.sent();
        Poll::Ready(Ok(lease))
    }

    /// Sends what UCS takes, and looks for the head of its answer.
    fn poll_answer(
        &mut self,
        connection: &mut Connection,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseError>> {
        if self.exchange.gave_up().is_some() {
            return Poll::Ready(Err(ResponseError::GaveUp));
        }
        if self.refused.is_none()
            && !self.message.is_over()
            && let Some(writer) = connection.writer()
        {
            match self.message.poll(writer, context) {
                Poll::Ready(Err(WriteError::Refused(error))) => self.refused = Some(error),
                Poll::Ready(Err(WriteError::Body)) => return Poll::Ready(Err(ResponseError::GaveUp)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if let Some(answer) = read_head(&mut connection.unread, self.is_head)? {
                return Poll::Ready(Ok(answer));
            }
            if self.came > HEAD_BYTES {
                return Poll::Ready(Err(ResponseError::HeadTooLong));
            }
            self.exchange.wake_when_given_up(context);
            match ready!(connection.poll_fill(None, context)) {
                Ok(0) => {
                    return Poll::Ready(Err(self.refused.take().map_or(ResponseError::Ended, ResponseError::Broke)));
                }
                Ok(length) => self.came += length,
                Err(error) => return Poll::Ready(Err(ResponseError::Broke(error))),
            }
        }
    }

    /// Whether the connection was stale: it broke before it gave any answer, and an earlier exchange had used it, so UCS likely
    /// closed it in the same moment. And whether UCS took nothing of the request, or may take it twice: one that is safe and
    /// has no body can be said again word for word.
    fn may_ask_again(&self, fault: &ResponseError, lease: &PooledConnection) -> bool {
        let ended =
            matches!(fault, ResponseError::Ended | ResponseError::Broke(_)) && lease.connection.unread.is_empty();
        let stale = ended && lease.reused && self.exchange.gave_up().is_none();
        stale && (!self.mutating || self.message.is_untouched())
    }

    /// The head has come; the rest of the exchange is with the body.
    #[inline]
    fn answered(self, answer: ResponseHead, mut lease: PooledConnection) -> Forwarded {
        let ResponseHead { status, fields, body, keeps_open } = answer;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.explain(ForwardError::Switched));
        }
        let Forwarding { exchange, pool, message, mutating, .. } = self;
        exchange.response_began();
        let uploading = if message.is_over() { None } else { send_on(message, &mut lease) };
        let guard = ExchangeGuard { exchange, pooled: lease, pool, uploading, mutating, keeps_open };
        Ok(UpstreamResponse { status, fields, body: Download::new(body, guard) })
    }

    /// The error that the client should hear of: what the gateway or the client did comes before what UCS then saw.
    fn explain(&self, error: ForwardError) -> ForwardError {
        if let Some(why) = self.exchange.gave_up() {
            return ForwardError::GaveUp(why);
        }
        match (self.exchange.upload(), error) {
            (UploadState::Broken, _) => ForwardError::BadBody,
            (UploadState::TooLarge, _) => ForwardError::BodyTooLarge,
            // A connection that UCS broke says nothing of what UCS still does: the exchange counts as abandoned.
            (UploadState::Running | UploadState::Done, error) => error,
        }
    }
}

/// UCS has begun to answer before it had the whole request: the rest goes up while the answer comes down.
fn send_on(mut message: MessageWriter<RequestBody>, lease: &mut PooledConnection) -> Option<UploadTask> {
    let writer: SharedWriter = Rc::new(RefCell::new(Some(lease.connection.take_writer()?)));
    let shared = Rc::clone(&writer);
    let task = tokio::task::spawn_local(async move {
        // How it ended is for the answer to tell: this connection serves no other request.
        let _ = poll_fn(|context| match &mut *shared.borrow_mut() {
            Some(writer) => message.poll(writer, context),
            None => Poll::Ready(Ok(())),
        })
        .await;
    });
    Some(UploadTask { task: task.abort_handle(), writer })
}

/// A request that goes on in a task of its own when its owner drops it.
struct FinishAnyway(Option<Box<Forwarding>>);

type Forwarded = Result<UpstreamResponse, ForwardError>;

impl FinishAnyway {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Forwarded> {
        // BodyEvent out meanwhile: what panics half-way must not go on with what is left of the request.
        let Some(mut forwarding) = self.0.take() else { return Poll::Pending };
        let Poll::Ready(answer) = forwarding.poll(context) else {
            self.0 = Some(forwarding);
            return Poll::Pending;
        };
        Poll::Ready(answer.and_then(|(answer, lease)| forwarding.answered(answer, lease)))
    }
}

impl Drop for FinishAnyway {
    fn drop(&mut self) {
        let Some(mut forwarding) = self.0.take() else { return };
        tokio::task::spawn_local(async move {
            // What the answer's end must settle, its own drop does: see `Download`.
            let pool = Rc::clone(&forwarding.pool);
            let answer = poll_fn(|context| forwarding.poll(context)).await;
            if let Err(error) = answer.and_then(|(answer, lease)| forwarding.answered(answer, lease)) {
                pool.count_fault(error.upstream_fault());
            }
        });
    }
}
