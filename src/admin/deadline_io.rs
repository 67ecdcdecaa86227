//! A connection whose writes have deadlines, which hyper does not set: a client that reads nothing, or hardly anything, is
//! reset. Reading has its deadlines elsewhere (`connection` for heads, `calls` for bodies). It knows no HTTP.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take nothing of what is there for it.
const LONGEST_STALL: Duration = Duration::from_secs(10);

/// How long it may take for all that is there for it, so that reading a byte now and then is no way to stay.
pub(super) const LONGEST_WRITE: Duration = Duration::from_secs(30);

/// The stream, and since when it waits for its reader.
pub(super) struct Paced<S: AsFd> {
    stream: S,
    resets: Resets,
    /// Since when something is unwritten.
    owing_since: Option<Instant>,
    /// Since when nothing of it could be written.
    stalled_since: Option<Instant>,
    /// Set while a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Whether the end of the connection is a reset, which leaves nothing of it with the kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Resets(Arc<AtomicBool>);

impl Resets {
    /// From now on it is.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S: AsFd> Paced<S> {
    pub(super) fn new(stream: S, resets: Resets) -> Paced<S> {
        Paced { stream, resets, owing_since: None, stalled_since: None, alarm: None }
    }

    fn wrote(&mut self) {
        self.owing_since.get_or_insert_with(Instant::now);
        self.stalled_since = None;
    }

    fn all_is_written(&mut self) {
        self.owing_since = None;
        self.stalled_since = None;
        self.alarm = None;
    }

    /// A write waits: until when it may.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let now = Instant::now();
        let stalled = *self.stalled_since.get_or_insert(now);
        let owing = *self.owing_since.get_or_insert(now);
        let deadline = (stalled + LONGEST_STALL).min(owing + LONGEST_WRITE);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(context));
        self.resets.set();
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))
    }

    fn paced(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.poll_late(context).map(Err),
            Poll::Ready(result) => {
                self.wrote();
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.paced(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.paced(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when nothing is left to be written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.all_is_written();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsFd> Drop for Paced<S> {
    fn drop(&mut self) {
        if self.resets.0.load(Ordering::Relaxed) {
            // A connection that cannot be told so is broken already.
            drop(socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
        }
    }
}
