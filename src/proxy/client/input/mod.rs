//! What one client sends: request heads and bodies, taken from its socket when they are asked for. Every byte of the framing
//! is judged before anybody acts on it, and an idle client holds no buffer. It answers nothing: a fault is the caller's to
//! answer.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::state::ConnectionState;
use crate::http1::{BodyEvent, FramedBody, Framing, HeadLimits, RequestError, RequestHead};

/// One read takes at most this much. It lies in the thread's scratch buffer, so idle connections hold no buffer at all.
const SCRATCH_BYTES: usize = 32 * 1024;

/// So much is read ahead while an answer is under way, to notice a client that goes away; pipelined requests wait in it.
const AHEAD_BYTES: usize = 32 * 1024;

/// The longest buffer that a busy connection keeps from one request to the next, in bytes.
const KEPT_BYTES: usize = 4 * 1024;

/// What all connections of one thread share: the limits of their heads, and a read buffer that is empty between two polls.
pub struct Scratch {
    limits: HeadLimits,
    buffer: RefCell<Box<[u8]>>,
}

impl Scratch {
    /// One for each worker thread.
    pub fn new(limits: HeadLimits) -> Rc<Scratch> {
        Rc::new(Scratch { limits, buffer: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()) })
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scratch")
    }
}

/// What a client says next.
#[derive(Debug)]
pub enum Next {
    /// The head of a request; its body is to come. To be given back, for the next one: see [`ClientInput::take_back`].
    Request(Box<RequestHead>),
    /// What is no request: to be answered, and nothing more to be read.
    Fault(RequestError),
}

/// The side of a client's connection that is read.
#[derive(Debug)]
pub struct ClientInput<R = OwnedReadHalf> {
    /// `None` once the connection is over: a body that somebody still holds must not keep it open.
    reader: Option<R>,
    scratch: Rc<Scratch>,
    state: Rc<ConnectionState>,
    /// What was read and nobody has taken.
    unread: BytesMut,
    /// The next head, as far as it was read; an idle connection keeps no room for it.
    head: Option<Box<RequestHead>>,
    body: FramedBody,
    /// The client may wait for 100 (Continue) before it sends the body.
    expects: bool,
    /// The client sends no more.
    ended: bool,
    /// Where the next request begins can no longer be known.
    failed: bool,
    /// The connection is over: nobody is to read on.
    closed: bool,
}

impl<R: AsyncRead + Unpin> ClientInput<R> {
    /// The input of a new connection. `state` is shared with the sweeper, `scratch` with the thread's other connections.
    pub fn new(reader: R, state: Rc<ConnectionState>, scratch: Rc<Scratch>) -> ClientInput<R> {
        ClientInput {
            reader: Some(reader),
            scratch,
            state,
            unread: BytesMut::new(),
            head: None,
            body: FramedBody::Length(0),
            expects: false,
            ended: false,
            failed: false,
            closed: false,
        }
    }

    /// The next request, behind the body of the last, of which what nobody has taken is dropped; `None` at the end. An unfinished
    /// head at the end is dropped silently.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Next>> {
        if !self.body.is_over() && !ready!(self.poll_rest(context)) {
            return Poll::Ready(None);
        }
        loop {
            match self.take_head() {
                Ok(Some(head)) => return Poll::Ready(Some(Next::Request(head))),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Some(self.refuse(fault))),
            }
            if let Some(fault) = self.state.take_expired() {
                return Poll::Ready(Some(self.refuse(fault)));
            }
            if self.ended || self.state.is_stopping_between_requests() {
                self.state.head_over();
                return Poll::Ready(None);
            }
            self.state.remember(context);
            match self.poll_fill(context) {
                Poll::Pending => {
                    self.state.note_waiting();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => self.ended = true,
            }
        }
    }

    fn refuse(&mut self, fault: RequestError) -> Next {
        self.state.head_over();
        self.failed = true;
        Next::Fault(fault)
    }

    fn take_head(&mut self) -> Result<Option<Box<RequestHead>>, RequestError> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        let mut head = self.head.take().unwrap_or_default();
        let Some((length, framing)) = head.advance(&mut self.unread, &self.scratch.limits)? else {
            self.state.note_head(self.unread.iter().any(|byte| !matches!(byte, b'\r' | b'\n')));
            self.head = Some(head);
            return Ok(None);
        };
        self.state.head_over();
        // A request that came alone takes the buffer with it, until it is answered: see `take_back`.
        let is_alone = self.unread.len() == length;
        let bytes = if is_alone { std::mem::take(&mut self.unread) } else { self.unread.split_to(length) };
        self.body = match framing {
            Framing::Length(length) => FramedBody::Length(length),
            Framing::Chunked => FramedBody::chunked(),
        };
        head.complete(bytes)?;
        self.expects = head.asks.continues;
        Ok(Some(head))
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        loop {
            if self.closed || self.failed {
                return Poll::Ready(Some(Err(BodyFailed)));
            }
            match self.body.take(&mut self.unread, &self.scratch.limits) {
                Ok(BodyEvent::Data(data)) => {
                    // It must not be held by an empty buffer.
                    if self.unread.is_empty() {
                        self.unread = BytesMut::new();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(BodyEvent::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(BodyEvent::End) => return Poll::Ready(None),
                Ok(BodyEvent::More) if self.ended => self.break_body(Some(RequestError::BodyTruncated)),
                Ok(BodyEvent::More) => {
                    if std::mem::take(&mut self.expects) {
                        self.state.want_continue();
                    }
                    self.state.remember(context);
                    match ready!(self.poll_fill(context)) {
                        Ok(0) => self.ended = true,
                        Ok(_) => {}
                        // Of the socket, not of the bytes: there is nobody to tell.
                        Err(_) => self.break_body(None),
                    }
                }
                Err(error) => self.break_body(Some(error)),
            }
        }
    }

    fn break_body(&mut self, fault: Option<RequestError>) {
        self.state.break_body(fault);
        self.failed = true;
    }

    /// Ready when the client has gone while its answer is awaited. A client may end its side and still wait (RFC 9112, 9.6):
    /// with `ends` such a one is given up when the sweeper says so, without it only a broken connection counts.
    pub fn poll_gone(&mut self, context: &mut Context<'_>, ends: bool) -> Poll<()> {
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
        if ends && self.state.half_closed_is_gone() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The request is read no more: the next one can use its memory.
    pub fn take_back(&mut self, mut request: Box<RequestHead>) {
        let bytes = request.clear();
        if self.unread.is_empty() && bytes.capacity() <= KEPT_BYTES {
            self.unread = bytes;
        }
        self.head = Some(request);
    }

    /// Gives back what only a busy connection needs, unless a request has begun.
    pub fn rest(&mut self) {
        if self.unread.is_empty() {
            (self.unread, self.head) = (BytesMut::new(), None);
        }
    }

    /// The answer begins: it is too late to ask for the body by 100 (Continue).
    pub fn answer_begins(&mut self) {
        self.expects = false;
        self.state.takes_continue();
    }

    /// Whether the next request begins where the last one ended.
    pub fn can_keep_alive(&self) -> bool {
        !self.failed && self.body.is_over()
    }

    /// The connection is over, whoever still holds its body.
    pub fn close(&mut self) {
        self.closed = true;
        self.reader = None;
        self.state.wake_reader();
    }

    /// Reads once; 0 at the end of the client's side.
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

/// The body of the request that was taken last.
#[derive(Debug)]
pub struct ClientBody<R = OwnedReadHalf>(Rc<RefCell<ClientInput<R>>>);

/// Why a body ended early: the connection's [`ConnectionState`] knows more.
#[derive(Debug, thiserror::Error)]
#[error("the client's body ended early")]
pub struct BodyFailed;

impl<R> ClientBody<R> {
    /// Of this connection.
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
