//! One TLS connection over TCP, by rustls. A write is ready once the kernel has its ciphertext, so "written" means the same as
//! over plain TCP; a write that was pending must be repeated with the same bytes, as all writers of this crate do. It has no
//! deadlines.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::error::session_error;

/// The plaintext of one record. More at once would hide the progress of a slow reader.
const RECORD_BYTES: usize = 16 * 1024;

/// The first byte of a record (RFC 8446, 5.1).
const CONTENT_TYPES: RangeInclusive<u8> = 20..=23;

/// The most bytes that are read from a peer that speaks no TLS.
const DISCARDED_BYTES: usize = 64 * 1024;

/// Reads in a row that yield no data, after which other connections get their turn.
const EMPTY_READS: usize = 32;

/// A TLS connection.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Connection,
    /// How many bytes of the pending write are encrypted.
    encrypted: usize,
    /// How many decrypted bytes wait to be read.
    readable: usize,
    /// The first byte from the peer.
    first_byte: Option<u8>,
}

impl TlsStream {
    /// A connection whose handshake has not begun.
    pub(super) fn new(socket: TcpStream, session: Connection) -> TlsStream {
        TlsStream { socket, session, encrypted: 0, readable: 0, first_byte: None }
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(in crate::transport) fn session(&self) -> &Connection {
        &self.session
    }

    /// The first byte that the peer has sent.
    pub(super) fn first_byte(&self) -> Option<u8> {
        self.first_byte
    }

    /// Continues the handshake; ready once data may be sent and what belongs to the handshake is with the kernel.
    pub(super) fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(context))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Ends the sending side without TLS, and reads the peer's remaining bytes, up to a limit; ready at the end.
    pub(super) fn poll_discard(&mut self, discarded: &mut usize, context: &mut Context<'_>) -> Poll<()> {
        if *discarded == 0 {
            drop(SockRef::from(&self.socket).shutdown(Shutdown::Write));
        }
        let mut bytes = [0; 1024];
        while *discarded < DISCARDED_BYTES {
            match self.socket.try_read(&mut bytes) {
                Ok(length @ 1..) => *discarded += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(self.socket.poll_read_ready(context)).is_err() {
                        break;
                    }
                }
                Ok(_) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Whether the peer has neither ended the connection nor sent data. Tickets and key updates are neither.
    pub(crate) fn is_quiet(&mut self) -> bool {
        for _ in 0..EMPTY_READS {
            match self.receive(None) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.session.wants_read(),
                Ok(1..) if self.session.wants_read() => {}
                Ok(_) | Err(_) => break,
            }
        }
        false
    }

    /// Sends close_notify if there is room for it.
    pub(crate) fn try_notify(&mut self) {
        self.session.send_close_notify();
        drop(self.send());
    }

    /// Reads once from the socket, and decrypts. 0 at its end. The session's own messages in response (a refused
    /// renegotiation, new keys) are sent as far as there is room, the rest with the next write. With a context, its task is
    /// woken when there is more to read.
    fn receive(&mut self, context: Option<&mut Context<'_>>) -> io::Result<usize> {
        let mut source = Source { socket: &mut self.socket, first_byte: &mut self.first_byte, context };
        let length = self.session.read_tls(&mut source)?;
        match self.session.process_new_packets() {
            Ok(state) => {
                self.readable = state.plaintext_bytes_to_read();
                drop(self.send());
            }
            Err(error) => {
                // The alert tells the peer why, if it speaks TLS.
                if self.first_byte.is_some_and(|byte| CONTENT_TYPES.contains(&byte)) {
                    drop(self.send());
                }
                return Err(session_error(error, matches!(self.session, Connection::Client(_))));
            }
        }
        Ok(length)
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.receive(Some(context)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            received => Poll::Ready(received),
        }
    }

    /// Writes all ciphertext to the socket.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Target(&self.socket))?;
        }
        Ok(())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(context))?;
                }
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Waits until the record that was encrypted is with the kernel.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.encrypted)))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..EMPTY_READS {
            // Only the bytes that are there: to clear a large buffer for each read is work.
            let room = self.readable.max(1).min(buffer.remaining());
            match self.session.reader().read(buffer.initialize_unfilled_to(room)) {
                Ok(length) => {
                    self.readable = self.readable.saturating_sub(length);
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A client marks the end of every message by itself, so a missing close_notify means nothing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let is_client = matches!(self.session, Connection::Server(_));
                    return Poll::Ready(if is_client { Ok(()) } else { Err(error) });
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_receive(context))?;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.encrypted == 0 {
            let record = &bytes[..bytes.len().min(RECORD_BYTES)];
            self.encrypted = self.session.writer().write(record)?;
        }
        self.poll_written(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.encrypted == 0 {
            let mut room = RECORD_BYTES;
            let mut record = [IoSlice::new(&[]); 2];
            for (part, piece) in record.iter_mut().zip(pieces) {
                let length = piece.len().min(room);
                *part = IoSlice::new(&piece[..length]);
                room -= length;
            }
            self.encrypted = self.session.writer().write_vectored(&record)?;
        }
        self.poll_written(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    /// Sends close_notify, then a FIN.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.send_close_notify();
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// The socket as rustls reads it: without waiting.
struct Source<'a, 'c, 'w> {
    socket: &'a mut TcpStream,
    first_byte: &'a mut Option<u8>,
    context: Option<&'c mut Context<'w>>,
}

impl Read for Source<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.context {
            None => self.socket.try_read(buffer)?,
            // After a read that leaves room, this asks the kernel again only once the event loop says so; `try_read` always does.
            Some(context) => {
                let mut bytes = ReadBuf::new(buffer);
                match Pin::new(&mut *self.socket).poll_read(context, &mut bytes) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
                }
                bytes.filled().len()
            }
        };
        *self.first_byte = self.first_byte.or_else(|| buffer[..length].first().copied());
        Ok(length)
    }
}

/// The socket as rustls writes to it: without waiting.
struct Target<'a>(&'a TcpStream);

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            // send() costs the kernel less than writev().
            [only] => self.0.try_write(only),
            _ => self.0.try_write_vectored(pieces),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
