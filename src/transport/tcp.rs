//! Connections of the data plane: plain TCP in two halves, with the options that keep them fast and their end exact.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWrite;
pub(crate) use tokio::net::tcp::OwnedReadHalf as ReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
pub(crate) use tokio::net::{TcpListener, TcpStream};

/// The two halves of a connection.
pub(crate) fn split(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let (reader, writer) = stream.into_split();
    (reader, WriteHalf(writer))
}

/// Prepares an accepted connection; the kernel buffers at most `unsent` bytes beyond those in flight.
pub(crate) fn prepare_accepted(stream: &TcpStream, unsent: u32) -> io::Result<()> {
    // Small responses must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    limit_unsent(stream, unsent);
    Ok(())
}

/// Limits what the kernel buffers for the peer, beyond the bytes in flight.
pub(super) fn limit_unsent(stream: &TcpStream, unsent: u32) {
    // Not every kernel supports it.
    drop(SockRef::from(stream).set_tcp_notsent_lowat(unsent));
}

/// Makes the end of a connection a reset: the kernel discards its unsent bytes.
pub(crate) fn reset_on_close(socket: &impl AsFd) {
    // An error means that the connection is already broken.
    drop(SockRef::from(socket).set_linger(Some(Duration::ZERO)));
}

/// The write half of a connection. Dropping it sends a FIN.
#[derive(Debug)]
pub(crate) struct WriteHalf(OwnedWriteHalf);

impl WriteHalf {
    /// Writes without waiting.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Drops it without a FIN: the connection ends with its other half.
    pub(crate) fn forget(self) {
        self.0.forget();
    }

    /// Drops it so that the connection ends with a reset.
    pub(crate) fn reset(self) {
        reset_on_close(AsRef::<TcpStream>::as_ref(&self.0));
        // Otherwise a FIN would come first.
        self.0.forget();
    }

    /// Ends the connection regularly; the kernel keeps bytes that the peer does not read for `limit`, and not forever.
    pub(crate) fn close(self, limit: Duration) {
        // An error means that the connection is already broken.
        drop(SockRef::from(AsRef::<TcpStream>::as_ref(&self.0)).set_tcp_user_timeout(Some(limit)));
    }
}

impl AsyncWrite for WriteHalf {
    /// There is nearly always room, so no readiness check comes first.
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pin::new(&mut self.0).poll_write(context, bytes),
            wrote => Poll::Ready(wrote),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
