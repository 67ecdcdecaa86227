//! Bodies of refused requests: no byte of them is ever read as a request, and a body that is short, or that has come already,
//! does not cost the client its connection.

use std::sync::mpsc;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, admin, eventually, http, nobody_listens};

/// A body that is a request itself, and would be admitted.
const SMUGGLED: &str = "GET /profiles/smuggled HTTP/1.1\r\nHost: ucs\r\n\r\n";

/// The longest rest of a body that is dropped to keep the connection, in bytes.
const SHORT: usize = 64 * 1024;

/// Each is refused before its body is read: by the mode, by the table, by the path.
const REFUSED: [(&str, u16, &str); 3] = [
    ("POST /metadata/profiles/extensions", 503, "mode"),
    ("POST /nowhere", 404, "unmatched"),
    ("POST /profiles/..%2fx", 400, "encoded_slash"),
];

const OPEN: &str = "ucs_gateway_client_connections_open";

/// The connection serves a request as if there had been no refusal.
#[track_caller]
fn serves(client: &mut Connection, gateway: &Gateway) {
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_reply().text(), "ok");
}

#[test]
fn the_body_of_a_refused_request_is_never_a_request() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for (line, status, reason) in REFUSED {
        let head = http::compose(gateway.data, line, &[("Content-Length", &SMUGGLED.len().to_string())], b"");
        // Once in one piece with the head, once behind the refusal, once half and half.
        for early in [SMUGGLED.len(), 0, 20] {
            client.send([&head, &SMUGGLED.as_bytes()[..early]].concat());
            let reply = client.read_reply();
            assert_eq!((reply.status, reply.refusal()), (status, Some(reason)), "{line}");
            assert_eq!(reply.header("connection"), None, "{line}, {early} bytes of the body came with the head");
            client.send(&SMUGGLED[early..]);
            serves(&mut client, &gateway);
        }
    }
    assert!(!upstream.received_text().contains("smuggled"), "{}", upstream.received_text());
    assert_eq!(admin::metric(&gateway, "ucs_gateway_client_connections_total"), 1.0);
}

#[test]
fn a_request_behind_the_body_of_a_refused_one_is_answered() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for (line, status, _) in REFUSED {
        let refused = http::compose(gateway.data, line, &[], SMUGGLED.as_bytes());
        client.send([refused, http::compose(gateway.data, GET, &[], b"")].concat().repeat(3));
        for _ in 0..3 {
            assert_eq!((client.read_reply().status, client.read_reply().text()), (status, "ok".to_owned()), "{line}");
        }
    }
    assert!(!upstream.received_text().contains("smuggled"), "{}", upstream.received_text());
}

#[test]
fn the_chunks_of_a_refused_request_are_never_a_request() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let head = http::compose(gateway.data, "POST /nowhere", &[("Transfer-Encoding", "chunked")], b"");
    let mut client = Connection::open(gateway.data);
    // All of it is there: the next request is where it ends.
    for end in ["0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"] {
        let chunks = format!("{:x}\r\n{SMUGGLED}\r\n{end}", SMUGGLED.len());
        client.send([&head, chunks.as_bytes()].concat());
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (404, None), "{end:?}");
        serves(&mut client, &gateway);
    }
    // The end is not there, or nobody could tell where it is: what follows is dropped, whatever it looks like.
    for chunks in
        ["", "5\r\nhe", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n", "5\r\nhello!\r\n", "five\r\n", "0\r\nHost: a\r\n\r\n"]
    {
        let mut client = Connection::open(gateway.data);
        client.send([&head, chunks.as_bytes()].concat());
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (404, Some("close")), "{chunks:?}");
        let _ = client.try_send(SMUGGLED);
        assert!(client.is_closed(), "{chunks:?}: a second answer came");
    }
    assert!(!upstream.received_text().contains("smuggled"), "{}", upstream.received_text());
}

#[test]
fn a_refused_request_without_a_body_keeps_the_connection() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for (line, status, _) in REFUSED {
        client.send(http::compose(gateway.data, line, &[], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (status, None));
    }
    serves(&mut client, &gateway);
}

#[test]
fn a_short_rest_is_dropped_and_a_long_one_ends_the_connection() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    for (length, keeps) in [(1, true), (SHORT, true), (SHORT + 1, false), (10 * SHORT, false)] {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, "POST /nowhere", &[("Content-Length", &length.to_string())], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection").is_none()), (404, keeps), "{length}");
        client.send("x".repeat(length));
        match keeps {
            true => serves(&mut client, &gateway),
            false => assert!(client.is_closed(), "{length}"),
        }
    }
}

/// Whatever the refusal: what counts is whether the next request can be found.
#[test]
fn every_kind_of_refusal_keeps_the_connection_behind_a_short_body() {
    let ucs_that_is_silent = Scripted::start(|conn| while conn.read_request().is_some() {});
    let ucs_that_breaks = Scripted::start(|conn| drop(conn.read_request()));
    let gone = nobody_listens();
    let long = "x".repeat(1001);
    let chunked = format!("3e9\r\n{long}\r\n0\r\n\r\n");
    let kinds: [(std::net::SocketAddr, &str, &str, &str, u16); 9] = [
        (gone, "POST /server/mode", "Content-Length: 6", "nobody", 401),
        (gone, "POST /server/mode", "Authorization: Bearer wrong\r\nContent-Length: 6", "nobody", 401),
        (gone, POST, "Content-Length: 1001", &long, 413),
        (ucs_that_is_silent.address, POST, "Transfer-Encoding: chunked", &chunked, 413),
        (gone, GET, "X-No: body", "", 502),
        (gone, POST, "Content-Length: 5", "hello", 502),
        (ucs_that_breaks.address, POST, "Content-Length: 5", "hello", 502),
        (ucs_that_is_silent.address, GET, "X-No: body", "", 504),
        (ucs_that_is_silent.address, POST, "Content-Length: 5", "hello", 504),
    ];
    for (ucs, line, field, body, status) in kinds {
        let gateway = Gateway::bare(ucs, &["--max-body", "1000", "--first-byte-timeout", "200ms"]);
        let mut client = Connection::open(gateway.data);
        for _ in 0..2 {
            client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{body}"));
            let reply = client.read_reply();
            assert_eq!((reply.status, reply.header("connection")), (status, None), "{line}, {field}: {}", reply.text());
        }
        assert_eq!(admin::metric(&gateway, "ucs_gateway_client_connections_total"), 1.0);
    }
}

/// A known principal without the right, and one whose words make no sense.
#[test]
fn set_server_mode_that_is_refused_keeps_the_connection() {
    let gateway = Gateway::bare(nobody_listens(), &[]);
    let credential = format!("Bearer {}", gateway.token());
    let mut client = Connection::open(gateway.data);
    for body in ["nonsense", "{\"mode\":\"tea\"}", "[]"] {
        client.send(http::compose(
            gateway.data,
            "POST /server/mode",
            &[("Authorization", &credential), ("Content-Type", "application/json")],
            body.as_bytes(),
        ));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (400, None), "{body}: {}", reply.text());
    }
}

/// The client was told that its connection goes on, and owes the rest.
#[test]
fn a_rest_that_does_not_come_ends_the_connection() {
    let upstream = Scripted::ok();
    let limits = ["--idle-body-timeout", "300ms", "--min-body-rate", "100KiB"];
    let gateway = Gateway::bare(upstream.address, &limits);
    for drips in [false, true] {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, "POST /nowhere", &[("Content-Length", "60000")], b""));
        assert_eq!(client.read_reply().status, 404);
        let (over, told) = mpsc::channel::<()>();
        let mut sender = client.another_handle();
        let dripping = std::thread::spawn(move || {
            while drips && told.try_recv().is_err() && sender.try_send("x").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        eventually("its connection is closed", || admin::metric(&gateway, OPEN) == 0.0);
        assert!(client.is_closed(), "drips: {drips}");
        let _ = over.send(());
        dripping.join().unwrap();
    }
    assert_eq!(upstream.connections(), 0);
}

/// RFC 9112, 9.3.1: half a body is none, and what was to follow it does not come.
#[test]
fn a_rest_that_breaks_off_ends_the_connection() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, "POST /nowhere", &[("Content-Length", "1000")], b""));
    assert_eq!(client.read_reply().status, 404);
    client.send(SMUGGLED);
    client.half_close();
    assert!(client.is_closed());
    assert_eq!(upstream.connections(), 0);
}

/// UCS may take the rest of a body while its answer comes down: that one is not dropped.
#[test]
fn the_rest_of_a_body_that_ucs_answered_early_still_goes_up() {
    let (sender, body) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        let _ = sender.send(conn.read_exact(10));
        conn.write("0\r\n\r\n");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "10")], b""));
    client.send("hello");
    let head = client.read_head();
    assert_eq!((head.status, head.header("connection")), (200, Some("close")));
    client.send("world");
    assert_eq!(body.recv_timeout(PATIENCE).unwrap().as_deref(), Some(&b"helloworld"[..]));
    assert!(client.read_to_end().ends_with(b"0\r\n\r\n"));
}
