//! The input of one client: request heads and bodies, read from its socket on demand. All framing is validated before it is
//! used, and an idle client holds no buffer. It asks for an expected body with 100 (Continue) once that is read; it sends no
//! other response: errors are returned to the caller.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

use super::state::ConnectionState;
use crate::http1::{BodyEvent, FramedBody, Framing, HeadLimits, RequestError, RequestHead};

/// The most bytes of one read, in the thread's scratch buffer: so idle connections hold no buffer.
const SCRATCH_BYTES: usize = 32 * 1024;

/// The most bytes to read ahead while a response is in progress, to detect a disconnect; pipelined requests are kept there.
const AHEAD_BYTES: usize = 32 * 1024;

/// The longest buffer that a busy connection keeps from one request to the next, in bytes.
const KEPT_BYTES: usize = 4 * 1024;

/// State shared by all connections of one thread: the limits of heads, and a read buffer that is empty between two polls.
pub struct Scratch {
    limits: HeadLimits,
    buffer: RefCell<Box<[u8]>>,
}

impl Scratch {
    /// Creates the state of one worker thread.
    pub fn new(limits: HeadLimits) -> Rc<Scratch> {
        Rc::new(Scratch { limits, buffer: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()) })
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scratch")
    }
}

/// The next input of a client.
#[derive(Debug)]
pub enum Next {
    /// The head of a request; its body follows. To be returned for reuse: see [`ClientInput::take_back`].
    Request(Box<RequestHead>),
    /// A malformed request: respond, then stop reading.
    Malformed(RequestError),
}

/// The read side of a client's connection.
#[derive(Debug)]
pub struct ClientInput<R> {
    /// `None` once the connection is over: a body that is still held must not keep it open.
    reader: Option<R>,
    scratch: Rc<Scratch>,
    state: Rc<ConnectionState>,
    /// Bytes that were received and not yet consumed.
    unread: BytesMut,
    /// The next head, as far as it was read; absent while the connection is idle.
    head: Option<Box<RequestHead>>,
    body: FramedBody,
    /// The client may be waiting for 100 (Continue) before it sends the body.
    expects_continue: bool,
    /// The client has closed its side.
    ended: bool,
    /// The start of the next request is unknown.
    failed: bool,
    /// The connection is over: no more input is read.
    closed: bool,
}

impl<R: AsyncRead + Unpin> ClientInput<R> {
    /// The input of a new connection. `state` is shared with the sweeper, `scratch` with the other connections of the thread.
    pub fn new(reader: R, state: Rc<ConnectionState>, scratch: Rc<Scratch>) -> ClientInput<R> {
        ClientInput {
            reader: Some(reader),
            scratch,
            state,
            unread: BytesMut::new(),
            head: None,
            body: FramedBody::Length(0),
            expects_continue: false,
            ended: false,
            failed: false,
            closed: false,
        }
    }

    /// The same with bytes that were read before.
    pub(crate) fn with_unread(self, unread: BytesMut) -> ClientInput<R> {
        ClientInput { unread, ..self }
    }

    /// The next request, after the rest of the last one's body has been discarded; `None` at the end. An incomplete head at the
    /// end is ignored.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Next>> {
        if !self.body.is_over() && !ready!(self.poll_drop_rest(context)) {
            return Poll::Ready(None);
        }
        loop {
            match self.take_head() {
                Ok(Some(head)) => return Poll::Ready(Some(Next::Request(head))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(self.refuse(error))),
            }
            if let Some(error) = self.state.take_expired() {
                return Poll::Ready(Some(self.refuse(error)));
            }
            if self.ended {
                self.state.head_over();
                return Poll::Ready(None);
            }
            self.state.remember(context);
            match self.poll_fill(context) {
                Poll::Pending if self.state.is_idle_over() => return Poll::Ready(None),
                Poll::Pending => {
                    self.state.note_waiting();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => self.ended = true,
            }
        }
    }

    fn refuse(&mut self, error: RequestError) -> Next {
        self.state.head_over();
        self.failed = true;
        Next::Malformed(error)
    }

    fn take_head(&mut self) -> Result<Option<Box<RequestHead>>, RequestError> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        let mut head = self.head.take().unwrap_or_default();
        let Some((length, framing)) = head.advance(&self.unread, &self.scratch.limits)? else {
            self.state.note_head(self.unread.iter().any(|byte| !matches!(byte, b'\r' | b'\n')));
            self.head = Some(head);
            return Ok(None);
        };
        self.state.head_over();
        // A request that arrived alone takes the buffer with it until its response: see `take_back`.
        let is_alone = self.unread.len() == length;
        let bytes = if is_alone { std::mem::take(&mut self.unread) } else { self.unread.split_to(length) };
        self.body = match framing {
            Framing::Length(length) => FramedBody::Length(length),
            Framing::Chunked => FramedBody::chunked(),
        };
        head.complete(bytes)?;
        self.expects_continue = head.asks.continues;
        Ok(Some(head))
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        loop {
            if self.closed || self.failed {
                return Poll::Ready(Some(Err(BodyFailed)));
            }
            match self.body.take(&mut self.unread, &self.scratch.limits) {
                Ok(BodyEvent::Data(data)) => {
                    // An empty buffer must not keep the data's memory.
                    if self.unread.is_empty() {
                        self.unread = BytesMut::new();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(BodyEvent::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(BodyEvent::End) => return Poll::Ready(None),
                Ok(BodyEvent::More) if self.ended => self.fail_body(Some(RequestError::BodyTruncated)),
                Ok(BodyEvent::More) => {
                    if std::mem::take(&mut self.expects_continue) {
                        self.state.queue_continue();
                    }
                    self.state.remember(context);
                    match ready!(self.poll_fill(context)) {
                        Ok(0) => self.ended = true,
                        Ok(_) => {}
                        // The socket failed, so no response is possible.
                        Err(_) => self.fail_body(None),
                    }
                }
                Err(error) => self.fail_body(Some(error)),
            }
        }
    }

    fn fail_body(&mut self, error: Option<RequestError>) {
        self.state.fail_body(error);
        self.failed = true;
    }

    /// Ready when the client disconnects while it waits for a response. One that closes its side still waits (RFC 9112, 9.6), so
    /// only a broken connection counts: `is_broken` tells that of a half-closed one, with whether this is the first look.
    pub(crate) fn poll_gone(
        &mut self,
        context: &mut Context<'_>,
        is_broken: impl FnOnce(&R, bool) -> bool,
    ) -> Poll<()> {
        if self.failed || !self.body.is_over() {
            return Poll::Pending;
        }
        while !self.ended {
            if self.unread.len() >= AHEAD_BYTES {
                return Poll::Pending;
            }
            match ready!(self.poll_fill(context)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        self.state.remember(context);
        let is_first = self.state.half_closes();
        let is_gone = self.reader.as_ref().is_some_and(|reader| is_broken(reader, is_first));
        if is_gone { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes a head back whose request is complete, to reuse its memory.
    pub fn take_back(&mut self, mut request: Box<RequestHead>) {
        let bytes = request.clear();
        if self.unread.is_empty() && bytes.capacity() <= KEPT_BYTES {
            self.unread = bytes;
        }
        self.head = Some(request);
    }

    /// Releases the memory that only a busy connection needs, unless a request has begun.
    pub(crate) fn shrink(&mut self) {
        if self.unread.is_empty() {
            (self.unread, self.head) = (BytesMut::new(), None);
        }
    }

    /// The response begins: it is too late to send 100 (Continue).
    pub(crate) fn response_begins(&mut self) {
        self.expects_continue = false;
    }

    /// Whether the connection can serve another request.
    pub fn can_keep_alive(&self) -> bool {
        !self.failed && self.body.is_over()
    }

    /// Closes the read side, even if a body is still held.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.reader = None;
        self.state.wake_reader();
    }

    /// Reads once; 0 once the client has closed its side.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(Ok(0)) };
        let mut scratch = self.scratch.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
        self.state.note_bytes();
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// The body of the current request.
#[derive(Debug)]
pub struct ClientBody<R>(Rc<RefCell<ClientInput<R>>>);

/// A body ended early; [`ConnectionState::body_error`] has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the client's body ended early")]
pub struct BodyFailed;

impl<R> ClientBody<R> {
    /// The body of this connection's current request.
    pub fn new(input: Rc<RefCell<ClientInput<R>>>) -> ClientBody<R> {
        ClientBody(input)
    }
}

impl<R: AsyncRead + Unpin> Body for ClientBody<R> {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        self.0.borrow_mut().poll_body(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().body.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().body.left().map(SizeHint::with_exact).unwrap_or_default()
    }
}

#[cfg(test)]
mod cases;
mod discard;

#[cfg(test)]
mod tests;
