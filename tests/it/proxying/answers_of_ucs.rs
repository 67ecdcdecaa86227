//! UCS answering in ways that are right but rare: early, in tiny pieces, as an old server, with more than was asked for.

use std::sync::mpsc;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, admin, eventually, http, request};

#[test]
fn an_upload_goes_on_while_the_answer_already_comes_down() {
    const LENGTH: u64 = 8 << 20;
    let upstream = Scripted::start(|conn| {
        conn.read_head();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        assert_eq!(conn.read_pattern(LENGTH), LENGTH);
        conn.write("cd");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", &LENGTH.to_string())], b""));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_exact(2), b"ab");
    let stuck = |written| panic!("the gateway took no more than {written} bytes");
    assert_eq!(client.write_pattern(LENGTH, PATIENCE, stuck), LENGTH);
    assert_eq!(client.read_exact(2), b"cd");
    eventually("all is counted out", || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}") == 0.0);
}

#[test]
fn a_refusal_of_ucs_reaches_a_client_whose_body_it_did_not_read() {
    let (sender, received) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        conn.write("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge");
        sender.send(()).unwrap();
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "1000000")], b""));
    received.recv_timeout(PATIENCE).unwrap();
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.text()), (413, "large".to_owned()));
}

/// The answer is whole before the body is: what is left of that must be read as nothing at all.
#[test]
fn the_rest_of_a_body_that_ucs_did_not_wait_for_is_never_a_request() {
    const SMUGGLED: &str = "GET /profiles/smuggled HTTP/1.1\r\nHost: ucs\r\n\r\n";
    let upstream = Scripted::start(|conn| {
        while conn.read_head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    for framing in [("Content-Length", "5000"), ("Transfer-Encoding", "chunked")] {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, POST, &[framing], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        let _ = client.try_send(SMUGGLED.repeat(3));
        assert!(client.read_to_end().is_empty());
        // The next request must not get the answer to what was left over, either.
        assert_eq!(request(gateway.data, GET, &[], b"").text(), "ok");
    }
    assert!(!upstream.received_text().contains("smuggled"), "{}", upstream.received_text());
    assert_eq!(upstream.connections(), 3, "a connection with half a request serves no other one");
}

#[test]
fn chunks_that_come_byte_by_byte_are_one_body() {
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\nA\r\n two three\r\n0\r\n\r\n"
            {
                conn.write([*byte]);
            }
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_eq!(client.read_reply().text(), "one two three");
    }
    assert_eq!(upstream.connections(), 1, "it stays in step");
}

/// Old servers pad a size with blanks; the grammar allows zeros before it, and extensions of many forms behind it.
#[test]
fn what_may_stand_beside_the_size_of_a_chunk_is_taken_and_not_passed_on() {
    let lines = [
        "5   ",
        "5\t",
        "5 \t ",
        "5;a=b",
        "5 ;a=b",
        "5\t;\ta = b",
        "5;a",
        "5;a;b=c ;d",
        "5;a=\"b;c\\\"d\"",
        "5; a=b ",
        "0000000000000000000005",
        "005",
        "05 ;a",
    ];
    let many = ";a=0123456789".repeat(10);
    let mut lines: Vec<String> = lines.map(str::to_owned).to_vec();
    lines.push(format!("5{many}"));
    let lasts = ["0", "0   ", "000", "0 ;a=b", "0;a"];
    let bodies = lines.iter().flat_map(|line| lasts.map(|last| (line.clone(), last)));
    let bodies: Vec<(String, &str)> = bodies.collect();
    let asked = bodies.clone();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            let number: usize = request.head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().parse().unwrap();
            let (line, last) = &asked[number];
            // Often: extensions are limited in a line, not in a body.
            let chunks = format!("{line}\r\nHello\r\n").repeat(20);
            conn.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{last}\r\n\r\n"));
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    for (number, (line, last)) in bodies.iter().enumerate() {
        client.send(http::compose(gateway.data, &format!("GET /profiles/{number}"), &[], b""));
        assert_eq!(client.read_reply().text(), "Hello".repeat(20), "{line:?}, {last:?}");
        let mut other = Connection::open(gateway.data);
        let close = [("Connection", "close")];
        other.send(http::compose(gateway.data, &format!("GET /profiles/{number}"), &close, b""));
        let raw = String::from_utf8(other.read_to_end()).unwrap();
        let (_, framed) = raw.split_once("\r\n\r\n").unwrap();
        assert!(!framed.contains([' ', '\t', ';', '=']), "{line:?}, {last:?}: {framed:?}");
    }
    assert_eq!(upstream.connections(), 1, "it stays in step");
}

#[test]
fn an_old_ucs_is_understood() {
    for (line, connections) in [("", 2), ("Connection: keep-alive\r\n", 1)] {
        let upstream = Scripted::answering(format!("HTTP/1.0 200 OK\r\n{line}Content-Length: 2\r\n\r\nok"));
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data);
        for _ in 0..2 {
            client.send(http::compose(gateway.data, GET, &[], b""));
            let reply = client.read_reply();
            assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()), "{line}");
        }
        assert_eq!(upstream.connections(), connections, "{line:?}");
    }
}

#[test]
fn what_ucs_sends_behind_its_answer_meets_no_other_request() {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let upstream = Scripted::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{extra}"));
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..3 {
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_eq!(client.read_reply().text(), "ok");
    }
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_head_that_drips_ends_at_the_deadline() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\nA: ");
        while conn.try_write("x") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "300ms"]);
    let reply = request(gateway.data, POST, &[], b"x");
    assert_eq!((reply.status, reply.refusal()), (504, Some("upstream_timeout")));
}

#[test]
fn interim_answers_that_go_on_and_on_end_at_the_deadline() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        while conn.try_write("HTTP/1.1 102 Processing\r\n\r\n") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "300ms"]);
    let reply = request(gateway.data, GET, &[], b"");
    assert_eq!((reply.status, reply.refusal()), (504, Some("upstream_timeout")));
}
