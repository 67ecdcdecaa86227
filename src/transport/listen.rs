//! Listening sockets, and the connections that they accept. It limits no number of connections.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::address::Address;
use super::inherited::InheritedSocket;
use super::stream::Stream;

/// The backlog of connections that are not accepted yet.
const BACKLOG: i32 = 4096;

/// Limits of the kernel's memory for each connection; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketLimits {
    /// The send buffer for a peer that does not read. The kernel doubles the value.
    pub(crate) send_buffer: Option<usize>,
    /// The time that unacknowledged bytes may wait, also after the connection was closed; TCP only.
    pub(crate) user_timeout: Option<Duration>,
}

/// Who has made a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOrigin {
    /// This process: the socket ends with it.
    Own,
    /// The service manager: the socket outlives this process.
    Inherited,
}

/// The other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A unix socket, with the user id of the peer if the kernel reports one.
    Unix(Option<u32>),
}

/// A listener on TCP or on a unix socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketLimits),
}

impl Listener {
    /// Listens on an address. To be called inside a runtime.
    pub(crate) fn bind(address: &Address, limits: SocketLimits) -> io::Result<Listener> {
        match address {
            Address::Tcp(address) => TcpListener::from_std(listen(*address, limits)?).map(Listener::Tcp),
            Address::Unix(path) => Ok(Listener::Unix(listen_unix(path)?, limits)),
        }
    }

    /// Listens on an inherited socket. To be called inside a runtime.
    pub(crate) fn inherit(socket: InheritedSocket, limits: SocketLimits) -> io::Result<Listener> {
        match socket {
            InheritedSocket::Tcp(listener) => {
                apply(&SockRef::from(&listener), limits)?;
                TcpListener::from_std(listener).map(Listener::Tcp)
            }
            InheritedSocket::Unix(listener) => Ok(Listener::Unix(UnixListener::from_std(listener)?, limits)),
        }
    }

    /// The address that TCP is bound to.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Peer::Tcp(peer)))
            }
            Listener::Unix(listener, limits) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credential| credential.uid());
                if let Some(bytes) = limits.send_buffer {
                    SockRef::from(&stream).set_send_buffer_size(bytes)?;
                }
                Ok((Stream::Unix(stream), Peer::Unix(uid)))
            }
        }
    }
}

/// A TCP socket that listens; its connections inherit the limits.
pub(crate) fn listen(address: SocketAddr, limits: SocketLimits) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    apply(&SockRef::from(&socket), limits)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Applies the limits to a listening socket over TCP.
fn apply(socket: &SockRef<'_>, limits: SocketLimits) -> io::Result<()> {
    if let Some(bytes) = limits.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if limits.user_timeout.is_some() {
        socket.set_tcp_user_timeout(limits.user_timeout)?;
    }
    Ok(())
}

/// Closes a listening socket, after it has accepted the connections that wait in its queue. More may arrive meanwhile, so there
/// is a limit.
pub(crate) fn accept_queued(listener: TcpListener, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    // An error means that the socket is unusable anyway.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    serve(stream, peer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // This connection failed.
            Err(_) => {}
        }
    }
}

/// A unix socket that only the gateway's user and group may open. A stale socket is removed first.
fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    // A file that is not a socket refuses connections as well, and must be kept.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
    Ok(listener)
}
