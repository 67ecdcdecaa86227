//! An open connection: TCP, a unix socket or TLS over TCP, whole or in two halves. The data plane uses the halves: a write is
//! ready once the kernel has the bytes, over TLS as well, so deadlines and resets mean the same everywhere.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::address::{Address, HostPort, Peer};
use super::tcp::{keep_unread_for, prepare_accepted, probe_peer, reset_on_close};
use super::tls::TlsStream;

/// An open connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// Evaluates an expression for the socket of any kind.
macro_rules! delegate {
    ($stream:expr, $socket:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            Stream::Unix($socket) => $call,
            Stream::Tls($socket) => $call,
        }
    };
}

impl Stream {
    /// Connects; the caller limits the time.
    pub(crate) async fn connect(address: &Address<HostPort>) -> io::Result<Stream> {
        match address {
            Address::Tcp(address) => TcpStream::connect(address.as_str()).await.map(Stream::Tcp),
            Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        }
    }

    /// See [`prepare_accepted`]. A unix socket needs nothing.
    pub(crate) fn prepare_accepted(&self, unsent: u32) -> io::Result<()> {
        if let Stream::Tcp(stream) = self { prepare_accepted(stream, unsent) } else { Ok(()) }
    }

    /// The address that the peer connected to; none over a unix socket.
    pub(crate) fn local_ip(&self) -> Option<IpAddr> {
        let local = match self {
            Stream::Tcp(stream) => stream.local_addr(),
            Stream::Tls(stream) => stream.socket().local_addr(),
            Stream::Unix(_) => return None,
        };
        local.ok().map(|address| address.ip().to_canonical())
    }

    /// See [`reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        match self {
            Stream::Tcp(stream) => reset_on_close(stream),
            Stream::Unix(stream) => reset_on_close(stream),
            Stream::Tls(stream) => reset_on_close(stream.socket()),
        }
    }

    /// Whether the peers have agreed on HTTP/2; `None` without TLS.
    pub(crate) fn speaks_http2(&self) -> Option<bool> {
        match self {
            Stream::Tls(stream) => Some(stream.session().alpn_protocol() == Some(b"h2")),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// See [`keep_unread_for`]; TCP only.
    pub(crate) fn keep_unread_for(&self, limit: Duration) {
        match self {
            Stream::Tcp(stream) => keep_unread_for(stream, limit),
            Stream::Unix(_) => {}
            Stream::Tls(stream) => keep_unread_for(stream.socket(), limit),
        }
    }

    /// The two halves, for one thread.
    pub(crate) fn split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Stream::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadHalf::Tcp(reader), WriteHalf::Tcp(writer))
            }
            Stream::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadHalf::Unix(reader), WriteHalf::Unix(writer))
            }
            Stream::Tls(stream) => {
                let shared = Rc::new(RefCell::new(stream));
                (ReadHalf::Tls(Rc::clone(&shared)), WriteHalf::Tls(shared))
            }
        }
    }
}

/// An accepted connection on its way to another thread.
#[derive(Debug)]
pub struct Handover {
    socket: OwnedFd,
    peer: Peer,
}

impl Handover {
    /// Takes a connection off this thread's event loop, before any handshake of TLS.
    pub(crate) fn new(stream: Stream, peer: Peer) -> io::Result<Handover> {
        let socket = match stream {
            Stream::Tcp(stream) => stream.into_std()?.into(),
            Stream::Unix(stream) => stream.into_std()?.into(),
            Stream::Tls(_) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(Handover { socket, peer })
    }

    /// The connection, on the event loop of the thread that calls.
    pub(crate) fn take(self) -> io::Result<(Stream, Peer)> {
        let stream = match self.peer {
            Peer::Tcp(_) => Stream::Tcp(TcpStream::from_std(self.socket.into())?),
            Peer::Unix(_) => Stream::Unix(UnixStream::from_std(self.socket.into())?),
        };
        Ok((stream, self.peer))
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream::Tcp(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}

/// A TLS connection whose halves are in use. The halves never borrow it at the same time: both belong to one thread.
type SharedTls = Rc<RefCell<Box<TlsStream>>>;

/// The read half of a connection.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
    Tls(SharedTls),
}

impl ReadHalf {
    /// Whether the peer has neither ended the connection nor sent data, as far as the event loop knows. Costs no system call,
    /// unless TLS has sent something that is no data, such as a session ticket.
    pub(crate) fn is_quiet(&self) -> bool {
        let would_block = |read: io::Result<usize>| read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        match self {
            ReadHalf::Tcp(half) => would_block(half.try_read(&mut [0])),
            ReadHalf::Unix(half) => would_block(half.try_read(&mut [0])),
            ReadHalf::Tls(shared) => shared.borrow_mut().is_quiet(),
        }
    }

    /// Whether the connection has failed since its last error was reported, or a unix socket has no other end any more.
    pub(crate) fn has_error(&self) -> bool {
        let error = match self {
            ReadHalf::Tcp(half) => AsRef::<TcpStream>::as_ref(half).take_error(),
            // Nothing is sent: the kernel only looks whether the other end is open.
            ReadHalf::Unix(half) => match AsRef::<UnixStream>::as_ref(half).try_write(&[]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return true,
                _ => AsRef::<UnixStream>::as_ref(half).take_error(),
            },
            ReadHalf::Tls(shared) => shared.borrow().socket().take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Makes the kernel ask a silent peer for signs of life: see [`probe_peer`].
    pub(crate) fn probe_peer(&self) {
        match self {
            ReadHalf::Tcp(half) => probe_peer(half.as_ref()),
            ReadHalf::Unix(_) => {}
            ReadHalf::Tls(shared) => probe_peer(shared.borrow().socket()),
        }
    }

    /// Makes the end of the connection a reset: see [`reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        match self {
            ReadHalf::Tcp(half) => reset_on_close(AsRef::<TcpStream>::as_ref(half)),
            ReadHalf::Unix(half) => reset_on_close(AsRef::<UnixStream>::as_ref(half)),
            ReadHalf::Tls(shared) => reset_on_close(shared.borrow().socket()),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(context, buffer),
            ReadHalf::Unix(half) => Pin::new(half).poll_read(context, buffer),
            ReadHalf::Tls(shared) => Pin::new(&mut **shared.borrow_mut()).poll_read(context, buffer),
        }
    }
}

/// The write half of a connection. Dropping it ends the sending side.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
    Tls(SharedTls),
}

impl WriteHalf {
    /// Drops it without an end of its own: the connection ends with its other half.
    pub(crate) fn forget(self) {
        match self {
            WriteHalf::Tcp(half) => half.forget(),
            WriteHalf::Unix(half) => half.forget(),
            WriteHalf::Tls(_) => {}
        }
    }

    /// Drops it so that the connection ends with a reset.
    pub(crate) fn reset(self) {
        match &self {
            WriteHalf::Tcp(half) => reset_on_close(AsRef::<TcpStream>::as_ref(half)),
            WriteHalf::Unix(half) => reset_on_close(AsRef::<UnixStream>::as_ref(half)),
            WriteHalf::Tls(shared) => reset_on_close(shared.borrow().socket()),
        }
        // Otherwise a FIN would come first.
        self.forget();
    }

    /// Drops it, over TLS with close_notify.
    pub(crate) fn end(self) {
        if let WriteHalf::Tls(shared) = &self {
            shared.borrow_mut().try_notify();
        }
    }

    /// Ends the connection regularly, over TLS with close_notify; the kernel keeps bytes that the peer does not read for `limit`,
    /// and not forever.
    pub(crate) fn close(self, limit: Duration) {
        if let WriteHalf::Tls(shared) = &self {
            shared.borrow_mut().try_notify();
        }
        self.truncate(limit);
    }

    /// The same without close_notify: over TLS, the peer sees that the end is missing.
    pub(crate) fn truncate(self, limit: Duration) {
        match &self {
            WriteHalf::Tcp(half) => keep_unread_for(half.as_ref(), limit),
            WriteHalf::Unix(_) => {}
            WriteHalf::Tls(shared) => keep_unread_for(shared.borrow().socket(), limit),
        }
    }
}

impl AsyncWrite for WriteHalf {
    /// There is nearly always room, so no readiness check comes first.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let blocks = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match self.get_mut() {
            WriteHalf::Tcp(half) => match half.try_write(bytes) {
                Err(error) if blocks(&error) => Pin::new(half).poll_write(context, bytes),
                wrote => Poll::Ready(wrote),
            },
            WriteHalf::Unix(half) => match half.try_write(bytes) {
                Err(error) if blocks(&error) => Pin::new(half).poll_write(context, bytes),
                wrote => Poll::Ready(wrote),
            },
            WriteHalf::Tls(shared) => Pin::new(&mut **shared.borrow_mut()).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            WriteHalf::Tcp(half) => Pin::new(half).poll_write_vectored(context, pieces),
            WriteHalf::Unix(half) => Pin::new(half).poll_write_vectored(context, pieces),
            WriteHalf::Tls(shared) => Pin::new(&mut **shared.borrow_mut()).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            WriteHalf::Tcp(half) => Pin::new(half).poll_flush(context),
            WriteHalf::Unix(half) => Pin::new(half).poll_flush(context),
            WriteHalf::Tls(shared) => Pin::new(&mut **shared.borrow_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            WriteHalf::Tcp(half) => Pin::new(half).poll_shutdown(context),
            WriteHalf::Unix(half) => Pin::new(half).poll_shutdown(context),
            WriteHalf::Tls(shared) => Pin::new(&mut **shared.borrow_mut()).poll_shutdown(context),
        }
    }
}
