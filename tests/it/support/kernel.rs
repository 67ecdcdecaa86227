//! What the system holds of TCP connections, whoever has closed them: `/proc/net/tcp`.

use std::net::SocketAddr;
use std::time::Duration;

use super::eventually;

/// The most that the system holds of a client's bytes for the gateway: its buffer of 128 KiB, doubled by the kernel, and one segment
/// beyond it, which kernels before 6.17 take.
pub const FROM_CLIENT: u64 = 320 << 10;

/// One socket of IPv4.
#[derive(Debug)]
pub struct Socket {
    /// As the system numbers them: 1 established, 4 FIN-WAIT-1, 5 FIN-WAIT-2, 6 TIME-WAIT, 10 listening.
    pub state: u8,
    /// Bytes that the other side has not acknowledged.
    pub unsent: u64,
    /// Bytes that have arrived and were not read.
    pub unread: u64,
    local: u16,
    remote: u16,
}

const LISTENING: u8 = 10;
const TIME_WAIT: u8 = 6;

/// A server's side of its connections; without those that wait for nothing but the time to pass.
pub fn accepted_by(server: SocketAddr) -> Vec<Socket> {
    sockets().filter(|socket| socket.local == server.port()).collect()
}

/// The clients' side of the connections to a server, likewise.
pub fn connected_to(server: SocketAddr) -> Vec<Socket> {
    sockets().filter(|socket| socket.remote == server.port()).collect()
}

/// The one socket of the gateway towards this side, once it holds no more than a second ago.
#[track_caller]
pub fn settled(sockets: impl Fn() -> Vec<Socket>, held: impl Fn(&Socket) -> u64) -> u64 {
    let (mut before, mut equal) = (0, 0);
    eventually("the socket holds no more", || {
        let [socket] = &sockets()[..] else { return false };
        let now = held(socket);
        equal = if now > 0 && now == before { equal + 1 } else { 0 };
        before = now;
        std::thread::sleep(Duration::from_millis(100));
        equal == 10
    });
    before
}

fn sockets() -> impl Iterator<Item = Socket> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets: Vec<Socket> = table.lines().skip(1).map(socket).collect();
    sockets.into_iter().filter(|socket| !matches!(socket.state, LISTENING | TIME_WAIT))
}

fn socket(line: &str) -> Socket {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let (unsent, unread) = fields[4].split_once(':').unwrap();
    Socket {
        state: u8::from_str_radix(fields[3], 16).unwrap(),
        unsent: u64::from_str_radix(unsent, 16).unwrap(),
        unread: u64::from_str_radix(unread, 16).unwrap(),
        local: port(fields[1]),
        remote: port(fields[2]),
    }
}
