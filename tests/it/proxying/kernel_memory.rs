//! What the system holds for one connection while the other side reads no more: a bounded amount, towards clients and towards
//! UCS, however much is sent. The other side has read much before, as the kernel's own limits grow with that.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use super::GET;
use crate::support::kernel::{self, FROM_CLIENT, Socket, settled};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, http};

const LONG: u64 = 64 << 20;

/// For a client that does not read: 64 KiB, one segment of the kernel beyond them, and what is on the way.
const TO_CLIENT: u64 = 256 << 10;
/// Of UCS's bytes: its buffer of 64 KiB, doubled by the kernel, and one segment beyond it.
const FROM_UCS: u64 = 192 << 10;
/// For a UCS that does not read: 128 KiB, one segment of the kernel beyond them, and what is on the way.
const TO_UCS: u64 = 384 << 10;

/// Reads much, with pauses, so that the kernel takes the connection for one of a long delay, which needs large buffers: megabytes
/// without a limit, where one that was never read gets 128 KiB.
fn read_in_bursts(mut read: impl FnMut(usize)) {
    for _ in 0..16 {
        read(1 << 20);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn towards_ucs(upstream: SocketAddr) -> Vec<Socket> {
    kernel::connected_to(upstream)
}

#[test]
fn of_a_response_that_is_not_read_the_system_holds_little_on_either_side() {
    let upstream = Scripted::start(|conn| {
        if conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
            conn.write_pattern(LONG, PATIENCE, |_| {});
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    client.read_head();
    read_in_bursts(|length| drop(client.read_exact(length)));
    let unread = settled(|| towards_ucs(upstream.address), |socket| socket.unread);
    assert!(unread <= FROM_UCS, "{unread} bytes of UCS");
    let unsent = settled(|| kernel::accepted_by(gateway.data), |socket| socket.unsent);
    assert!(unsent <= TO_CLIENT, "{unsent} bytes for the client");
}

#[test]
fn of_a_request_that_ucs_does_not_read_the_system_holds_little_on_either_side() {
    let (over, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        read_in_bursts(|length| drop(conn.read_exact(length)));
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: {LONG}\r\n\r\n"));
    let mut sender = client.another_handle();
    let sending = std::thread::spawn(move || sender.write_pattern(LONG, PATIENCE, |_| {}));
    let unsent = settled(|| towards_ucs(upstream.address), |socket| socket.unsent);
    assert!(unsent <= TO_UCS, "{unsent} bytes for UCS");
    let unread = settled(|| kernel::accepted_by(gateway.data), |socket| socket.unread);
    assert!(unread <= FROM_CLIENT, "{unread} bytes of the client");
    drop(gateway);
    drop(over);
    sending.join().unwrap();
}
