//! Bodies of any length go through piece by piece, in both directions, and a slow side is felt by the other one instead
//! of by the gateway's memory.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, http, request};

const GIB: u64 = 1 << 30;

/// What the gateway may need beyond what it had, for any body.
const GROWTH_KIB: u64 = 32 * 1024;

/// What the sockets on the way may hold: two send and two receive buffers at their largest.
const SOCKET_BUFFERS: u64 = 32 << 20;

/// Long enough that a side which could write would have written.
const STUCK: Duration = Duration::from_millis(500);

#[test]
fn a_download_of_a_gibibyte_needs_no_memory() {
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
            conn.write_pattern(GIB, PATIENCE, |_| {});
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let before = gateway.peak_kib();
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_pattern(GIB), GIB);
    let growth = gateway.peak_kib() - before;
    assert!(growth < GROWTH_KIB, "grew by {growth} KiB");
}

#[test]
fn an_upload_of_a_gibibyte_needs_no_memory() {
    let upstream = Scripted::start(|conn| {
        while conn.read_head().is_some() {
            let body = conn.read_pattern(GIB).to_string();
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let before = gateway.peak_kib();
    client.send(http::compose(gateway.data, POST, &[("Content-Length", &GIB.to_string())], b""));
    assert_eq!(client.write_pattern(GIB, PATIENCE, |_| {}), GIB);
    assert_eq!(client.read_reply().text(), GIB.to_string());
    let growth = gateway.peak_kib() - before;
    assert!(growth < GROWTH_KIB, "grew by {growth} KiB");
}

#[test]
fn a_client_that_does_not_read_is_felt_by_ucs() {
    const LENGTH: u64 = 256 << 20;
    let (stuck_sender, stuck) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        conn.write_pattern(LENGTH, STUCK, |count| {
            let _ = stuck_sender.send(count);
        });
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let before = gateway.peak_kib();
    client.send(http::compose(gateway.data, GET, &[], b""));
    let written = stuck.recv_timeout(PATIENCE).expect("UCS cannot go on while the client does not read");
    assert!(written < SOCKET_BUFFERS, "{written} bytes went out though nobody read");
    let growth = gateway.peak_kib() - before;
    assert!(growth < GROWTH_KIB, "grew by {growth} KiB");
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_pattern(LENGTH), LENGTH, "it goes on when the client does");
}

#[test]
fn a_ucs_that_does_not_read_is_felt_by_the_client() {
    const LENGTH: u64 = 256 << 20;
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        let _ = told.lock().unwrap().recv_timeout(PATIENCE);
        let body = conn.read_pattern(LENGTH).to_string();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let before = gateway.peak_kib();
    client.send(http::compose(gateway.data, POST, &[("Content-Length", &LENGTH.to_string())], b""));
    let mut first_stop = None;
    let written = client.write_pattern(LENGTH, STUCK, |count| {
        first_stop.get_or_insert(count);
        let _ = go_on.send(());
    });
    assert_eq!(written, LENGTH);
    let first_stop = first_stop.expect("the client cannot go on while UCS does not read");
    assert!(first_stop < SOCKET_BUFFERS, "{first_stop} bytes went out though nobody read");
    assert_eq!(client.read_reply().text(), LENGTH.to_string());
    let growth = gateway.peak_kib() - before;
    assert!(growth < GROWTH_KIB, "grew by {growth} KiB");
}

#[test]
fn a_piece_of_an_answer_does_not_wait_for_the_next() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        let _ = told.lock().unwrap().recv_timeout(PATIENCE);
        conn.write("3\r\ntwo\r\n0\r\n\r\n");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_exact(8), b"3\r\none\r\n");
    go_on.send(()).unwrap();
    assert_eq!(client.read_exact(13), b"3\r\ntwo\r\n0\r\n\r\n");
}

#[test]
fn a_piece_of_a_request_does_not_wait_for_the_next() {
    let (sender, seen) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        sender.send(conn.read_exact(8)).unwrap();
        sender.send(conn.read_exact(13)).unwrap();
        conn.write("HTTP/1.1 204 No Content\r\n\r\n");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Transfer-Encoding", "chunked")], b""));
    client.send("3\r\none\r\n");
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().unwrap(), b"3\r\none\r\n");
    client.send("3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().unwrap(), b"3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(client.read_reply().status, 204);
}

#[test]
fn an_answer_before_the_request_was_read_reaches_the_client() {
    let upstream = Scripted::start(|conn| {
        conn.read_head();
        conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        // The rest of the body is not read, as servers do; the gateway must not send its next request behind it.
        conn.read_request();
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "100000")], b""));
    client.send([b'x'; 1000]);
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.text(), reply.refusal()), (413, "big".to_owned(), None));
    let second = request(gateway.data, GET, &[], b"");
    assert_eq!(second.status, 413);
    assert_eq!(upstream.connections(), 2, "a connection with half a request on it is not used again");
}

/// The gateway's buffers must not hide its progress: a third of them is more than UCS takes within the limit. UCS's own system tells
/// of it in steps of some 400 KB.
#[test]
fn a_ucs_that_reads_an_upload_steadily_is_not_given_up() {
    const LENGTH: usize = 16 << 20;
    let pause = Arc::new(Mutex::new(Duration::ZERO));
    let longest = Arc::clone(&pause);
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        for _ in 0..30 {
            let began = Instant::now();
            conn.read_exact(64 << 10);
            // Its pace.
            std::thread::sleep(Duration::from_millis(600));
            let mut longest = longest.lock().unwrap();
            *longest = longest.max(began.elapsed());
        }
        if conn.read_exact(LENGTH - 30 * (64 << 10)).is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "10s"]);
    // A busy machine may hold UCS up, so that it does not keep its pace.
    for _ in 0..3 {
        let reply = request(gateway.data, POST, &[], &vec![b'x'; LENGTH]);
        let pause = std::mem::take(&mut *pause.lock().unwrap());
        if reply.status == 200 || pause < Duration::from_secs(1) {
            assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()), "the longest pause of UCS was {pause:?}");
            return;
        }
    }
}
