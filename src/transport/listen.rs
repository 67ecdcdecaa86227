//! Listening sockets, and the connections that they accept. It limits no number of connections.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::{Address, Peer};
use super::stream::Stream;

/// The backlog of connections that are not accepted yet.
const BACKLOG: i32 = 4096;

/// Limits of the kernel's memory for each connection; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketLimits {
    /// The send buffer for a peer that does not read. The kernel doubles the value.
    pub(crate) send_buffer: Option<usize>,
    /// The receive buffer for bytes that are not read yet. The kernel doubles the value.
    pub(crate) receive_buffer: Option<usize>,
    /// The time that unacknowledged bytes may wait, also after the connection was closed; TCP only.
    pub(crate) user_timeout: Option<Duration>,
}

/// The origin of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOrigin {
    /// This process: the socket ends with it.
    Own,
    /// The service manager: the socket outlives this process.
    Inherited,
}

/// A socket that listens, outside of any runtime. It can be cloned, so that several workers accept from it.
#[derive(Debug)]
pub enum ListeningSocket {
    /// Over TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl ListeningSocket {
    /// Listens on an address.
    pub(crate) fn bind(address: &Address, limits: SocketLimits) -> io::Result<ListeningSocket> {
        match address {
            Address::Tcp(address) => listen(*address, limits).map(ListeningSocket::Tcp),
            Address::Unix(path) => listen_unix(path).map(ListeningSocket::Unix),
        }
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            ListeningSocket::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            ListeningSocket::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Into::into).unwrap_or_default()))
            }
        }
    }

    /// A connection that waits in its queue. To be called inside a runtime.
    fn accept(&self, limits: SocketLimits) -> io::Result<(Stream, Peer)> {
        match self {
            ListeningSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                accepted_tcp(TcpStream::from_std(stream)?, peer, limits)
            }
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                accepted_unix(UnixStream::from_std(stream)?, limits)
            }
        }
    }

    /// Another handle of the socket.
    pub(crate) fn try_clone(&self) -> io::Result<ListeningSocket> {
        match self {
            ListeningSocket::Tcp(listener) => listener.try_clone().map(ListeningSocket::Tcp),
            ListeningSocket::Unix(listener) => listener.try_clone().map(ListeningSocket::Unix),
        }
    }
}

/// A listener on TCP or on a unix socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, SocketLimits),
    Unix(UnixListener, SocketLimits),
}

impl Listener {
    /// Accepts from a socket. To be called inside a runtime.
    pub(crate) fn new(socket: ListeningSocket, limits: SocketLimits) -> io::Result<Listener> {
        match socket {
            ListeningSocket::Tcp(listener) => {
                apply(&SockRef::from(&listener), limits)?;
                Ok(Listener::Tcp(TcpListener::from_std(listener)?, limits))
            }
            ListeningSocket::Unix(listener) => Ok(Listener::Unix(UnixListener::from_std(listener)?, limits)),
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener, limits) => {
                let (stream, peer) = listener.accept().await?;
                accepted_tcp(stream, peer, *limits)
            }
            Listener::Unix(listener, limits) => accepted_unix(listener.accept().await?.0, *limits),
        }
    }

    /// Closes the socket, after it has accepted the connections that wait in its queue. More may arrive meanwhile, so there is a
    /// limit.
    pub(crate) fn accept_queued(self, mut serve: impl FnMut(Stream, Peer)) {
        let (socket, limits) = match self {
            Listener::Tcp(listener, limits) => (listener.into_std().map(ListeningSocket::Tcp), limits),
            Listener::Unix(listener, limits) => (listener.into_std().map(ListeningSocket::Unix), limits),
        };
        // An error means that the socket is unusable anyway.
        let Ok(socket) = socket else { return };
        for _ in 0..BACKLOG {
            match socket.accept(limits) {
                Ok((stream, peer)) => serve(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // This connection failed.
                Err(_) => {}
            }
        }
    }
}

/// A connection that waited in the queue of an inherited socket before the gateway started has the limits of its maker.
fn accepted_tcp(stream: TcpStream, peer: SocketAddr, limits: SocketLimits) -> io::Result<(Stream, Peer)> {
    apply(&SockRef::from(&stream), limits)?;
    Ok((Stream::Tcp(stream), Peer::Tcp(peer)))
}

fn accepted_unix(stream: UnixStream, limits: SocketLimits) -> io::Result<(Stream, Peer)> {
    let uid = stream.peer_cred().ok().map(|credential| credential.uid());
    if let Some(bytes) = limits.send_buffer {
        SockRef::from(&stream).set_send_buffer_size(bytes)?;
    }
    Ok((Stream::Unix(stream), Peer::Unix(uid)))
}

/// A TCP socket that listens; its connections inherit the limits.
fn listen(address: SocketAddr, limits: SocketLimits) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    apply(&SockRef::from(&socket), limits)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Applies the limits to a connection over TCP, or to a listening socket for the connections that it accepts.
fn apply(socket: &SockRef<'_>, limits: SocketLimits) -> io::Result<()> {
    if let Some(bytes) = limits.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = limits.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if limits.user_timeout.is_some() {
        socket.set_tcp_user_timeout(limits.user_timeout)?;
    }
    Ok(())
}

/// A unix socket that only the gateway's user and group may open. A stale socket is removed first.
fn listen_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    // A file that is not a socket refuses connections as well, and must be kept.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
    Ok(listener)
}
