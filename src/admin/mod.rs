//! The admin port: the second listener, for operators and machines. It changes nothing by itself; every change goes through
//! the control handle. No call that changes state is open, and none of it runs on a data worker.

mod calls;
mod connection;
mod connection_limits;
mod deadline_io;
mod events;
mod gate_sample;
mod guard;
mod local_calls;
mod mode_calls;
mod page;
mod probes;
mod query;
mod rates;
mod response;
mod route_calls;
mod state;

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::Peer;
use connection_limits::ConnectionLimits;
use rates::Rates;
use state::{AdminState, Arrival};

pub(crate) use state::{AdminParts, JournalReader};

/// The backlog of connections that are not accepted yet.
const BACKLOG: u32 = 4096;

/// Connections that are accepted in a row before open connections get their turn. A first request takes two turns.
const ACCEPTS_IN_A_ROW: usize = 32;

/// The send buffer of the kernel for a client that does not read. The kernel doubles the value.
const SEND_BUFFER: usize = 32 * 1024;

/// The bound listener.
#[derive(Debug)]
pub(crate) enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the admin listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminBindError {
    #[error("cannot listen for the admin API on {address}: {source}")]
    Tcp { address: SocketAddr, source: std::io::Error },
    #[error("cannot listen for the admin API on unix:{}: {source}", path.display())]
    Unix { path: PathBuf, source: std::io::Error },
}

impl AdminListener {
    /// Listens on TCP.
    pub(crate) async fn tcp(address: SocketAddr) -> Result<AdminListener, AdminBindError> {
        let bound = listen(address).map_err(|source| AdminBindError::Tcp { address, source })?;
        Ok(AdminListener::Tcp(bound))
    }

    /// Listens on a unix socket, which only the gateway's user and group may open. A stale socket is removed first.
    pub(crate) fn unix(path: PathBuf) -> Result<AdminListener, AdminBindError> {
        let fault = |source| AdminBindError::Unix { path: path.clone(), source };
        let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        // A file that is not a socket refuses connections as well, and must be kept.
        let is_socket = std::fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(&path).is_err_and(refused) {
            std::fs::remove_file(&path).map_err(fault)?;
        }
        let listener = UnixListener::bind(&path).map_err(fault)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
        std::fs::set_permissions(&path, mode).map_err(fault)?;
        Ok(AdminListener::Unix(listener))
    }

    /// The address that TCP is bound to.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            AdminListener::Tcp(listener) => listener.local_addr().ok(),
            AdminListener::Unix(_) => None,
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    // Connections inherit both. The timeout also covers bytes that are left after the gateway has closed a connection.
    socket.set_send_buffer_size(SEND_BUFFER as u32)?;
    SockRef::from(&socket).set_tcp_user_timeout(Some(deadline_io::WRITE_TIMEOUT))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, then lets open calls complete for a short while. On any tokio runtime.
pub(crate) async fn serve(listener: AdminListener, parts: AdminParts, shutdown: impl Future<Output = ()>) {
    let (close, closing) = watch::channel(false);
    let state = Arc::new(AdminState { parts, rates: Rates::default(), closing });
    let limits = Arc::new(ConnectionLimits::default());
    let mut connections = JoinSet::new();
    let sampler = state.rates.sample_forever(&state.parts.gate);
    tokio::pin!(shutdown, sampler);
    let mut in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            () = &mut sampler => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &limits) => accepted,
        };
        match accepted {
            Ok((Stream::Tcp(stream), arrival)) => {
                connections.spawn(connection::serve(stream, arrival, Arc::clone(&state)));
            }
            Ok((Stream::Unix(stream), arrival)) => {
                connections.spawn(connection::serve(stream, arrival, Arc::clone(&state)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                // Mostly "too many open files": trying at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // The first requests of these connections are handled before so many more are accepted that they would be evicted.
        // A single accept per turn would let busy connections starve new ones in the backlog.
        in_a_row += 1;
        if in_a_row == ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }
    drop(listener);
    close.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(connection::CLOSE_TIMEOUT + Duration::from_secs(1), ended).await;
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &AdminListener, limits: &Arc<ConnectionLimits>) -> std::io::Result<(Stream, Arrival)> {
    let (stream, peer, local) = match listener {
        AdminListener::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            let local = stream.local_addr().ok().map(|address| address.ip().to_canonical());
            (Stream::Tcp(stream), Peer::Tcp(peer), local)
        }
        AdminListener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred().ok().map(|credential| credential.uid());
            SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
            (Stream::Unix(stream), Peer::Unix(uid), None)
        }
    };
    Ok((stream, Arrival { peer, local, slot: Arc::new(limits.take()) }))
}

#[cfg(test)]
pub(crate) mod tests;
