//! A message on its way out, a request to UCS or an answer to a client: its head as bytes, its body in the framing that the next
//! hop needs, written as fast as the other side takes it. It reads nothing and knows no deadline.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::Body;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRAILER, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};
use tokio::io::AsyncWrite;

use super::body::{ReplyBody, RequestBody};

/// Pieces of a body up to this many bytes are copied behind what waits already, so that one system call takes all of it.
const COPIED_BYTES: usize = 4 * 1024;

/// Why a message could not be sent to its end.
#[derive(Debug)]
pub enum SendFault {
    /// The other side took no more; what it has said may still be read.
    Refused(io::Error),
    /// The message's own body failed: its sender knows why.
    Body,
}

/// A message on its way.
#[derive(Debug)]
pub struct Sending<B> {
    /// Head and copied pieces.
    bytes: Vec<u8>,
    /// How many of them were written.
    written: usize,
    /// A long piece of the body, behind them.
    piece: Bytes,
    framing: Framing,
    body: B,
    over: bool,
    /// How many bytes the other side took.
    sent: u64,
    /// Whether the connection ends with it.
    closes: bool,
    /// Whether nothing but that tells its end.
    is_open_ended: bool,
}

/// What a client's request says of the form of its answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerTerms {
    /// It asked for the head alone.
    pub is_head: bool,
    /// It speaks HTTP/1.0.
    pub is_old: bool,
    /// Its connection ends with the answer.
    pub closes: bool,
    /// It takes trailers.
    pub takes_trailers: bool,
}

impl AnswerTerms {
    /// For the answer to what was no request.
    pub fn last() -> AnswerTerms {
        AnswerTerms { is_head: false, is_old: false, closes: true, takes_trailers: false }
    }
}

#[derive(Debug)]
enum Framing {
    /// A length was announced, or there is no body.
    Counted,
    /// Chunks; and the trailers that were announced, as only these may follow.
    Chunked { trailers: Vec<HeaderName>, piece_ends: bool },
}

impl Sending<RequestBody> {
    /// A request with this head and body. Of the head's own framing only the length of an empty body counts.
    pub fn request(head: &Parts, body: RequestBody) -> Sending<RequestBody> {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(head.method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        write_fields(&head.headers, |name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING, &mut bytes);
        let over = matches!(body, RequestBody::Empty);
        let framing = match body.size_hint().exact() {
            Some(length) => {
                if !over || head.headers.contains_key(CONTENT_LENGTH) {
                    write!(bytes, "content-length: {length}\r\n").expect("memory takes everything");
                }
                Framing::Counted
            }
            None => {
                bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Framing::Chunked { trailers: announced_trailers(&head.headers), piece_ends: false }
            }
        };
        bytes.extend_from_slice(b"\r\n");
        Sending {
            bytes,
            written: 0,
            piece: Bytes::new(),
            framing,
            body,
            over,
            sent: 0,
            closes: false,
            is_open_ended: false,
        }
    }

    /// Whether UCS took nothing of it, so that it can be sent on another connection as it is.
    pub fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Begins again from the first byte: right for a request without a body.
    pub fn rewind(&mut self) {
        (self.written, self.sent) = (0, 0);
    }
}

impl Sending<ReplyBody> {
    /// An answer to a client; `date` is for one that has none (RFC 9110, 6.6.1). Its own framing counts for nothing but the
    /// length that an answer without a body tells.
    pub fn answer(response: Response<ReplyBody>, terms: AnswerTerms, date: &str) -> Sending<ReplyBody> {
        let (head, body) = response.into_parts();
        let size = body.size_hint().exact();
        let has_no_body = terms.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ends_by_closing = !has_no_body && size.is_none() && terms.is_old;
        let closes =
            terms.closes || ends_by_closing || head.headers.get(CONNECTION).is_some_and(|word| word == "close");
        let mut bytes = Vec::with_capacity(1024);
        write_status_line(head.status, &mut bytes);
        let own = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];
        write_fields(&head.headers, |name| !own.contains(name), &mut bytes);
        if !head.headers.contains_key(DATE) {
            write!(bytes, "date: {date}\r\n").expect("memory takes everything");
        }
        let framing = if has_no_body {
            write_length_of_nothing(&head.headers, head.status, size, &mut bytes);
            Framing::Counted
        } else if let Some(length) = size {
            write!(bytes, "content-length: {length}\r\n").expect("memory takes everything");
            Framing::Counted
        } else if terms.is_old {
            Framing::Counted
        } else {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
            let trailers = if terms.takes_trailers { announced_trailers(&head.headers) } else { Vec::new() };
            Framing::Chunked { trailers, piece_ends: false }
        };
        if closes {
            bytes.extend_from_slice(b"connection: close\r\n");
        } else if terms.is_old {
            bytes.extend_from_slice(b"connection: keep-alive\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let over = has_no_body || body.is_end_stream();
        let is_open_ended = ends_by_closing;
        Sending { bytes, written: 0, piece: Bytes::new(), framing, body, over, sent: 0, closes, is_open_ended }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// Whether nothing is left to write.
    pub fn is_over(&self) -> bool {
        self.over && self.piece.is_empty() && self.written == self.bytes.len()
    }

    /// Whether the connection ends with it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Whether nothing but the end of the connection tells its end.
    pub fn is_open_ended(&self) -> bool {
        self.is_open_ended
    }

    /// How many bytes the other side took.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether bytes wait for the other side to take them.
    pub fn waits_for_reader(&self) -> bool {
        self.written < self.bytes.len() || !self.piece.is_empty()
    }

    /// Writes on; ready when all was written.
    pub fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendFault>> {
        loop {
            self.take_body(context)?;
            if self.written == self.bytes.len() && self.piece.is_empty() {
                return if self.over { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            match ready!(self.poll_write(writer, context)) {
                Ok(0) => return Poll::Ready(Err(SendFault::Refused(io::ErrorKind::WriteZero.into()))),
                Ok(length) => self.advance(length),
                Err(error) => return Poll::Ready(Err(SendFault::Refused(error))),
            }
        }
    }

    /// Writes what is ready and is taken at once: when the connection ends, as the rest will not come.
    pub fn write_last<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, context: &mut Context<'_>) {
        if self.waits_for_reader() {
            // Whoever takes nothing now will get nothing.
            let _ = self.poll_write(writer, context);
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(&self, writer: &mut W, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let slices = [IoSlice::new(&self.bytes[self.written..]), IoSlice::new(&self.piece)];
        let slices = if self.piece.is_empty() { &slices[..1] } else { &slices[..] };
        Pin::new(writer).poll_write_vectored(context, slices)
    }

    fn advance(&mut self, length: usize) {
        self.sent += length as u64;
        let of_bytes = length.min(self.bytes.len() - self.written);
        self.written += of_bytes;
        self.piece.advance(length - of_bytes);
        // A request without a body is kept: it may have to be said again.
        if self.written == self.bytes.len() && !self.over {
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Takes what there is of the body, up to a long piece.
    fn take_body(&mut self, context: &mut Context<'_>) -> Result<(), SendFault> {
        while !self.over && self.piece.is_empty() && self.bytes.len() < COPIED_BYTES {
            if let Framing::Chunked { piece_ends, .. } = &mut self.framing
                && std::mem::take(piece_ends)
            {
                self.bytes.extend_from_slice(b"\r\n");
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(_))) => return Err(SendFault::Body),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.append(data),
                    Err(frame) => self.end(frame.into_trailers().ok()),
                },
                Poll::Ready(None) => self.end(None),
            }
            // A length that was announced is over with its last byte: no need to ask once more.
            if matches!(self.framing, Framing::Counted) && self.body.is_end_stream() {
                self.over = true;
            }
        }
        Ok(())
    }

    fn append(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let is_long = data.len() > COPIED_BYTES;
        if let Framing::Chunked { piece_ends, .. } = &mut self.framing {
            write!(self.bytes, "{:x}\r\n", data.len()).expect("memory takes everything");
            *piece_ends = true;
        }
        if is_long { self.piece = data } else { self.bytes.extend_from_slice(&data) }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.over = true;
        let Framing::Chunked { trailers: announced, .. } = &self.framing else { return };
        self.bytes.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            write_fields(&trailers, |name| announced.contains(name), &mut self.bytes);
        }
        self.bytes.extend_from_slice(b"\r\n");
    }
}

fn write_status_line(status: StatusCode, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// RFC 9110, 8.6: the length that the answer to a GET would have; never with 204.
fn write_length_of_nothing(headers: &HeaderMap, status: StatusCode, size: Option<u64>, bytes: &mut Vec<u8>) {
    if status == StatusCode::NO_CONTENT {
        return;
    }
    match (headers.get(CONTENT_LENGTH), size) {
        (Some(length), _) => {
            bytes.extend_from_slice(b"content-length: ");
            bytes.extend_from_slice(length.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        (None, Some(length @ 1..)) => write!(bytes, "content-length: {length}\r\n").expect("memory takes everything"),
        (None, _) => {}
    }
}

fn write_fields(fields: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool, bytes: &mut Vec<u8>) {
    for (name, value) in fields.iter().filter(|(name, _)| wanted(name)) {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
}

/// RFC 9110, 6.6.2: the names that `Trailer` announces. Others would surprise UCS.
fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.get_all(TRAILER).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
