//! Connects to a name with several addresses, so that a dead address delays a connection and does not prevent it (RFC 8305, 5).
//! The caller limits the whole time; the order of the addresses is the resolver's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};

use super::address::host_of;
use super::names::Lookups;

/// The next address is tried this long after the one before, or as soon as that has failed.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The kernel's receive buffer, which bounds the bytes that arrive before the gateway reads; the kernel doubles the value for
/// its own needs. Without a limit it would hold megabytes of a response whose client does not read.
const RECEIVE_BUFFER: u32 = 64 * 1024;

/// Connects to the first address of the host that accepts.
pub(super) async fn connect(host: &str, port: u16, lookups: &Lookups) -> io::Result<TcpStream> {
    let addresses = lookups.addresses(host, port).await?;
    match addresses[..] {
        [only] => connect_to(only).await,
        _ => first_of(&addresses).await,
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Before it connects, as the window is negotiated then.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(address).await
}

/// Connects to `HOST:PORT` for a protocol of small messages, which must not wait for the acknowledgement of earlier ones.
pub(crate) async fn connect_prompt(endpoint: &str) -> io::Result<TcpStream> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "it is no HOST:PORT");
    let (_, port) = endpoint.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().map_err(|_| malformed())?;
    let stream = connect(host_of(endpoint), port, &Lookups::default()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to the first of these addresses that accepts, and gives up the attempts that are still under way.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        attempts.spawn(connect_to(*address));
        if let Ok(Some(ended)) = tokio::time::timeout(ATTEMPT_DELAY, attempts.join_next()).await {
            match outcome(ended) {
                Ok(stream) => return Ok(stream),
                Err(failed) => error = failed,
            }
        }
    }
    while let Some(ended) = attempts.join_next().await {
        match outcome(ended) {
            Ok(stream) => return Ok(stream),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

fn outcome(ended: Result<io::Result<TcpStream>, JoinError>) -> io::Result<TcpStream> {
    ended.unwrap_or_else(|failed| Err(io::Error::other(failed)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Long enough for a busy machine, and far less than the kernel takes to give up a connection.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A listener whose queue is full: the kernel drops every further SYN.
    fn silent() -> (SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address);
            held.push(filler);
        }
        (address.as_socket().unwrap(), held)
    }

    #[tokio::test]
    async fn an_address_that_drops_syn_delays_a_connection_and_does_not_prevent_it() {
        let ((first, _held), (second, _also_held)) = (silent(), silent());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let open = listener.local_addr().unwrap();
        assert!(tokio::time::timeout(2 * ATTEMPT_DELAY, TcpStream::connect(first)).await.is_err(), "it is silent");
        for addresses in [[open, first, second], [first, open, second], [first, second, open]] {
            let connected = tokio::time::timeout(PATIENCE, first_of(&addresses)).await;
            assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), open, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over_and_the_last_error_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let open = listener.local_addr().unwrap();
        // Nothing listens on port 1 of these.
        let closed = [2, 3].map(|last| SocketAddr::new(IpAddr::from([127, 0, 0, last]), 1));
        assert_eq!(first_of(&[closed[0], closed[1], open]).await.unwrap().peer_addr().unwrap(), open);
        assert_eq!(first_of(&closed).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_of(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
