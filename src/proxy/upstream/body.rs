//! The two streamed bodies: the client's request body to UCS, and UCS's response body to the client. Each piece is passed on
//! when it is polled, never stored; both tell the exchange which side they wait for.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use crate::http1::{BodyEvent, FramedBody, RESPONSE_LIMITS, ResponseError};
use crate::proxy::client::BodyFailed;
use crate::proxy::incoming::IncomingBody;
use crate::proxy::upstream::connection::Room;
use crate::proxy::upstream::error::ForwardError;
use crate::proxy::upstream::exchange::{Exchange, UploadState};
use crate::proxy::upstream::pool::{Pool, PooledConnection};
use crate::transport::WriteHalf;

/// The request body, as sent to UCS.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// The client's body, streamed.
    Relay(Upload),
}

/// A body that is read from the client.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: IncomingBody,
    exchange: Rc<Exchange>,
    left: u64,
}

impl RequestBody {
    /// The client's body with at most `limit` bytes; its state is kept in the exchange.
    pub(crate) fn relay(incoming: IncomingBody, exchange: Rc<Exchange>, limit: u64) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::Empty;
        }
        exchange.set_upload(UploadState::Running);
        RequestBody::Relay(Upload { incoming, exchange, left: limit })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Relay(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Relay(upload) => upload.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Relay(upload) => upload.incoming.size_hint(),
        }
    }
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            self.exchange.wait_for_client_body();
            return Poll::Pending;
        };
        self.exchange.client_body_arrived();
        let state = match &frame {
            None => UploadState::Done,
            Some(Err(_)) => UploadState::Broken,
            Some(Ok(frame)) => self.count(frame),
        };
        self.exchange.set_upload(state);
        match (frame, state) {
            (Some(_), UploadState::Broken | UploadState::TooLarge) => Poll::Ready(Some(Err(BodyFailed))),
            (frame, _) => Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyFailed))),
        }
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> UploadState {
        let length = frame.data_ref().map_or(0, |data| data.remaining());
        self.exchange.client_moved(length);
        match self.left.checked_sub(length as u64) {
            None => UploadState::TooLarge,
            Some(left) => {
                self.left = left;
                if self.incoming.is_end_stream() { UploadState::Done } else { UploadState::Running }
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.exchange.awaits_no_body();
    }
}

/// The body of UCS's response, streamed. Dropping it early aborts the exchange, or completes it if it is mutating.
#[derive(Debug)]
pub(crate) struct Download(BodyState);

#[derive(Debug)]
enum BodyState {
    /// Nothing is left.
    Done,
    /// The response is complete, and this is the rest of it.
    Buffered(Bytes),
    /// More is to come. Boxed, as most responses arrive at once.
    Stream(Box<Stream>),
}

#[derive(Debug)]
struct Stream {
    body: FramedBody,
    /// Absent once the exchange is over.
    guard: Option<ExchangeGuard>,
}

/// The resources of an exchange until its response is complete.
#[derive(Debug)]
pub(crate) struct ExchangeGuard {
    pub(crate) pooled: PooledConnection,
    /// The pool that the connection is put back to.
    pub(crate) pool: Rc<Pool>,
    /// The task that sends the rest of the request, if UCS responded before it had all of it.
    pub(crate) uploading: Option<UploadTask>,
    /// Whether the response must be read to its end even if the client disconnects.
    pub(crate) mutating: bool,
    /// Whether UCS keeps the connection open after this response.
    pub(crate) keeps_open: bool,
    /// Holds the permit. Declared after the connection, which must be closed before the permit is dropped.
    pub(crate) exchange: Rc<Exchange>,
}

/// A task that sends the rest of a request; dropping it aborts the task.
#[derive(Debug)]
pub(crate) struct UploadTask {
    pub(crate) task: AbortHandle,
    /// The write half. Shared, as an aborted task is dropped later, and the connection must not live as long.
    pub(crate) writer: SharedWriter,
}

/// The write half of a connection to UCS, until the exchange is over.
pub(crate) type SharedWriter = Rc<RefCell<Option<WriteHalf>>>;

impl Download {
    /// The body of a response whose head has arrived. If the whole body has arrived with it, the exchange completes at once.
    pub(crate) fn new(body: FramedBody, mut guard: ExchangeGuard) -> Download {
        let unread = &mut guard.pooled.connection.unread;
        let left = body.left().and_then(|left| usize::try_from(left).ok()).filter(|left| *left <= unread.len());
        match left {
            Some(left) => {
                let rest = unread.split_to(left).freeze();
                guard.finish();
                Download(if rest.is_empty() { BodyState::Done } else { BodyState::Buffered(rest) })
            }
            None => Download(BodyState::Stream(Box::new(Stream { body, guard: Some(guard) }))),
        }
    }

    /// Whether a part of it was not consumed, and no error ended it.
    pub(crate) fn is_unfinished(&self) -> bool {
        match &self.0 {
            BodyState::Done => false,
            BodyState::Buffered(_) => true,
            BodyState::Stream(stream) => stream.guard.is_some(),
        }
    }

    /// The client is to read what it has before it gets more.
    pub(crate) fn wait_for_client_reading(&self) {
        if let Some(exchange) = self.exchange().filter(|exchange| !exchange.is_waiting_for_client_reading()) {
            exchange.wait_for_client_reading();
        }
    }

    /// The exchange, until it completes or fails.
    pub(crate) fn exchange(&self) -> Option<&Rc<Exchange>> {
        let BodyState::Stream(stream) = &self.0 else { return None };
        stream.guard.as_ref().map(|guard| &guard.exchange)
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = ForwardError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let state = &mut self.get_mut().0;
        if let BodyState::Stream(stream) = state {
            return stream.poll(cx);
        }
        match std::mem::replace(state, BodyState::Done) {
            BodyState::Buffered(rest) => Poll::Ready(Some(Ok(Frame::data(rest)))),
            BodyState::Done | BodyState::Stream(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyState::Done => true,
            BodyState::Buffered(_) => false,
            BodyState::Stream(stream) => stream.body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.0 {
            BodyState::Done => Some(0),
            BodyState::Buffered(rest) => Some(rest.len() as u64),
            BodyState::Stream(stream) => stream.body.left(),
        };
        left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl Stream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let Some(guard) = &mut self.guard else { return Poll::Ready(None) };
        let polled = poll_piece(&mut self.body, guard, context);
        match &polled {
            Poll::Pending => guard.exchange.wait_for_upstream_body(),
            Poll::Ready(Some(Ok(frame))) if !self.body.is_over() => {
                guard.exchange.wait_for_client_reading();
                guard.exchange.client_moved(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(Some(Ok(_)) | None) => self.finish(),
            // Dropping the guard closes the connection, and counts the exchange as abandoned.
            Poll::Ready(Some(Err(_))) => self.guard = None,
        }
        polled
    }

    fn finish(&mut self) {
        self.guard.take().into_iter().for_each(ExchangeGuard::finish);
    }
}

impl ExchangeGuard {
    /// Completes the exchange: the response was received in full.
    fn finish(self) {
        let ExchangeGuard { mut pooled, pool, uploading, exchange, keeps_open, .. } = self;
        // UCS responded before it had the whole request: the rest is cancelled, and the connection reset before the permit goes.
        if exchange.upload() != UploadState::Done || pooled.connection.is_split() {
            drop((pooled, uploading));
            return exchange.finish();
        }
        pooled.connection.end_exchange();
        exchange.finish();
        // Unsolicited bytes after the response must not be read as the response to the next request.
        if keeps_open && pooled.connection.is_whole() {
            pool.put_back(pooled);
        }
    }
}

/// The next piece of the response body, from the buffer or the socket.
fn poll_piece(
    body: &mut FramedBody,
    guard: &mut ExchangeGuard,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
    if let Some(why) = guard.exchange.gave_up() {
        return Poll::Ready(Some(Err(ForwardError::GaveUp(why))));
    }
    let connection = &mut guard.pooled.connection;
    loop {
        match body.take(&mut connection.unread, &RESPONSE_LIMITS) {
            Ok(BodyEvent::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(BodyEvent::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(BodyEvent::End) => return Poll::Ready(None),
            Ok(BodyEvent::More) => {}
            Err(error) => return Poll::Ready(Some(Err(ResponseError::Chunks(error).into()))),
        }
        guard.exchange.wake_when_given_up(context);
        match ready!(connection.poll_fill(Room::of_body(body.left(), guard.pool.is_scarce()), context)) {
            Ok(0) if body.end() => return Poll::Ready(None),
            Ok(0) => return Poll::Ready(Some(Err(ResponseError::Ended.into()))),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Some(Err(ResponseError::Broke(error).into()))),
        }
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.task.abort();
        // It is borrowed only while the task is polled, which does not drop this. No FIN is sent, as the request may be
        // incomplete.
        let writer = self.writer.try_borrow_mut().ok().and_then(|mut writer| writer.take());
        writer.into_iter().for_each(WriteHalf::forget);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let BodyState::Stream(stream) = std::mem::replace(&mut self.0, BodyState::Done) else { return };
        let reads_on = stream.guard.as_ref().is_some_and(|guard| guard.mutating && guard.exchange.gave_up().is_none());
        if reads_on {
            // The client has disconnected, but UCS is still working: read on, so that a drain waits for it.
            tokio::task::spawn_local(stream.read_to_end());
        }
    }
}

impl Stream {
    async fn read_to_end(mut self) {
        let Some(pool) = self.guard.as_ref().map(|guard| Rc::clone(&guard.pool)) else { return };
        while let Some(frame) = std::future::poll_fn(|cx| self.poll(cx)).await {
            if let Err(error) = frame {
                pool.count_fault(error.upstream_fault());
            }
        }
    }
}
