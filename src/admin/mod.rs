//! The second listener: what operators and machines see and do. It changes nothing by itself; every change goes over
//! the desk. Nothing that changes state is open, and nothing here runs on a data worker.

mod calls;
mod events;
mod guard;
mod mode_calls;
mod page;
mod probes;
mod query;
mod rates;
mod reply;
mod route_calls;

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::{Access, Peer};
use crate::desk::Desk;
use crate::gate::Gate;
use crate::telemetry::Metrics;
use rates::Rates;

/// Connections at once; further ones wait in the kernel.
const CONNECTIONS: usize = 256;

/// How long a client may take to send a request's head, and how long a kept connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connections may go on once the listener is told to end.
const CLOSING: Duration = Duration::from_secs(5);

/// Reads the newest journal entries, newest first; blocking.
pub type JournalReader = dyn Fn(usize) -> Vec<serde_json::Value> + Send + Sync;

/// What the admin plane works with.
pub struct AdminParts {
    /// The record, the table, the counts.
    pub gate: Arc<Gate>,
    /// Where changes are asked for.
    pub desk: Desk,
    /// Who may.
    pub access: Arc<Access>,
    /// `GET /mode/history`.
    pub journal: Arc<JournalReader>,
    /// `GET /metrics`.
    pub metrics: Arc<Metrics>,
    /// Whether `GET /metrics` wants no credential.
    pub metrics_open: bool,
    /// Host names by which the admin plane may be called, beside `localhost`, loopback addresses and its own address.
    pub allowed_hosts: Vec<String>,
    /// The gateway's default drain timeout: how long a caller of `PUT /mode` waits at most follows from it.
    pub drain_timeout: Duration,
    /// True once the gateway is shutting down: `/readyz` says so while the data plane still drains.
    pub stopping: watch::Receiver<bool>,
}

/// The bound listener.
#[derive(Debug)]
pub enum AdminListener {
    /// TCP, and the address it was bound to.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// Why the admin listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum AdminBindError {
    /// TCP.
    #[error("cannot listen for the admin API on {address}: {source}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// Unix socket.
    #[error("cannot listen for the admin API on unix:{}: {source}", path.display())]
    Unix {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

impl AdminListener {
    /// Listens on TCP.
    pub async fn tcp(address: SocketAddr) -> Result<AdminListener, AdminBindError> {
        let bound = TcpListener::bind(address).await;
        bound.map(AdminListener::Tcp).map_err(|source| AdminBindError::Tcp { address, source })
    }

    /// Listens on a unix socket, which only the gateway's user and group may open. A socket that nobody listens on any
    /// more is removed first.
    pub fn unix(path: PathBuf) -> Result<AdminListener, AdminBindError> {
        let fault = |source| AdminBindError::Unix { path: path.clone(), source };
        let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        // A file that is no socket refuses connections as well, and is somebody's.
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
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            AdminListener::Tcp(listener) => listener.local_addr().ok(),
            AdminListener::Unix(_) => None,
        }
    }
}

/// What all calls share.
pub(crate) struct Plane {
    parts: AdminParts,
    rates: Rates,
    /// True once connections are to end: event streams end at it.
    closing: watch::Receiver<bool>,
}

/// Where one connection came from and arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    peer: Peer,
    /// The address that the client connected to; none over a unix socket.
    local: Option<IpAddr>,
}

/// Serves until `shutdown`, then lets open calls end for a short while. On any tokio runtime.
pub async fn serve(listener: AdminListener, parts: AdminParts, shutdown: impl Future<Output = ()>) {
    let (close, closing) = watch::channel(false);
    let plane = Arc::new(Plane { parts, rates: Rates::default(), closing });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let sampler = rates::sample_forever(Arc::clone(&plane));
    tokio::pin!(shutdown, sampler);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            () = &mut sampler => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((Stream::Tcp(stream), arrival, place)) => {
                connections.spawn(connection(stream, arrival, Arc::clone(&plane), place));
            }
            Ok((Stream::Unix(stream), arrival, place)) => {
                connections.spawn(connection(stream, arrival, Arc::clone(&plane), place));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                // Mostly "too many open files": trying at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    close.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(CLOSING, ended).await;
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// Waits for a place first, so that what cannot be served stays in the kernel's queue.
async fn accept(listener: &AdminListener, places: &Arc<Semaphore>) -> std::io::Result<(Stream, Arrival, Place)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    match listener {
        AdminListener::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            let local = stream.local_addr().ok().map(|address| address.ip().to_canonical());
            Ok((Stream::Tcp(stream), Arrival { peer: Peer::Tcp(peer), local }, place))
        }
        AdminListener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred().ok().map(|credential| credential.uid());
            Ok((Stream::Unix(stream), Arrival { peer: Peer::Unix(uid), local: None }, place))
        }
    }
}

async fn connection<S>(stream: S, arrival: Arrival, plane: Arc<Plane>, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let told = becomes_true(plane.closing.clone());
    let service = service_fn(move |request| {
        let plane = Arc::clone(&plane);
        async move { Ok::<_, Infallible>(calls::respond(&plane, arrival, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(128 * 1024)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = told => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection ended early");
    }
    drop(place);
}

/// Waits for a flag, or for the end of whoever could raise it.
async fn becomes_true(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

#[cfg(test)]
pub(crate) mod tests;
