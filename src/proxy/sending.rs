//! A request on its way to UCS: its head as bytes, its body in the framing that the next hop needs, written as fast as UCS
//! takes it. It reads nothing and knows no deadline.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, HeaderName, TRAILER, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;

use super::body::RequestBody;

/// Pieces of a body up to this many bytes are copied behind what waits already, so that one system call takes all of it.
const COPIED_BYTES: usize = 4 * 1024;

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub enum SendFault {
    /// UCS took no more; what it has answered may still be read.
    Refused(io::Error),
    /// The request's own body failed: see its upload state.
    Body,
}

/// A request on its way.
#[derive(Debug)]
pub struct Sending {
    /// Head and copied pieces.
    bytes: Vec<u8>,
    /// How many of them were written.
    written: usize,
    /// A long piece of the body, behind them.
    piece: Bytes,
    framing: Framing,
    body: RequestBody,
    over: bool,
    /// Whether UCS took any byte.
    touched: bool,
}

#[derive(Debug)]
enum Framing {
    /// A length was announced, or there is no body.
    Counted,
    /// Chunks; and the trailers that were announced, as only these may follow.
    Chunked { trailers: Vec<HeaderName>, piece_ends: bool },
}

impl Sending {
    /// A request with this head and body. Of the head's own framing only the length of an empty body counts.
    pub fn new(head: &Parts, body: RequestBody) -> Sending {
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
        Sending { bytes, written: 0, piece: Bytes::new(), framing, body, over, touched: false }
    }

    /// Whether nothing is left to write.
    pub fn is_over(&self) -> bool {
        self.over && self.piece.is_empty() && self.written == self.bytes.len()
    }

    /// Whether UCS took nothing of it, so that it can be sent on another connection as it is.
    pub fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Begins again from the first byte: right for a request without a body.
    pub fn rewind(&mut self) {
        (self.written, self.touched) = (0, false);
    }

    /// Writes on; ready when all was written.
    pub fn poll(&mut self, writer: &mut OwnedWriteHalf, context: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        loop {
            self.take_body(context)?;
            if self.written == self.bytes.len() && self.piece.is_empty() {
                return if self.over { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let slices = [IoSlice::new(&self.bytes[self.written..]), IoSlice::new(&self.piece)];
            let slices = if self.piece.is_empty() { &slices[..1] } else { &slices[..] };
            match ready!(Pin::new(&mut *writer).poll_write_vectored(context, slices)) {
                Ok(0) => return Poll::Ready(Err(SendFault::Refused(io::ErrorKind::WriteZero.into()))),
                Ok(length) => self.advance(length),
                Err(error) => return Poll::Ready(Err(SendFault::Refused(error))),
            }
        }
    }

    fn advance(&mut self, length: usize) {
        self.touched = true;
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
