//! Writes a message, request or response: its head as bytes, its body in the framing that the next hop needs, as fast as the
//! peer accepts them. Deadlines are the callers' business.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::{HeaderName, HeaderValue};
use tokio::io::AsyncWrite;

use super::buffers::{Buffer, COPIED_BYTES};
use super::encode::{write_line, write_number};
use super::field_names::FieldNames;

/// The field line of a chunked body.
pub(crate) const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// Why a message could not be sent completely.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The peer accepts no more bytes; those that it has sent can still be read.
    Refused(io::Error),
    /// The message's own body failed; its source knows the reason.
    Body,
}

/// A message that is being sent.
#[derive(Debug)]
pub(crate) struct MessageWriter<B> {
    /// The head and copied pieces of the body.
    bytes: Buffer,
    /// How many of them have been written.
    written: usize,
    /// A long piece of the body that follows them.
    piece: Bytes,
    framing: BodyFraming,
    body: B,
    over: bool,
    /// How many bytes have been sent.
    sent: u64,
    /// Whether the connection closes after the message.
    closes: bool,
    /// Whether only the end of the connection marks the end of the body.
    ends_by_closing: bool,
    /// Whether the bytes before an error of the body are still sent.
    sends_beginning: bool,
    failed: bool,
}

#[derive(Debug)]
pub(crate) enum BodyFraming {
    /// The head declares the length, or there is no body.
    Counted,
    /// Chunked; only the trailers that the head announced may follow.
    Chunked { trailers: FieldNames, piece_ends: bool },
}

#[derive(Debug)]
pub(crate) struct Parts<B> {
    /// The whole head with its empty line.
    pub(crate) head: Buffer,
    pub(crate) framing: BodyFraming,
    pub(crate) body: B,
    /// Whether there is no body to send.
    pub(crate) over: bool,
    /// Whether the connection closes after the message.
    pub(crate) closes: bool,
    /// Whether only the end of the connection marks the end of the body.
    pub(crate) ends_by_closing: bool,
    /// Whether the bytes before an error of the body are still sent.
    pub(crate) sends_beginning: bool,
}

impl<B> MessageWriter<B> {
    /// A message of which no byte has been written.
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

    pub(crate) fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Whether no byte has been sent, so that the message can still go to another connection.
    pub(crate) fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Starts again from the first byte; only valid for a message without a body.
    pub(crate) fn rewind(&mut self) {
        (self.written, self.sent) = (0, 0);
    }
}

impl<B: Body<Data = Bytes> + Unpin> MessageWriter<B> {
    /// Whether the message is sent completely.
    pub(crate) fn is_over(&self) -> bool {
        self.over && self.piece.is_empty() && self.written == self.bytes.len()
    }

    /// Whether the connection closes after the message.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Whether only the end of the connection marks the end of the body: then an abort must not look like an end.
    pub(crate) fn ends_by_closing(&self) -> bool {
        self.ends_by_closing
    }

    /// How many bytes have been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether bytes wait for the peer to accept them.
    pub(crate) fn waits_for_reader(&self) -> bool {
        self.written < self.bytes.len() || !self.piece.is_empty()
    }

    /// Takes the body before any byte is written; ready once all of it or `enough` bytes wait, or it has failed.
    pub(crate) fn poll_gather(&mut self, enough: usize, context: &mut Context<'_>) -> Poll<()> {
        while self.wants_body() && self.bytes.len() + self.piece.len() < enough {
            let piece = std::mem::take(&mut self.piece);
            self.bytes.extend_from_slice(&piece);
            ready!(self.take_frame(context));
        }
        Poll::Ready(())
    }

    /// How many bytes wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.written + self.piece.len()
    }

    /// Whether the body has failed; its source knows the reason.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Continues to write; ready when everything is written.
    pub(crate) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
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

    /// Writes some of the waiting bytes, in one system call.
    fn poll_write<W: AsyncWrite + Unpin>(&self, writer: &mut W, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = &self.bytes[self.written..];
        if !self.piece.is_empty() {
            let pieces = [IoSlice::new(bytes), IoSlice::new(&self.piece)];
            return Pin::new(writer).poll_write_vectored(context, &pieces);
        }
        // send() costs the kernel less than writev().
        Pin::new(writer).poll_write(context, bytes)
    }

    fn advance(&mut self, length: usize) {
        self.sent += length as u64;
        let of_bytes = length.min(self.bytes.len() - self.written);
        self.written += of_bytes;
        self.piece.advance(length - of_bytes);
        // A message without a body is kept, because it may be sent again.
        if self.written == self.bytes.len() && !self.over {
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Takes the available frames of the body, up to a long piece.
    fn take_body(&mut self, context: &mut Context<'_>) {
        while self.wants_body() && self.piece.is_empty() && self.bytes.len() < COPIED_BYTES {
            if self.take_frame(context).is_pending() {
                break;
            }
        }
    }

    fn wants_body(&self) -> bool {
        !self.over && !self.failed
    }

    fn take_frame(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let BodyFraming::Chunked { piece_ends, .. } = &mut self.framing
            && std::mem::take(piece_ends)
        {
            self.bytes.extend_from_slice(b"\r\n");
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Err(_))) => self.failed = true,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => self.append(data),
                Err(frame) => self.end(frame.into_trailers().ok()),
            },
            Poll::Ready(None) => self.end(None),
        }
        // A body with a declared length ends with its last byte, so it need not be polled again.
        if matches!(self.framing, BodyFraming::Counted) && !self.failed && self.body.is_end_stream() {
            self.over = true;
        }
        Poll::Ready(())
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
            // Their case as announced, which is that of the trailers themselves as a rule.
            let written = |(name, value)| Some((announced.written(HeaderName::as_str(name).as_bytes())?, value));
            for (name, value) in trailers.iter().filter_map(written) {
                write_line(&mut self.bytes, name, HeaderValue::as_bytes(value));
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Writes a `Content-Length` line.
pub(crate) fn write_length(bytes: &mut Vec<u8>, length: u64) {
    write_number(bytes, b"Content-Length", length);
}
