//! A stream with write deadlines, which hyper does not set: the connection of a client that reads nothing, or hardly anything,
//! is reset. Deadlines for reading are set elsewhere (`connection` for heads, `calls` for bodies). It knows no HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::Stream;

/// The longest time without any progress of a write.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time until all pending bytes are written, so that a client cannot stay by reading a byte now and then.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The stream, and the start of its pending writes.
pub(super) struct DeadlineIo {
    stream: Stream,
    reset: ResetOnDrop,
    /// The start of the oldest pending write.
    pending_since: Option<Instant>,
    /// The last progress of it.
    stalled_since: Option<Instant>,
    /// Armed while a write is pending.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Whether dropping the stream resets the connection, so that the kernel discards its unsent bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct ResetOnDrop(Arc<AtomicBool>);

impl ResetOnDrop {
    /// Makes it a reset.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl DeadlineIo {
    pub(super) fn new(stream: Stream, reset: ResetOnDrop) -> DeadlineIo {
        DeadlineIo { stream, reset, pending_since: None, stalled_since: None, alarm: None }
    }

    fn wrote(&mut self) {
        self.pending_since.get_or_insert_with(Instant::now);
        self.stalled_since = None;
    }

    fn all_is_written(&mut self) {
        self.pending_since = None;
        self.stalled_since = None;
        self.alarm = None;
    }

    /// Ready once a pending write has exceeded a deadline.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let now = Instant::now();
        let stalled = *self.stalled_since.get_or_insert(now);
        let pending = *self.pending_since.get_or_insert(now);
        let deadline = (stalled + STALL_TIMEOUT).min(pending + WRITE_TIMEOUT);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(context));
        self.reset.set();
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not read the response"))
    }

    fn track(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.poll_deadline(context).map(Err),
            Poll::Ready(result) => {
                self.wrote();
                Poll::Ready(result)
            }
        }
    }
}

impl AsyncRead for DeadlineIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for DeadlineIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.track(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.track(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Completes once no byte is pending.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.all_is_written();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for DeadlineIo {
    fn drop(&mut self) {
        if self.reset.0.load(Ordering::Relaxed) {
            self.stream.reset_on_close();
        }
    }
}
