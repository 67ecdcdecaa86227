//! The body of a stream's request, shared by the request that reads it and the stream that discards its rest. h2 frames it and
//! limits what is buffered: its window opens as it is read. Trailers are checked as those of HTTP/1.1.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;

use crate::http1::{RequestError, check_trailer};
use crate::proxy::client::{BodyFailed, ConnectionState};

/// How long the rest of a body is read and discarded after the response; then the client is told to stop. Some clients, such as
/// curl 7.88, lose a response that is followed by a reset at once.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The body of one stream's request.
#[derive(Clone, Debug)]
pub(crate) struct StreamBody(Rc<RefCell<Reading>>);

#[derive(Debug)]
struct Reading {
    stream: RecvStream,
    /// Whether only trailers may follow.
    is_data_read: bool,
    /// The bytes that are left, if the client has declared a length. h2 checks it.
    left: Option<u64>,
    /// The client may be waiting for 100 (Continue) before it sends the body.
    expects_continue: bool,
    /// The state of the stream: it gets the body's error.
    state: Rc<ConnectionState>,
}

impl StreamBody {
    pub(super) fn new(stream: RecvStream, fields: &HeaderMap, state: Rc<ConnectionState>) -> StreamBody {
        let declared = || fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let left = if stream.is_end_stream() { Some(0) } else { declared() };
        let reading = Reading { stream, is_data_read: false, left, expects_continue: false, state };
        StreamBody(Rc::new(RefCell::new(reading)))
    }

    /// Whether its client waits for 100 (Continue), which it gets once the body is read.
    pub(super) fn expects_continue(&self, expects: bool) {
        self.0.borrow_mut().expects_continue = expects;
    }

    /// Reads the rest and discards it, for a while.
    pub(super) fn discard(mut self) {
        if self.is_end_stream() {
            return;
        }
        let discarding =
            async move { while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await {} };
        tokio::task::spawn_local(tokio::time::timeout(DISCARD_TIME, discarding));
    }
}

type Read = Option<Result<Frame<Bytes>, BodyFailed>>;

impl Reading {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Read> {
        if !self.is_data_read {
            match self.stream.poll_data(context) {
                Poll::Pending => {
                    if std::mem::take(&mut self.expects_continue) {
                        self.state.queue_continue();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(data))) => return Poll::Ready(Some(Ok(self.take(data)))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.ended(&error)),
                Poll::Ready(None) => self.is_data_read = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(context)) {
            Ok(Some(trailers)) => match check_trailers(&trailers) {
                Ok(()) => Some(Ok(Frame::trailers(trailers))),
                Err(error) => self.failed(error),
            },
            Ok(None) => None,
            Err(error) => self.ended(&error),
        })
    }

    fn take(&mut self, data: Bytes) -> Frame<Bytes> {
        // An error means that the stream is over: then it has no window.
        let _ = self.stream.flow_control().release_capacity(data.len());
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Frame::data(data)
    }

    /// The client stops without an error (RFC 9113, 8.1), or the body is incomplete.
    fn ended(&self, error: &h2::Error) -> Read {
        if error.reason() == Some(Reason::NO_ERROR) { None } else { self.failed(RequestError::BodyTruncated) }
    }

    fn failed(&self, error: RequestError) -> Read {
        self.state.fail_body(Some(error));
        Some(Err(BodyFailed))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Read> {
        self.0.borrow_mut().poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn check_trailers(trailers: &HeaderMap) -> Result<(), RequestError> {
    trailers.keys().try_for_each(|name| check_trailer(name.as_str().as_bytes()))
}
