//! UCS late, gone, cut off, or talking nonsense: the client is told, or cut off where it was told half already.

use std::sync::mpsc;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, admin, eventually, http, nobody_listens, request};

const IN_FLIGHT: &str = "ucs_gateway_in_flight{set=\"production\"}";
const ABANDONED: &str = "ucs_gateway_abandoned{class=\"profile\"}";

#[test]
fn a_ucs_that_is_not_there_is_a_502() {
    let gateway = Gateway::bare(nobody_listens(), &[]);
    for (line, body) in [(GET, &b""[..]), (POST, b"x")] {
        let reply = request(gateway.data, line, &[], body);
        assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_unreachable")));
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(admin::metric(&gateway, "ucs_gateway_upstream_errors_total{kind=\"connect\"}"), 2.0);
    assert_eq!((admin::metric(&gateway, IN_FLIGHT), admin::metric(&gateway, ABANDONED)), (0.0, 0.0));
}

#[test]
fn a_ucs_that_comes_back_is_found_at_once() {
    let address = nobody_listens();
    let gateway = Gateway::bare(address, &[]);
    assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 502);
    let _ucs = crate::support::Ucs::start_at(address, ucs_gateway::demo::StandInOptions::new());
    assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 200);
}

#[test]
fn a_late_ucs_is_a_504_and_given_up() {
    for (line, body) in [(GET, &b""[..]), (POST, b"x")] {
        let (sender, dropped) = mpsc::channel();
        let upstream = Scripted::start(move |conn| {
            conn.read_request();
            let _ = sender.send(conn.is_closed());
        });
        let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "300ms"]);
        let reply = request(gateway.data, line, &[], body);
        assert_eq!((reply.status, reply.refusal()), (504, Some("upstream_timeout")), "{line}");
        assert_eq!(dropped.recv_timeout(PATIENCE), Ok(true), "its late answer must meet no other request");
        eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
        assert_eq!(admin::metric(&gateway, ABANDONED), 1.0, "UCS may still be at it");
    }
}

#[test]
fn the_wait_for_an_answer_begins_with_the_last_byte_of_the_request() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--first-byte-timeout", "3s"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "5")], b""));
    for piece in ["hel", "l"] {
        client.send(piece);
        assert!(client.is_silent_for(std::time::Duration::from_secs(2)), "the client may take its time");
    }
    client.send("o");
    let sent = std::time::Instant::now();
    let reply = client.read_reply();
    // A machine that stands still for the whole timeout proves nothing.
    assert!(reply.status == 200 || sent.elapsed() > std::time::Duration::from_secs(3), "{}", reply.text());
}

#[test]
fn nonsense_is_a_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let answers = [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        &long,
    ];
    for answer in answers {
        let upstream = Scripted::answering(answer);
        let gateway = Gateway::bare(upstream.address, &[]);
        let reply = request(gateway.data, POST, &[], b"x");
        let shown = &answer[..answer.len().min(80)];
        assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")), "{shown:?}");
        assert_eq!(upstream.received_text().matches("POST").count(), 1, "{shown:?}: sent twice");
    }
}

#[test]
fn a_ucs_that_hangs_up_instead_of_answering_is_a_502() {
    for beginning in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        for abruptly in [false, true] {
            let upstream = Scripted::start(move |conn| {
                conn.read_request();
                conn.write(beginning);
                if abruptly {
                    conn.reset();
                }
            });
            let gateway = Gateway::bare(upstream.address, &[]);
            for (line, body) in [(GET, &b""[..]), (POST, b"x")] {
                let reply = request(gateway.data, line, &[], body);
                assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")), "{line} {beginning:?}");
            }
            assert_eq!(upstream.connections(), 2, "a fresh connection that broke is no stale one: not sent again");
            let (running, abandoned) = (admin::metric(&gateway, IN_FLIGHT), admin::metric(&gateway, ABANDONED));
            assert_eq!((running, abandoned), (0.0, 2.0), "a connection that broke does not say that UCS has stopped");
        }
    }
}

#[test]
fn an_answer_with_two_framings_is_passed_on_with_one() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    let reply = client.read_reply();
    // RFC 9112 6.3: the encoding wins; a length beside it must not go on. Refusing such an answer is as good.
    match reply.status {
        502 => assert_eq!(reply.refusal(), Some("upstream_broken")),
        status => assert_eq!((status, reply.text(), reply.header("content-length")), (200, "ok".to_owned(), None)),
    }
}

/// The beginning of an answer, in both framings.
const BEGINNINGS: [&str; 2] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf of it\r\n",
];

#[test]
fn an_answer_that_ends_early_never_looks_whole_to_the_client() {
    for beginning in BEGINNINGS {
        for abruptly in [false, true] {
            let upstream = Scripted::start(move |conn| {
                conn.read_request();
                conn.write(beginning);
                if abruptly {
                    conn.reset();
                }
            });
            let gateway = Gateway::bare(upstream.address, &[]);
            for (line, body) in [(GET, &b""[..]), (POST, b"x")] {
                let mut client = Connection::open(gateway.data);
                client.send(http::compose(gateway.data, line, &[], body));
                assert_cut(&mut client);
            }
            eventually("all is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
        }
    }
}

#[test]
fn an_answer_that_stalls_is_cut_for_both_sides() {
    for beginning in BEGINNINGS {
        let (sender, dropped) = mpsc::channel();
        let upstream = Scripted::start(move |conn| {
            conn.read_request();
            conn.write(beginning);
            let _ = sender.send(conn.is_closed());
        });
        let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "300ms"]);
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_cut(&mut client);
        assert_eq!(dropped.recv_timeout(PATIENCE), Ok(true));
        eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
        assert_eq!(admin::metric(&gateway, ABANDONED), 1.0, "UCS may still be at it");
    }
}

/// The answer began with 200 and was cut: no end of a length or of chunks that a client could take for the whole.
#[track_caller]
fn assert_cut(client: &mut Connection) {
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    // A reset may take even the beginning away; what must not come is an end.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("\r\n0\r\n"), "{answer}");
    if let Some((_, body)) = answer.split_once("\r\n\r\n") {
        assert!(body.len() < 100, "{answer}");
    }
}
