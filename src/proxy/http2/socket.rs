//! The socket of an HTTP/2 connection, which h2 writes to and its connection's task flushes. h2 flushes after nearly every frame
//! of a body, and each write is a system call and over TLS a record: so frames are gathered, and written together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::client::ConnectionState;
use crate::transport::Stream;

/// The most bytes of frames that are gathered: one record of TLS.
const GATHERED_BYTES: usize = 16 * 1024;

/// The socket; unless it was shut down, dropping it resets the connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    /// It gets the progress of the client's reading.
    state: Rc<ConnectionState>,
    /// Frames for the client; those before `written` are with the kernel.
    gathered: Vec<u8>,
    written: usize,
    /// Whether h2 has more than was taken last.
    is_refusing: bool,
    /// Whether the sending side was ended regularly.
    is_shut: bool,
}

impl Socket {
    pub(super) fn new(stream: Stream, state: Rc<ConnectionState>) -> Socket {
        Socket { stream, state, gathered: Vec::new(), written: 0, is_refusing: false, is_shut: false }
    }

    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }

    /// Takes bytes to be written at the next flush, which is needed first if there is no room for them.
    pub(super) fn poll_gather(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED_BYTES {
            let flushed = self.poll_flush(context);
            self.is_refusing = flushed.is_pending();
            ready!(flushed)?;
        }
        let before = self.gathered.len();
        for piece in pieces {
            let room = GATHERED_BYTES - self.gathered.len();
            self.gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Poll::Ready(Ok(self.gathered.len() - before))
    }

    /// Whether h2 has frames that were not taken.
    pub(super) fn is_refusing(&self) -> bool {
        self.is_refusing
    }

    /// Passes the gathered bytes to the kernel.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let polled = Pin::new(&mut self.stream).poll_write(context, &self.gathered[self.written..]);
            match ready!(self.note_written(polled))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        self.gathered.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.is_shut |= matches!(shut, Poll::Ready(Ok(())));
        self.note_written(shut)
    }

    /// Whether the sending side was ended regularly.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Frees the memory that only a busy connection needs.
    pub(super) fn shrink(&mut self) {
        if self.gathered.is_empty() {
            self.gathered = Vec::new();
        }
    }

    fn note_written<T>(&self, written: Poll<T>) -> Poll<T> {
        match written {
            Poll::Pending => self.state.wait_for_reading(false),
            Poll::Ready(_) => self.state.all_read(),
        }
        written
    }
}

impl Drop for Socket {
    /// Also runs when the whole task is aborted: then the kernel must keep nothing for the client.
    fn drop(&mut self) {
        if !self.is_shut {
            self.stream.reset_on_close();
        }
    }
}
