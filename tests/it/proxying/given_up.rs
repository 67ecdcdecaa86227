//! What the gateway gives up leaves nothing with the system: neither what a client did not read, nor what UCS did not take of a
//! request.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use serde_json::json;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, admin, eventually, http, kernel};

const LONG: u64 = 64 << 20;

/// More than the system takes without a reader, and less than the gateway keeps there.
const SHORT: usize = 100_000;

/// Answers with more than anybody reads.
fn endless() -> Scripted {
    Scripted::start(|conn| {
        if conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
            conn.write_pattern(LONG, PATIENCE, |_| {});
        }
    })
}

fn ask(gateway: &Gateway, request: impl AsRef<[u8]>) -> Connection {
    let mut client = Connection::open(gateway.data).with_small_receive_buffer();
    client.send(request);
    client
}

fn get(gateway: &Gateway) -> Vec<u8> {
    http::compose(gateway.data, GET, &[], b"")
}

/// That these clients, which are still there, have been left, by the system too.
#[track_caller]
fn nothing_is_left_of(clients: &[Connection], gateway: &Gateway) {
    assert!(!clients.is_empty());
    eventually("the gateway has left them", || admin::metric(gateway, "ucs_gateway_client_connections_open") == 0.0);
    eventually("the system holds nothing for them", || kernel::accepted_by(gateway.data).is_empty());
}

#[test]
fn of_clients_that_read_nothing_the_system_keeps_nothing() {
    let upstream = endless();
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "1s"]);
    let clients: Vec<Connection> = (0..30).map(|_| ask(&gateway, get(&gateway))).collect();
    // Not that all are stuck at the same time: the first may be over when the last begins.
    eventually("each is given up", || admin::ended(&gateway, "profile") == clients.len() as f64);
    nothing_is_left_of(&clients, &gateway);
}

#[test]
fn of_clients_that_read_too_slowly_the_system_keeps_nothing() {
    let upstream = endless();
    let flags = ["--idle-body-timeout", "1s", "--min-body-rate", "1GiB"];
    let gateway = Gateway::bare(upstream.address, &flags);
    let mut client = Connection::open(gateway.data);
    client.send(get(&gateway));
    let reading = std::thread::spawn(move || {
        // Until it is cut; it never ends by itself.
        while !client.read_some().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        client
    });
    eventually("it is given up", || admin::ended(&gateway, "profile") == 1.0);
    nothing_is_left_of(&[reading.join().unwrap()], &gateway);
}

#[test]
fn of_clients_that_a_flip_cuts_the_system_keeps_nothing() {
    let upstream = endless();
    let gateway = Gateway::bare(upstream.address, &["--orphan-grace", "0s", "--drain-client-timeout", "1m"]);
    let clients: Vec<Connection> = (0..3).map(|_| ask(&gateway, get(&gateway))).collect();
    eventually("they are answered", || {
        kernel::accepted_by(gateway.data).iter().filter(|socket| socket.unsent > 0).count() == clients.len()
    });
    let change = json!({"mode": "maintenance", "drain_timeout": "200ms", "on_timeout": "cut"});
    assert_eq!(admin::set_mode(&gateway, &change).status, 200);
    nothing_is_left_of(&clients, &gateway);
}

#[test]
fn of_clients_that_a_stop_leaves_the_system_keeps_nothing() {
    let upstream = endless();
    let gateway = Gateway::bare(upstream.address, &["--stop-timeout", "200ms"]);
    let data = gateway.data;
    let clients: Vec<Connection> = (0..3).map(|_| ask(&gateway, get(&gateway))).collect();
    eventually("they are answered", || {
        kernel::accepted_by(data).iter().filter(|socket| socket.unsent > 0).count() == clients.len()
    });
    assert!(gateway.terminate(PATIENCE).success());
    assert!(kernel::accepted_by(data).is_empty(), "{:?}", kernel::accepted_by(data));
}

/// The gateway's own responses, and a client that half-closes.
#[test]
fn of_clients_that_read_no_refusal_the_system_keeps_nothing() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "1s"]);
    let refused = http::compose(gateway.data, "GET /nowhere", &[], b"");
    let clients: Vec<Connection> = (0..3)
        .map(|number| {
            let mut client = Connection::open(gateway.data).with_small_receive_buffer();
            // It may be given up while it still sends.
            let _ = client.try_send(refused.repeat(4000));
            if number == 0 {
                client.half_close();
            }
            client
        })
        .collect();
    nothing_is_left_of(&clients, &gateway);
}

/// The gateway has done its part, so this end is a regular one; but the system does not offer the rest for ever.
#[test]
fn the_system_does_not_offer_a_whole_response_for_ever() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SHORT}\r\n\r\n{}", "x".repeat(SHORT));
    let upstream = Scripted::answering(answer);
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "1s"]);
    let request = http::compose(gateway.data, GET, &[("Connection", "close")], b"");
    let clients: Vec<Connection> = (0..3).map(|_| ask(&gateway, &request)).collect();
    nothing_is_left_of(&clients, &gateway);
    assert_eq!(
        admin::metric(&gateway, "ucs_gateway_requests_total{class=\"profile\",outcome=\"forwarded_2xx\"}"),
        clients.len() as f64
    );
}

#[test]
fn a_slow_reader_gets_the_whole_of_a_last_response() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SHORT}\r\n\r\n{}", "x".repeat(SHORT));
    let upstream = Scripted::answering(answer);
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "5s"]);
    let mut client = ask(&gateway, http::compose(gateway.data, GET, &[("Connection", "close")], b""));
    eventually("the gateway is done", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 0.0);
    assert_eq!(client.read_reply().body.len(), SHORT);
    assert!(!client.is_cut(), "a regular end");
}

/// Half of it is more than UCS's own side takes.
const UPLOAD: usize = 3_000_000;

/// An upload that UCS does not take, and what UCS got of it in the end, when it reads on after the flip has settled.
#[test]
fn of_an_upload_that_was_given_up_ucs_gets_nothing_more() {
    let (sender, go_on) = mpsc::channel::<()>();
    let go_on = Mutex::new(go_on);
    let (done, ended) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.leaves_unread();
        let _ = go_on.lock().unwrap().recv_timeout(PATIENCE * 3);
        let _ = done.send(conn.is_reset_after_all());
    });
    let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "500ms", "--orphan-grace", "0s"]);
    let mut client = Connection::open(gateway.data);
    let _ = client.try_send(http::compose(gateway.data, POST, &[], &vec![b'x'; UPLOAD]));
    eventually("it is given up", || {
        let outcome = "ucs_gateway_requests_total{class=\"profile\",outcome=\"upstream_timeout\"}";
        admin::metric(&gateway, outcome) == 1.0
    });
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    let left = kernel::connected_to(upstream.address);
    assert!(left.is_empty(), "settled, and the system still sends: {left:?}");
    sender.send(()).unwrap();
    assert!(ended.recv_timeout(PATIENCE).unwrap(), "UCS can tell that the request is not whole");
    assert!(upstream.received().len() < UPLOAD, "UCS got {} bytes", upstream.received().len());
}

/// Each way of giving up, as UCS sees it; the gateway's regular ends are none of them.
#[test]
fn ucs_sees_a_reset_whenever_an_exchange_is_given_up_and_else_an_end() {
    let (told, heard) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        let Some(head) = conn.read_head() else { return };
        let answers = [
            ("/profiles/half", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
            ("/profiles/early", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"),
            ("/profiles/nonsense", "nonsense\r\n\r\n"),
            ("/profiles/whole", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwhole"),
            ("/profiles/204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ];
        if let Some((_, answer)) = answers.iter().find(|(path, _)| head.contains(path)) {
            conn.write(answer);
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let _ = told.send((path, conn.is_reset_after_all()));
    });
    let flags = ["--first-byte-timeout", "400ms", "--idle-body-timeout", "400ms", "--orphan-grace", "0s"];
    let gateway = Gateway::bare(upstream.address, &flags);
    let outcome_of = |line: &str, length: &str, leaves: bool| {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[("Content-Length", length)], b""));
        if leaves {
            eventually("UCS has it", || upstream.received_text().contains(line));
            client.reset();
        }
        let (path, is_reset) = heard.recv_timeout(PATIENCE).unwrap();
        assert!(line.ends_with(&path), "{line}, {path}");
        is_reset
    };
    assert!(outcome_of("GET /profiles/silent", "0", false), "no first byte");
    assert!(outcome_of("GET /profiles/half", "0", false), "a body that stops");
    assert!(outcome_of("GET /profiles/nonsense", "0", false), "nonsense");
    assert!(outcome_of("GET /profiles/left", "0", true), "a client that left a safe request");
    assert!(outcome_of("PUT /profiles/stalled", "9", false), "a client that stalls");
    assert!(outcome_of("PUT /profiles/early", "9", false), "an answer before the request was whole");
    assert!(!outcome_of("GET /profiles/whole", "0", false), "a whole answer, and no more");
    assert!(!outcome_of("GET /profiles/204", "0", false), "an answer without a body");
}
