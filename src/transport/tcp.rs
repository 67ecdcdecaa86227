//! Options of TCP that keep connections fast and their end exact.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
pub(crate) use tokio::net::{TcpListener, TcpStream};

/// The interval of probes of a silent peer.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Prepares an accepted connection; the kernel buffers at most `unsent` bytes beyond those in flight.
pub(super) fn prepare_accepted(stream: &TcpStream, unsent: u32) -> io::Result<()> {
    // Small responses must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    limit_unsent(stream, unsent);
    Ok(())
}

/// Limits the kernel's buffer for the peer, beyond the bytes in flight.
pub(super) fn limit_unsent(stream: &TcpStream, unsent: u32) {
    // Not every kernel supports it.
    drop(SockRef::from(stream).set_tcp_notsent_lowat(unsent));
}

/// Makes the kernel ask the peer for signs of life every 10 s. The kernel of a peer that has closed its socket forgets it after a
/// minute as a rule, and then responds with a reset.
pub(super) fn probe_peer(stream: &TcpStream) {
    let every = TcpKeepalive::new().with_time(PROBE_INTERVAL).with_interval(PROBE_INTERVAL).with_retries(3);
    // An error means that the connection is already broken.
    drop(SockRef::from(stream).set_tcp_keepalive(&every));
}

/// Makes the kernel keep bytes that the peer does not read for `limit`, and not forever.
pub(super) fn keep_unread_for(stream: &TcpStream, limit: Duration) {
    // An error means that the connection is already broken.
    drop(SockRef::from(stream).set_tcp_user_timeout(Some(limit)));
}

/// Makes the end of a connection a reset: the kernel discards its unsent bytes.
pub(super) fn reset_on_close(socket: &impl AsFd) {
    // An error means that the connection is already broken.
    drop(SockRef::from(socket).set_linger(Some(Duration::ZERO)));
}
