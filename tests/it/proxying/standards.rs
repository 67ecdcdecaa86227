//! Rules of RFC 9110 that concern a gateway: methods (9.1, 15.5.6, 15.6.2), `Max-Forwards` (7.6.2), interim responses (15.2),
//! `Via` (7.6.3), `Expect` (10.1.1), reason phrases, and the case of field names, which old peers compare as they wrote them.

use std::sync::Mutex;
use std::sync::mpsc;

use serde_json::json;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Reply, Scripted, admin, http, request};

fn ask(gateway: &Gateway, line: &str, headers: &[(&str, &str)]) -> Reply {
    request(gateway.data, line, headers, b"")
}

fn status_and_allow(reply: &Reply) -> (u16, Option<&str>, Option<&str>) {
    (reply.status, reply.refusal(), reply.header("allow"))
}

#[test]
fn a_method_that_no_route_of_the_path_takes_is_405_with_those_that_are() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let expected = (405, Some("method_not_allowed"), Some("GET, PUT, DELETE, HEAD, OPTIONS"));
    assert_eq!(status_and_allow(&ask(&gateway, "PATCH /profiles/1", &[])), expected);
    assert_eq!(status_and_allow(&ask(&gateway, "POST /profiles/1", &[])), expected);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, "PATCH /profiles/1", &[], b"{}"));
        assert_eq!(client.read_reply().status, 405, "the connection goes on");
    }
    assert_eq!(upstream.received(), b"");
}

#[test]
fn a_method_that_no_route_takes_is_501_wherever_it_is_sent() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    for method in ["TRACE", "BREW", "get", "PROPFIND"] {
        for path in ["/profiles/1", "/nowhere"] {
            let reply = ask(&gateway, &format!("{method} {path}"), &[]);
            assert_eq!(status_and_allow(&reply), (501, Some("method_not_implemented"), None), "{method} {path}");
        }
    }
    let reply = ask(&gateway, "CONNECT ucs:443", &[]);
    assert_eq!(status_and_allow(&reply), (501, Some("connect"), None));
    assert_eq!(status_and_allow(&ask(&gateway, "GET /nowhere", &[])), (404, Some("unmatched"), None));
    assert_eq!(upstream.received(), b"");
}

#[test]
fn options_of_the_whole_server_end_at_the_gateway_in_either_mode() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    for mode in ["production", "maintenance"] {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode, "force": true})).status, 200);
        for line in ["OPTIONS *", "OPTIONS http://ucs"] {
            let reply = ask(&gateway, line, &[]);
            assert_eq!((reply.status, reply.header("ucs-gateway")), (204, Some("answered")), "{reply:?}");
            assert_eq!(reply.header("allow"), Some("GET, POST, PUT, DELETE, HEAD, OPTIONS"));
            assert_eq!(reply.header("content-length"), None);
        }
    }
    assert_eq!(upstream.received(), b"");
}

#[test]
fn max_forwards_is_counted_down_and_ends_at_zero() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let reply = ask(&gateway, "OPTIONS /profiles/1", &[("Max-Forwards", "0")]);
    let expected = (204, None, Some("GET, PUT, DELETE, HEAD, OPTIONS"));
    assert_eq!(status_and_allow(&reply), expected, "{reply:?}");
    let reply = ask(&gateway, "OPTIONS /nowhere", &[("Max-Forwards", "0")]);
    assert_eq!(status_and_allow(&reply), (404, Some("unmatched"), None));
    let reply = ask(&gateway, "TRACE /profiles/1", &[("Max-Forwards", "0")]);
    assert_eq!(status_and_allow(&reply), (501, Some("method_not_implemented"), None));
    assert_eq!(upstream.received(), b"");
    for (line, sent, passed) in [
        ("OPTIONS /profiles/1", "1", Some("0")),
        ("OPTIONS /profiles/1", "99999999999999999999999", Some("18446744073709551614")),
        ("OPTIONS /profiles/1", "many", None),
        (GET, "0", Some("0")),
    ] {
        let before = upstream.received().len();
        assert_eq!(ask(&gateway, line, &[("Max-Forwards", sent)]).status, 200);
        let head = String::from_utf8(upstream.received().split_off(before)).unwrap();
        let value =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("max-forwards: ").map(str::to_owned));
        assert_eq!(value.as_deref(), passed, "{line} {sent}: {head}");
    }
}

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nConnection: x-hop\r\nX-Hop: a\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn interim_responses_of_ucs_are_passed_on_before_the_final_one_exists() {
    let (sender, go) = mpsc::channel::<()>();
    let go = Mutex::new(go);
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Still Busy\r\n\r\n{EARLY}"));
            let _ = go.lock().unwrap().recv_timeout(PATIENCE);
            conn.write(FINAL);
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for line in [GET, POST] {
        client.send(http::compose(gateway.data, line, &[], if line == POST { b"{}" } else { b"" }));
        assert_eq!(client.read_head().status, 102);
        let early = client.read_head();
        assert_eq!((early.status, early.header("link")), (103, Some("</x>; rel=preload")));
        assert_eq!((early.header("x-hop"), early.header("connection")), (None, None), "{early:?}");
        sender.send(()).unwrap();
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.text(), reply.interim), (200, "ok".to_owned(), vec![]));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn interim_responses_that_come_with_the_final_one_precede_it() {
    let upstream = Scripted::answering(format!("{EARLY}{FINAL}"));
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, GET, &[], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.text(), reply.interim), (200, "ok".to_owned(), vec![103]));
    }
}

#[test]
fn a_client_of_http_1_0_gets_no_interim_response() {
    let upstream = Scripted::answering(format!("{EARLY}{FINAL}"));
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles/1 HTTP/1.0\r\n\r\n");
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.interim), (200, vec![]));
}

/// More interim responses than the system keeps for a client that does not read yet.
#[test]
fn no_byte_of_many_interim_responses_is_lost() {
    const COUNT: usize = 60;
    let long = format!("HTTP/1.1 103 Early Hints\r\nLink: </{}>\r\n\r\n", "x".repeat(4000));
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            (0..COUNT).for_each(|_| conn.write(&long));
            conn.write(FINAL);
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data).with_small_receive_buffer();
    client.send(http::compose(gateway.data, GET, &[], b""));
    client.wait_for_input();
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.text(), reply.interim.len()), (200, "ok".to_owned(), COUNT));
}

#[test]
fn via_names_the_version_that_a_message_came_in() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles/1 HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_reply().header("via"), Some("1.0 ucs-gateway"));
    let seen = upstream.received_text().to_ascii_lowercase();
    assert!(seen.contains("via: 1.0 ucs-gateway\r\n"), "{seen}");
}

#[test]
fn the_reason_phrase_of_ucs_reaches_the_client() {
    for line in ["200 Everything Fine", "404 No Such Customer", "299 ", "599 Gone \u{e4}way", "409"] {
        let upstream = Scripted::answering(format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nok"));
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, GET, &[("Connection", "close")], b""));
        let reply = String::from_utf8(client.read_to_end()).unwrap();
        let expected = format!("HTTP/1.1 {line}{}\r\n", if line.contains(' ') { "" } else { " " });
        assert!(reply.starts_with(&expected), "{line:?}: {reply:?}");
    }
}

#[test]
fn an_expectation_that_cannot_be_met_is_417() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let reply = request(gateway.data, POST, &[("Expect", "100-continue, x-else")], b"{}");
    assert_eq!((reply.status, reply.refusal()), (417, Some("expectation")));
    assert_eq!(upstream.received(), b"");
}

/// Plain lines, others, and one that arrives in two pieces.
const NAMES: [&str; 2] = ["X-MiXeD-NaMe: a\r\nACCEPT:*/*\r\nx_lower: c\r\nX-Tai", "L: d\r\nETag:\t\"e\" \r\n"];
const SEEN: [&str; 5] = ["X-MiXeD-NaMe: a", "ACCEPT: */*", "x_lower: c", "X-TaiL: d", "ETag: \"e\""];

#[test]
fn the_names_of_fields_are_passed_on_as_received() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(format!("PUT /profiles/1 HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n{}", NAMES[0]));
    // The gateway has the first piece once it answers for another connection.
    assert_eq!(ask(&gateway, GET, &[]).status, 200);
    client.send(format!("{}\r\n{{}}", NAMES[1]));
    assert_eq!(client.read_reply().status, 200);
    let seen = upstream.received_text();
    let lines: Vec<&str> = seen.split("\r\n").collect();
    for line in SEEN.iter().chain(&["Host: ucs", "Content-Length: 2"]) {
        assert!(lines.contains(line), "{line:?} in {seen}");
    }
}

#[test]
fn the_names_of_fields_of_ucs_are_passed_on_as_received() {
    for pieces in [1, 2, 40] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\nok", NAMES.concat());
        let upstream = Scripted::start(move |conn| {
            conn.read_request();
            for piece in head.as_bytes().chunks(head.len().div_ceil(pieces)) {
                conn.write(piece);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, GET, &[("Connection", "close")], b""));
        let reply = String::from_utf8(client.read_to_end()).unwrap();
        let lines: Vec<&str> = reply.split("\r\n").collect();
        for line in SEEN.iter().chain(&["Content-Length: 2", "Connection: close"]) {
            assert!(lines.contains(line), "{line:?} in {reply}");
        }
    }
}

#[test]
fn a_field_that_connection_names_is_dropped_in_any_case_and_length() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let long = format!("X-{}-Tail", "Long".repeat(20));
    let headers = [("Connection", &*long.to_ascii_lowercase()), (&*long, "a"), ("X-Kept", "b")];
    assert_eq!(ask(&gateway, GET, &headers).status, 200);
    let seen = upstream.received_text();
    assert!(seen.contains("X-Kept: b\r\n") && !seen.to_ascii_lowercase().contains("-tail"), "{seen}");
}
