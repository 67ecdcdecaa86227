//! Forwards one admitted request to UCS, until the head of the response: with a retry if the connection was stale, and to its
//! end if the client disconnects. It decides nothing about modes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use hyper::body::Body;

use crate::http1::encode::write_all;
use crate::http1::writer::{MessageWriter, WriteError};
use crate::http1::{Fields, HEAD_BYTES, ResponseError, ResponseHead, read_response_head};
use crate::proxy::client::ConnectionState;
use crate::proxy::headers::{self, UpstreamHead};
use crate::proxy::incoming::IncomingBody;
use crate::proxy::upstream::body::{Download, ExchangeGuard, RequestBody, SharedWriter, UploadTask};
use crate::proxy::upstream::connection::Room;
use crate::proxy::upstream::error::ForwardError;
use crate::proxy::upstream::exchange::{Admission, ClientTask, Exchange, Exchanges, UploadState};
use crate::proxy::upstream::gathered::GatheredShare;
use crate::proxy::upstream::pool::{ConnectError, Pool, PooledConnection};
use crate::proxy::upstream::request;

/// While connections are scarce, a request takes one once its body is complete, or this many of its bytes have arrived.
const GATHERED_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct UpstreamResponse {
    pub(crate) status: StatusCode,
    /// Its field lines, as received.
    pub(crate) fields: Fields,
    pub(crate) body: Download,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) task: ClientTask,
    /// The connection, if the client understands interim responses.
    pub(crate) interim: Option<Rc<ConnectionState>>,
}

/// Forwards the requests of one worker.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// Connections to UCS.
    pub(crate) pool: Rc<Pool>,
    pub(crate) exchanges: Rc<Exchanges>,
    /// The longest request body, in bytes.
    pub(crate) max_body: u64,
}

impl Forwarder {
    /// Sends a request and waits for the head of the response. If the caller is dropped during a mutating request, the exchange
    /// still runs to its end, within its deadlines.
    pub(crate) async fn forward(
        &self,
        admission: Admission,
        head: UpstreamHead,
        body: IncomingBody,
        client: Option<Client>,
    ) -> Forwarded {
        // The declared length exceeds the limit: reject it before UCS or a client that waits for 100 begins.
        if body.size_hint().lower() > self.max_body {
            return Err(ForwardError::BodyTooLarge);
        }
        let (task, interim) = client.map_or((None, None), |client| (Some(client.task), client.interim));
        let exchange = self.exchanges.begin(admission, task);
        let gathers = if body.is_end_stream() { None } else { self.pool.gathers(&exchange) };
        let mut forwarding = Forwarding {
            stage: gathers.map_or(Stage::Start(Attempt::First), Stage::Gathering),
            pool: Rc::clone(&self.pool),
            // RFC 9110, 9.2.1: safe methods change nothing, so aborting them does no harm.
            mutating: !head.is_safe || !body.is_end_stream(),
            is_head: head.is_head,
            interim,
            message: request::encode(head, RequestBody::relay(body, Rc::clone(&exchange), self.max_body)),
            exchange,
        };
        if forwarding.mutating {
            let mut forwarding = FinishAnyway(Some(Box::new(forwarding)));
            return poll_fn(|context| forwarding.poll(context)).await;
        }
        let (head, pooled) = poll_fn(|context| forwarding.poll(context)).await?;
        forwarding.into_response(head, pooled)
    }
}

/// One request to UCS, until the head of its response has arrived.
struct Forwarding {
    /// Declared before the exchange: the connection must be closed before the permit is dropped.
    stage: Stage,
    pool: Rc<Pool>,
    message: MessageWriter<RequestBody>,
    mutating: bool,
    is_head: bool,
    /// See [`Client::interim`].
    interim: Option<Rc<ConnectionState>>,
    exchange: Rc<Exchange>,
}

enum Stage {
    /// Connections are scarce: it takes none from others until all of its body, or enough, has arrived.
    Gathering(GatheredShare),
    /// It needs a connection.
    Start(Attempt),
    /// It waits for a connection, as none was idle.
    Connecting(Connecting),
    /// It is being sent on this connection, or waits for the head of the response.
    Exchanging(Exchanging),
    /// It is over, or being polled; if that panics, the rest must not be resumed.
    Done,
}

/// A request is sent at most twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    /// The first connection was stale: only a new one is used.
    Retry,
}

type Connecting = Pin<Box<dyn Future<Output = Result<PooledConnection, ConnectError>>>>;

/// A request on its connection.
struct Exchanging {
    pooled: PooledConnection,
    /// The error of sending. UCS may have responded before it, so it counts only if there is no response.
    write_error: Option<io::Error>,
    /// Bytes received without a final head: a UCS that floods with interim responses must not occupy a worker until a deadline.
    received: usize,
}

impl Forwarding {
    /// Sends the request and reads the head of the response; retries once if the first connection was stale.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(ResponseHead, PooledConnection), ForwardError>> {
        if let Stage::Gathering(_) = self.stage {
            ready!(self.poll_gather(context))?;
            self.stage = Stage::Start(Attempt::First);
        }
        loop {
            let mut exchanging = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Exchanging(exchanging) => exchanging,
                Stage::Done => return Poll::Pending,
                stage => match ready!(self.poll_connect(stage, context)) {
                    Ok(pooled) => Exchanging { pooled, write_error: None, received: 0 },
                    Err(error) => return Poll::Ready(Err(self.explain(error))),
                },
            };
            let error = match self.poll_head(&mut exchanging, context) {
                Poll::Pending => {
                    self.stage = Stage::Exchanging(exchanging);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(head)) => return Poll::Ready(Ok((head, exchanging.pooled))),
                Poll::Ready(Err(error)) => error,
            };
            if !self.may_retry(&error, &exchanging.pooled) {
                return Poll::Ready(Err(self.explain(error.into())));
            }
            drop(exchanging);
            self.stage = Stage::Start(Attempt::Retry);
            self.message.rewind();
            self.exchange.was_not_sent();
            self.pool.count_retry();
        }
    }

    /// Waits for the body, or enough of it.
    fn poll_gather(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        if self.exchange.gave_up().is_none() && self.message.poll_gather(GATHERED_BYTES, context).is_pending() {
            self.exchange.wake_when_given_up(context);
            if let Stage::Gathering(share) = &self.stage {
                share.note(self.message.waiting());
            }
            return Poll::Pending;
        }
        if self.exchange.gave_up().is_some() || self.message.is_failed() {
            return Poll::Ready(Err(self.explain(ResponseError::GaveUp.into())));
        }
        // From now on, it waits for a connection.
        self.exchange.was_not_sent();
        Poll::Ready(Ok(()))
    }

    /// Gets a connection: an idle one for the first attempt, or a wait for one.
    fn poll_connect(
        &mut self,
        stage: Stage,
        context: &mut Context<'_>,
    ) -> Poll<Result<PooledConnection, ForwardError>> {
        if let Some(reason) = self.exchange.gave_up() {
            return Poll::Ready(Err(ForwardError::GaveUp(reason)));
        }
        let idle = if matches!(stage, Stage::Start(Attempt::First)) { self.pool.checkout_idle() } else { None };
        let pooled = match (idle, stage) {
            (Some(pooled), _) => pooled,
            (None, stage) => {
                let mut connecting: Connecting = match stage {
                    Stage::Connecting(connecting) => connecting,
                    Stage::Start(attempt) => {
                        let (pool, exchange) = (Rc::clone(&self.pool), Rc::clone(&self.exchange));
                        Box::pin(pool.checkout(exchange, attempt == Attempt::Retry))
                    }
                    Stage::Gathering(_) | Stage::Exchanging(_) | Stage::Done => return Poll::Pending,
                };
                let Poll::Ready(pooled) = connecting.as_mut().poll(context) else {
                    self.exchange.wake_when_given_up(context);
                    self.stage = Stage::Connecting(connecting);
                    return Poll::Pending;
                };
                pooled?
            }
        };
        self.exchange.sent();
        Poll::Ready(Ok(pooled))
    }

    /// Sends as much as UCS accepts, and reads the head of the response.
    fn poll_head(
        &mut self,
        exchanging: &mut Exchanging,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseError>> {
        let Exchanging { pooled, write_error, received } = exchanging;
        let connection = &mut pooled.connection;
        if self.exchange.gave_up().is_some() {
            return Poll::Ready(Err(ResponseError::GaveUp));
        }
        if write_error.is_none()
            && !self.message.is_over()
            && let Some(writer) = connection.writer()
        {
            match self.message.poll(writer, context) {
                Poll::Ready(Err(WriteError::Refused(error))) => *write_error = Some(error),
                Poll::Ready(Err(WriteError::Body)) => return Poll::Ready(Err(ResponseError::GaveUp)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            while let Some(head) = read_response_head(&mut connection.unread, self.is_head)? {
                if !head.is_interim() {
                    return Poll::Ready(Ok(head));
                }
                self.interim.iter().for_each(|client| pass_interim(client, &head));
            }
            if *received > HEAD_BYTES {
                return Poll::Ready(Err(ResponseError::HeadTooLong));
            }
            self.exchange.wake_when_given_up(context);
            match ready!(connection.poll_fill(Room::OF_HEAD, context)) {
                Ok(0) => {
                    return Poll::Ready(Err(write_error.take().map_or(ResponseError::Ended, ResponseError::Broke)));
                }
                Ok(length) => *received += length,
                Err(error) => return Poll::Ready(Err(ResponseError::Broke(error))),
            }
        }
    }

    /// Whether the request may be sent again. The connection must have been stale: reused, and closed without a byte of a
    /// response, so UCS likely closed it at the same moment. And UCS must have received nothing, or the request must be safe and
    /// without a body.
    fn may_retry(&self, error: &ResponseError, pooled: &PooledConnection) -> bool {
        let is_closed =
            matches!(error, ResponseError::Ended | ResponseError::Broke(_)) && pooled.connection.unread.is_empty();
        let is_stale = is_closed && pooled.reused && self.exchange.gave_up().is_none();
        is_stale && (!self.mutating || self.message.is_untouched())
    }

    /// The head has arrived; the body takes over the rest of the exchange.
    #[inline]
    fn into_response(self, head: ResponseHead, mut pooled: PooledConnection) -> Forwarded {
        let ResponseHead { status, fields, body, keeps_open } = head;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.explain(ForwardError::Switched));
        }
        let Forwarding { exchange, pool, message, mutating, .. } = self;
        exchange.response_began();
        let uploading = if message.is_over() { None } else { send_rest(message, &mut pooled) };
        let guard = ExchangeGuard { exchange, pooled, pool, uploading, mutating, keeps_open };
        Ok(UpstreamResponse { status, fields, body: Download::new(body, guard) })
    }

    /// The error to report: a cause on the side of the gateway or the client precedes its effect on UCS.
    fn explain(&self, error: ForwardError) -> ForwardError {
        if let Some(reason) = self.exchange.gave_up() {
            return ForwardError::GaveUp(reason);
        }
        match (self.exchange.upload(), error) {
            (UploadState::Broken, _) => ForwardError::BadBody,
            (UploadState::TooLarge, _) => ForwardError::BodyTooLarge,
            // UCS may still work on a request whose connection it closed: the exchange counts as abandoned.
            (UploadState::Running | UploadState::Done, error) => error,
        }
    }
}

/// Passes an interim response on (RFC 9110, 15.2), except 100: the gateway sends that itself.
#[cold]
fn pass_interim(client: &ConnectionState, head: &ResponseHead) {
    if head.status == StatusCode::CONTINUE {
        return;
    }
    client.queue_interim(|bytes| {
        let (status, phrase) = (head.status.as_str().as_bytes(), head.fields.reason_phrase());
        write_all(bytes, [b"HTTP/1.1 ", status, b" ", phrase, b"\r\n"]);
        headers::to_downstream(&head.fields, bytes);
        bytes.extend_from_slice(b"\r\n");
    });
}

/// UCS has begun to respond before it had the whole request: the rest is sent while the response is read.
fn send_rest(mut message: MessageWriter<RequestBody>, pooled: &mut PooledConnection) -> Option<UploadTask> {
    let writer: SharedWriter = Rc::new(RefCell::new(Some(pooled.connection.take_writer()?)));
    let shared = Rc::clone(&writer);
    let task = tokio::task::spawn_local(async move {
        // The result does not matter: the response tells, and the connection is not reused.
        let _ = poll_fn(|context| match &mut *shared.borrow_mut() {
            Some(writer) => message.poll(writer, context),
            None => Poll::Ready(Ok(())),
        })
        .await;
    });
    Some(UploadTask { task: task.abort_handle(), writer })
}

/// A request that continues in a task of its own when its owner drops it.
struct FinishAnyway(Option<Box<Forwarding>>);

type Forwarded = Result<UpstreamResponse, ForwardError>;

impl FinishAnyway {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Forwarded> {
        // Taken out meanwhile: after a panic, the rest of the request must not continue.
        let Some(mut forwarding) = self.0.take() else { return Poll::Pending };
        let Poll::Ready(result) = forwarding.poll(context) else {
            self.0 = Some(forwarding);
            return Poll::Pending;
        };
        Poll::Ready(result.and_then(|(head, pooled)| forwarding.into_response(head, pooled)))
    }
}

impl Drop for FinishAnyway {
    fn drop(&mut self) {
        let Some(mut forwarding) = self.0.take() else { return };
        tokio::task::spawn_local(async move {
            // The drop of `Download` completes the exchange.
            let pool = Rc::clone(&forwarding.pool);
            let result = poll_fn(|context| forwarding.poll(context)).await;
            if let Err(error) = result.and_then(|(head, pooled)| forwarding.into_response(head, pooled)) {
                pool.count_fault(error.upstream_fault());
            }
        });
    }
}
