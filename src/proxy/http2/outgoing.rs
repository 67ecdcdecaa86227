//! The response of a stream: its fields as hyper takes them, and its body. A piece of the body is handed over in parts, so that
//! hyper stores little of it for a client that does not read, and its last byte once the client's window has room for all of it:
//! so such a stream has a task that can be ended, however little is left. Short responses may go as a whole: see `unwritten`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use memchr::memchr;

use super::incoming::StreamBody;
use super::open_stream::OpenStream;
use crate::http1::FieldNames;
use crate::proxy::response::{Response, ResponseBody, length_of_nothing};
use crate::proxy::upstream::error::ForwardError;

/// The most bytes of a part: the payload of a frame. hyper holds one, and one more in its send buffer.
const PART_BYTES: usize = 8 * 1024;

/// What the request demands of its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutgoingFraming {
    /// The method is HEAD.
    pub(super) is_head: bool,
    /// The client accepts trailers.
    pub(super) takes_trailers: bool,
}

/// The response as hyper takes it. The stream is open until it is sent; `rest` is what the client has still to send.
pub(super) fn message(
    response: Response,
    framing: OutgoingFraming,
    stream: OpenStream,
    rest: StreamBody,
) -> hyper::Response<OutgoingBody> {
    let Response { status, lines, meta, length: declared_length, body, .. } = response;
    let size = body.size_hint().exact();
    let mut fields = fields_of(&lines);
    if !meta.dated
        && let Ok(date) = HeaderValue::from_str(&stream.downstream.worker.date.borrow())
    {
        fields.insert(DATE, date);
    }
    let has_no_body = framing.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = if has_no_body { length_of_nothing(status, declared_length, size) } else { size };
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, length.into());
    }
    let trailers = if framing.takes_trailers { meta.trailers } else { FieldNames::default() };
    let body =
        OutgoingBody { body, piece: Bytes::new(), given: 0, is_over: has_no_body, trailers, rest: Some(rest), stream };
    let mut message = hyper::Response::new(body);
    (*message.status_mut(), *message.headers_mut()) = (status, fields);
    message
}

/// The fields of a reason phrase and field lines, which were checked when they were read or made.
fn fields_of(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let line_end = |bytes: &[u8]| memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let mut rest = &lines[line_end(lines)..];
    while !rest.is_empty() {
        let (line, after) = rest.split_at(line_end(rest));
        rest = after;
        let Some(colon) = memchr(b':', line) else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// The body of a stream's response.
#[derive(Debug)]
pub(super) struct OutgoingBody {
    body: ResponseBody,
    /// What is left of the current piece.
    piece: Bytes,
    /// The bytes that hyper has had.
    given: usize,
    /// Whether nothing is left of `body`.
    is_over: bool,
    /// The trailers that may follow.
    trailers: FieldNames,
    /// The body of the request, until this is dropped.
    rest: Option<StreamBody>,
    /// Declared after the body, whose record is written first.
    stream: OpenStream,
}

impl OutgoingBody {
    /// The next part of the piece; its last byte is usually one of its own. hyper keeps a part until the client reads it, even if the
    /// stream is ended: so one of a long piece is copied, as it would keep the whole piece in memory.
    fn part(&mut self) -> Frame<Bytes> {
        self.stream.downstream.state.wait_for_reading(true);
        let (length, unwritten) = (self.piece.len(), &self.stream.unwritten);
        let is_long = length > PART_BYTES;
        let is_whole = self.is_over && unwritten.admits(length, self.given);
        let length = if is_whole { length } else { length.saturating_sub(1).clamp(1, PART_BYTES).min(length) };
        unwritten.given(length);
        self.given = self.given.saturating_add(length);
        let part = self.piece.split_to(length);
        Frame::data(if is_long { Bytes::copy_from_slice(&part) } else { part })
    }

    /// The trailers that the response has announced and the client accepts.
    fn accepted(&self, trailers: HeaderMap) -> Option<Frame<Bytes>> {
        let passes = |name: &HeaderName| self.trailers.has(name.as_str().as_bytes());
        let mut accepted = HeaderMap::new();
        for (name, value) in trailers.iter().filter(|(name, _)| passes(name)) {
            accepted.append(name, value.clone());
        }
        if accepted.is_empty() { None } else { Some(Frame::trailers(accepted)) }
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = ForwardError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let this = &mut *self;
        if this.stream.poll_writable(context).is_pending() {
            this.stream.downstream.state.wait_for_reading(false);
            this.body.wait_for_client_reading();
            return Poll::Pending;
        }
        if !this.piece.is_empty() {
            return Poll::Ready(Some(Ok(this.part())));
        }
        if this.is_over {
            return Poll::Ready(None);
        }
        // The client has read all before, or its window has room for it.
        this.stream.downstream.state.all_read();
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                this.is_over = true;
                return Poll::Ready(None);
            }
        };
        Poll::Ready(match frame.into_data() {
            Ok(piece) => {
                (this.piece, this.is_over) = (piece, this.body.is_end_stream());
                Some(Ok(this.part()))
            }
            Err(frame) => {
                this.stream.downstream.state.wait_for_reading(true);
                this.is_over = true;
                frame.into_trailers().ok().and_then(|trailers| this.accepted(trailers)).map(Ok)
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && (self.is_over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // The fields say the length.
        SizeHint::default()
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        if let Some(unread_for) = self.body.unread_for() {
            self.stream.end_unread_connection(unread_for);
        }
        let is_sent = self.is_over && self.piece.is_empty() && !self.stream.downstream.state.ended_unread();
        self.rest.take().filter(|_| is_sent).into_iter().for_each(StreamBody::discard);
    }
}
