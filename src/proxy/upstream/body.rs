//! The two bodies that stream through: the client's request on its way to UCS, and UCS's answer on its way back. Each
//! piece is passed on when it is asked for, never stored; each tells the exchange whom it waits for.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::AbortHandle;

use crate::http1::{BodyEvent, FramedBody, RESPONSE_LIMITS, ResponseError};
use crate::proxy::client::{BodyFailed, ClientBody};
use crate::proxy::upstream::error::ForwardError;
use crate::proxy::upstream::exchange::{Exchange, UploadState};
use crate::proxy::upstream::pool::{Pool, PooledConnection};

/// A request's body on its way to UCS.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// The client's, as it comes.
    Relay(Upload),
}

/// A body that is read from the client.
#[derive(Debug)]
pub struct Upload {
    incoming: ClientBody,
    exchange: Rc<Exchange>,
    left: u64,
}

impl RequestBody {
    /// The client's body with at most `limit` bytes; the exchange knows what became of it.
    pub fn relay(incoming: ClientBody, exchange: Rc<Exchange>, limit: u64) -> RequestBody {
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
        self.exchange.client_body_came();
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

/// UCS's answer as it comes. Dropping it early ends the exchange as the method demands.
#[derive(Debug)]
pub struct Download(BodyState);

#[derive(Debug)]
enum BodyState {
    /// Nothing is to come.
    Over,
    /// UCS has answered in full, and this is left of it.
    Rest(Bytes),
    /// More is to come. In a box, as most answers come at once.
    Stream(Box<Stream>),
}

#[derive(Debug)]
struct Stream {
    body: FramedBody,
    /// All that the end must settle; gone when the exchange is over.
    link: Option<ExchangeGuard>,
}

/// What is held until UCS has answered in full.
#[derive(Debug)]
pub struct ExchangeGuard {
    /// The connection to UCS, and the pool that it goes back to.
    pub lease: PooledConnection,
    /// Where the connection goes afterwards.
    pub pool: Rc<Pool>,
    /// The task that still sends the rest of the request, when UCS answered before it had all of it.
    pub uploading: Option<UploadTask>,
    /// Whether it must be read to its end even when the client goes away.
    pub mutating: bool,
    /// Whether UCS keeps the connection open behind this answer.
    pub keeps_open: bool,
    /// Holds the permit; behind the connection, so that this is closed before the permit is dropped.
    pub exchange: Rc<Exchange>,
}

/// A task that sends the rest of a request; dropping it ends the task.
#[derive(Debug)]
pub struct UploadTask {
    /// The task.
    pub task: AbortHandle,
    /// The way out that it writes to. Shared, as an aborted task goes away later, and the connection must not live as long.
    pub writer: SharedWriter,
}

/// The way to UCS, until the exchange is over.
pub type SharedWriter = Rc<RefCell<Option<OwnedWriteHalf>>>;

impl Download {
    /// The body of an answer whose head just came. What has come whole with it, as most have, ends the exchange at once.
    pub fn new(body: FramedBody, mut link: ExchangeGuard) -> Download {
        let unread = &mut link.lease.connection.unread;
        let left = body.left().and_then(|left| usize::try_from(left).ok()).filter(|left| *left <= unread.len());
        match left {
            Some(left) => {
                let rest = unread.split_to(left).freeze();
                link.finish();
                Download(if rest.is_empty() { BodyState::Over } else { BodyState::Rest(rest) })
            }
            None => Download(BodyState::Stream(Box::new(Stream { body, link: Some(link) }))),
        }
    }

    /// Whether something of it was not taken, and no error told how it ended.
    pub(crate) fn is_unfinished(&self) -> bool {
        match &self.0 {
            BodyState::Over => false,
            BodyState::Rest(_) => true,
            BodyState::Stream(stream) => stream.link.is_some(),
        }
    }

    /// The exchange, as long as it is not over, and no error told how it ended.
    pub(crate) fn exchange(&self) -> Option<&Rc<Exchange>> {
        let BodyState::Stream(stream) = &self.0 else { return None };
        stream.link.as_ref().map(|link| &link.exchange)
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = ForwardError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let coming = &mut self.get_mut().0;
        if let BodyState::Stream(stream) = coming {
            return stream.poll(cx);
        }
        match std::mem::replace(coming, BodyState::Over) {
            BodyState::Rest(rest) => Poll::Ready(Some(Ok(Frame::data(rest)))),
            BodyState::Over | BodyState::Stream(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyState::Over => true,
            BodyState::Rest(_) => false,
            BodyState::Stream(stream) => stream.body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.0 {
            BodyState::Over => Some(0),
            BodyState::Rest(rest) => Some(rest.len() as u64),
            BodyState::Stream(stream) => stream.body.left(),
        };
        left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl Stream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        let polled = poll_piece(&mut self.body, link, context);
        match &polled {
            Poll::Pending => link.exchange.wait_for_upstream_body(),
            Poll::Ready(Some(Ok(frame))) if !self.body.is_over() => {
                link.exchange.wait_for_client_reading();
                link.exchange.client_moved(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(Some(Ok(_)) | None) => self.finish(),
            // Not the end that was to come: dropping the link closes the connection, and counts the exchange as abandoned.
            Poll::Ready(Some(Err(_))) => self.link = None,
        }
        polled
    }

    fn finish(&mut self) {
        self.link.take().into_iter().for_each(ExchangeGuard::finish);
    }
}

impl ExchangeGuard {
    /// UCS has answered in full.
    fn finish(self) {
        let ExchangeGuard { mut lease, pool, uploading, exchange, keeps_open, .. } = self;
        // What is left of a request that UCS did not wait for ends here: the connection is reset before the permit goes.
        if exchange.upload() != UploadState::Done || lease.connection.is_split() {
            drop((lease, uploading));
            return exchange.finish();
        }
        lease.connection.end_exchange();
        exchange.finish();
        // What UCS sent behind its answer must not meet a next request.
        if keeps_open && lease.connection.is_whole() {
            pool.give_back(lease);
        }
    }
}

/// The next piece of the answer's body, from the buffer or the socket.
fn poll_piece(
    body: &mut FramedBody,
    link: &mut ExchangeGuard,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
    if let Some(why) = link.exchange.gave_up() {
        return Poll::Ready(Some(Err(ForwardError::GaveUp(why))));
    }
    let connection = &mut link.lease.connection;
    loop {
        match body.take(&mut connection.unread, &RESPONSE_LIMITS) {
            Ok(BodyEvent::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(BodyEvent::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(BodyEvent::End) => return Poll::Ready(None),
            Ok(BodyEvent::More) => {}
            Err(error) => return Poll::Ready(Some(Err(ResponseError::Chunks(error).into()))),
        }
        link.exchange.wake_when_given_up(context);
        match ready!(connection.poll_fill(body.left(), context)) {
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
        // Borrowed only while the task is polled, which drops none of this. No regular end of the request is said: it may
        // not be one.
        let writer = self.writer.try_borrow_mut().ok().and_then(|mut writer| writer.take());
        writer.into_iter().for_each(OwnedWriteHalf::forget);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let BodyState::Stream(stream) = std::mem::replace(&mut self.0, BodyState::Over) else { return };
        let reads_on = stream.link.as_ref().is_some_and(|link| link.mutating && link.exchange.gave_up().is_none());
        if reads_on {
            // The client is gone, UCS is not done: read on, so that a drain waits for what really runs.
            tokio::task::spawn_local(stream.read_to_end());
        }
    }
}

impl Stream {
    async fn read_to_end(mut self) {
        let Some(pool) = self.link.as_ref().map(|link| Rc::clone(&link.pool)) else { return };
        while let Some(frame) = std::future::poll_fn(|cx| self.poll(cx)).await {
            if let Err(error) = frame {
                pool.count_fault(error.upstream_fault());
            }
        }
    }
}
