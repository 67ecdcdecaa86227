//! A message on its way out, a request to UCS or an answer to a client: its head as bytes, its body in the framing that the next
//! hop needs, written as fast as the other side takes it. It reads nothing and knows no deadline.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::HeaderMap;
use hyper::body::Body;
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;

use super::buffers::{Buffer, COPIED_BYTES};
use super::encode::{write_line, write_number};
use super::field_names::FieldNames;

pub(crate) const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

/// Why a message could not be sent to its end.
#[derive(Debug)]
pub enum WriteError {
    /// The other side took no more; what it has said may still be read.
    Refused(io::Error),
    /// The message's own body failed: its sender knows why.
    Body,
}

/// A message on its way.
#[derive(Debug)]
pub struct MessageWriter<B> {
    /// Head and copied pieces.
    bytes: Buffer,
    /// How many of them were written.
    written: usize,
    /// A long piece of the body, behind them.
    piece: Bytes,
    framing: BodyFraming,
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

#[derive(Debug)]
pub(crate) enum BodyFraming {
    /// A length was announced, or there is no body.
    Counted,
    /// Chunks; and the trailers that were announced, as only these may follow.
    Chunked { trailers: FieldNames, piece_ends: bool },
}

/// The parts of a message that is to be written.
#[derive(Debug)]
pub(crate) struct Parts<B> {
    /// The whole head, its empty line included.
    pub head: Buffer,
    pub framing: BodyFraming,
    pub body: B,
    /// Whether there is no body to write.
    pub over: bool,
    /// Whether the connection ends with it.
    pub closes: bool,
    /// Whether nothing but the end of the connection tells the end of the body.
    pub ends_by_closing: bool,
    /// Whether what came before a fault of the body is sent all the same.
    pub sends_beginning: bool,
}

impl<B> MessageWriter<B> {
    /// A message of which nothing is written yet.
    pub(crate) fn new(parts: Parts<B>) -> MessageWriter<B> {
        let Parts { head, framing, body, over, closes, ends_by_closing, sends_beginning } = parts;
        MessageWriter {
            bytes: head,
            written: 0,
            piece: Bytes::new(),
            framing,
            body,
            over,
            sent: 0,
            closes,
            ends_by_closing,
            sends_beginning,
            failed: false,
        }
    }

    /// Its body.
    pub(crate) fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Whether the other side took nothing of it, so that it can be sent on another connection as it is.
    pub fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Begins again from the first byte: right for a message without a body.
    pub fn rewind(&mut self) {
        (self.written, self.sent) = (0, 0);
    }
}

impl<B: Body<Data = Bytes> + Unpin> MessageWriter<B> {
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
    pub fn poll(&mut self, writer: &mut OwnedWriteHalf, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        loop {
            self.take_body(context);
            if self.failed && !self.sends_beginning {
                return Poll::Ready(Err(WriteError::Body));
            }
            if self.written == self.bytes.len() && self.piece.is_empty() {
                return match (self.failed, self.over) {
                    (true, _) => Poll::Ready(Err(WriteError::Body)),
                    (false, true) => Poll::Ready(Ok(())),
                    (false, false) => Poll::Pending,
                };
            }
            match ready!(self.poll_write(writer, context)) {
                Ok(0) => return Poll::Ready(Err(WriteError::Refused(io::ErrorKind::WriteZero.into()))),
                Ok(length) => self.advance(length),
                Err(error) => return Poll::Ready(Err(WriteError::Refused(error))),
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
            if let BodyFraming::Chunked { piece_ends, .. } = &mut self.framing
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
            if matches!(self.framing, BodyFraming::Counted) && !self.failed && self.body.is_end_stream() {
                self.over = true;
            }
        }
    }

    fn append(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let is_long = data.len() > COPIED_BYTES;
        if let BodyFraming::Chunked { piece_ends, .. } = &mut self.framing {
            write!(self.bytes, "{:x}\r\n", data.len()).expect("memory takes everything");
            *piece_ends = true;
        }
        if is_long { self.piece = data } else { self.bytes.extend_from_slice(&data) }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.over = true;
        let BodyFraming::Chunked { trailers: announced, .. } = &self.framing else { return };
        self.bytes.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            for (name, value) in trailers.iter().filter(|(name, _)| announced.has(name.as_str().as_bytes())) {
                write_line(&mut self.bytes, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Writes `Content-Length`.
pub(crate) fn write_length(bytes: &mut Vec<u8>, length: u64) {
    write_number(bytes, b"content-length", length);
}
