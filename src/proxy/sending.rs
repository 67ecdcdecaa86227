//! A message on its way out, a request to UCS or an answer to a client: its head as bytes, its body in the framing that the next
//! hop needs, written as fast as the other side takes it. It reads nothing and knows no deadline.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::Body;
use hyper::{HeaderMap, StatusCode};
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;

use super::body::{ReplyBody, RequestBody};
use super::buffers::Buffer;
use super::headers::{Announced, UpstreamHead, write_line, write_number};
use super::reply::Reply;

/// Pieces of a body up to this many bytes are copied behind what waits already, so that one system call takes all of it.
const COPIED_BYTES: usize = 4 * 1024;

/// Room for the head of a usual answer, in bytes.
const HEAD_ROOM: usize = 1024;

/// Room for the framing of a request, in bytes.
const FRAMING_BYTES: usize = 48;

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

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
    bytes: Buffer,
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
    /// Whether nothing but the end of the connection tells the end of the body.
    ends_by_closing: bool,
    /// Whether what came before a fault of the body is sent all the same.
    sends_beginning: bool,
    failed: bool,
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
    Chunked { trailers: Announced, piece_ends: bool },
}

impl Sending<RequestBody> {
    /// A request with this head and body. Of the head's own framing only the length of an empty body counts.
    pub fn request(head: UpstreamHead, body: RequestBody) -> Sending<RequestBody> {
        let UpstreamHead { mut bytes, says_length, trailers, .. } = head;
        let size = body.size_hint().exact();
        bytes.reserve(FRAMING_BYTES + copied_part(size));
        let over = matches!(body, RequestBody::Empty);
        let framing = match size {
            Some(length) => {
                if !over || says_length {
                    write_length(&mut bytes, length);
                }
                Framing::Counted
            }
            None => {
                bytes.extend_from_slice(CHUNKED);
                Framing::Chunked { trailers, piece_ends: false }
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
            ends_by_closing: false,
            // UCS need not begin with what cannot be ended.
            sends_beginning: false,
            failed: false,
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
    /// An answer to a client; `date` is for one that has none (RFC 9110, 6.6.1).
    pub fn answer(reply: Reply, terms: AnswerTerms, date: &str) -> Sending<ReplyBody> {
        let Reply { status, head: mut bytes, told, length: told_length, closes, body, leaves_body: _ } = reply;
        let size = body.size_hint().exact();
        let has_no_body = terms.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ends_by_closing = !has_no_body && size.is_none() && terms.is_old;
        let closes = terms.closes || ends_by_closing || closes;
        if !told.dated {
            write_line(&mut bytes, b"date", date.as_bytes());
        }
        let framing = if has_no_body {
            if let Some(length) = length_of_nothing(status, told_length, size) {
                write_length(&mut bytes, length);
            }
            Framing::Counted
        } else if let Some(length) = size {
            write_length(&mut bytes, length);
            Framing::Counted
        } else if terms.is_old {
            Framing::Counted
        } else {
            bytes.extend_from_slice(CHUNKED);
            let trailers = if terms.takes_trailers { told.trailers } else { Announced::default() };
            Framing::Chunked { trailers, piece_ends: false }
        };
        if closes {
            bytes.extend_from_slice(b"connection: close\r\n");
        } else if terms.is_old {
            bytes.extend_from_slice(b"connection: keep-alive\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let over = has_no_body || body.is_end_stream();
        Sending {
            bytes,
            written: 0,
            piece: Bytes::new(),
            framing,
            body,
            over,
            sent: 0,
            closes,
            ends_by_closing,
            // A client that sees a connection end without one byte may take that for leave to ask again, and some do so
            // even for a POST. Half an answer says that UCS was reached.
            sends_beginning: true,
            failed: false,
        }
    }
}

impl Sending<ReplyBody> {
    /// The client took no more of it.
    pub fn client_gone(&mut self) {
        self.body.client_gone();
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

    /// Whether nothing but the end of the connection tells the end of the body: then a cut must not look like an end.
    pub fn ends_by_closing(&self) -> bool {
        self.ends_by_closing
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
    pub fn poll(&mut self, writer: &mut OwnedWriteHalf, context: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        loop {
            self.take_body(context);
            if self.failed && !self.sends_beginning {
                return Poll::Ready(Err(SendFault::Body));
            }
            if self.written == self.bytes.len() && self.piece.is_empty() {
                return match (self.failed, self.over) {
                    (true, _) => Poll::Ready(Err(SendFault::Body)),
                    (false, true) => Poll::Ready(Ok(())),
                    (false, false) => Poll::Pending,
                };
            }
            match ready!(self.poll_write(writer, context)) {
                Ok(0) => return Poll::Ready(Err(SendFault::Refused(io::ErrorKind::WriteZero.into()))),
                Ok(length) => self.advance(length),
                Err(error) => return Poll::Ready(Err(SendFault::Refused(error))),
            }
        }
    }

    /// Writes once of what waits.
    fn poll_write(&self, writer: &mut OwnedWriteHalf, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = &self.bytes[self.written..];
        if !self.piece.is_empty() {
            let pieces = [IoSlice::new(bytes), IoSlice::new(&self.piece)];
            return Pin::new(writer).poll_write_vectored(context, &pieces);
        }
        // send() costs the kernel less than writev(), and there is nearly always room: no need to get ready for a wait.
        match writer.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pin::new(writer).poll_write(context, bytes),
            wrote => Poll::Ready(wrote),
        }
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
    fn take_body(&mut self, context: &mut Context<'_>) {
        while !self.over && !self.failed && self.piece.is_empty() && self.bytes.len() < COPIED_BYTES {
            if let Framing::Chunked { piece_ends, .. } = &mut self.framing
                && std::mem::take(piece_ends)
            {
                self.bytes.extend_from_slice(b"\r\n");
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(_))) => self.failed = true,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.append(data),
                    Err(frame) => self.end(frame.into_trailers().ok()),
                },
                Poll::Ready(None) => self.end(None),
            }
            // A length that was announced is over with its last byte: no need to ask once more.
            if matches!(self.framing, Framing::Counted) && !self.failed && self.body.is_end_stream() {
                self.over = true;
            }
        }
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
            for (name, value) in trailers.iter().filter(|(name, _)| announced.has(name.as_str().as_bytes())) {
                write_line(&mut self.bytes, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Room for a head and what of a body of this size will be copied behind it, in bytes.
pub fn room_for(size: Option<u64>) -> usize {
    HEAD_ROOM + copied_part(size)
}

fn copied_part(size: Option<u64>) -> usize {
    size.map_or(0, |size| usize::try_from(size).unwrap_or(COPIED_BYTES).min(COPIED_BYTES))
}

/// RFC 9110, 8.6: the length that the answer to a GET would have; never with 204.
fn length_of_nothing(status: StatusCode, told: Option<u64>, size: Option<u64>) -> Option<u64> {
    if status == StatusCode::NO_CONTENT { None } else { told.or(size.filter(|&size| size > 0)) }
}

fn write_length(bytes: &mut Vec<u8>, length: u64) {
    write_number(bytes, b"content-length", length);
}
