//! Messages that have no body though their headers speak of one, that come in several heads, or that go on after it.

use std::sync::mpsc;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, http, nobody_listens, request};

#[test]
fn the_answer_to_head_has_headers_and_no_body() {
    let upstream = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n");
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, "HEAD /profiles/1", &[], b""));
        let reply = client.read_reply_to_head();
        assert_eq!(
            (reply.status, reply.header("content-length"), reply.header("etag")),
            (200, Some("1234"), Some("\"a\""))
        );
    }
    assert_eq!(upstream.connections(), 2, "the length speaks of a body, which might still come");
    assert!(upstream.received_text().starts_with("HEAD /profiles/1 HTTP/1.1\r\n"));
}

#[test]
fn a_refusal_of_head_has_no_body_either() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, "HEAD /nowhere", &[], b""));
        let reply = client.read_reply_to_head();
        assert_eq!((reply.status, reply.refusal()), (404, Some("unmatched")));
    }
}

#[test]
fn answers_without_a_body_keep_both_connections_in_step() {
    for (status, headers) in [("204 No Content", ""), ("304 Not Modified", "ETag: \"a\"\r\nContent-Length: 0\r\n")] {
        let upstream = Scripted::answering(format!("HTTP/1.1 {status}\r\n{headers}\r\n"));
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data);
        for _ in 0..2 {
            client.send(http::compose(gateway.data, GET, &[], b""));
            let reply = client.read_reply();
            assert!(status.starts_with(&reply.status.to_string()), "{reply:?}");
            assert_eq!(reply.header("transfer-encoding"), None, "{reply:?}");
        }
        assert_eq!(upstream.connections(), 1, "{status}");
    }
}

/// As an old server does that sends the body all the same: in a write of its own, when the next request may be under way.
#[test]
fn a_body_that_may_not_be_and_comes_late_meets_no_other_request() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (length, chunks) = (format!("Content-Length: {}", EVIL.len()), "Transfer-Encoding: chunked".to_owned());
    for (line, status) in [("HEAD /profiles/1", "200 OK"), (GET, "204 No Content"), (GET, "304 Not Modified")] {
        for framing in [&length, &chunks] {
            let (sender, late) = mpsc::channel::<()>();
            let late = std::sync::Mutex::new(late);
            let head = format!("HTTP/1.1 {status}\r\n{framing}\r\n\r\n");
            let upstream = Scripted::start(move |conn| {
                while let Some(request) = conn.read_request() {
                    if request.head.contains("/profiles/next") {
                        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
                    } else {
                        conn.write(&head);
                        let _ = late.lock().unwrap().recv_timeout(PATIENCE);
                        conn.write(EVIL);
                    }
                }
            });
            let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
            let mut client = Connection::open(gateway.data);
            client.send(http::compose(gateway.data, line, &[], b""));
            let reply = client.read_reply_to_head();
            assert!(status.starts_with(&reply.status.to_string()), "{reply:?}");
            client.send(http::compose(gateway.data, "GET /profiles/next", &[], b""));
            sender.send(()).unwrap();
            assert_eq!(client.read_reply().text(), "good", "{line}, {status}, {framing}");
            assert_eq!(upstream.connections(), 2);
        }
    }
}

#[test]
fn a_head_that_speaks_of_no_body_keeps_both_connections() {
    for headers in ["", "Content-Length: 0\r\n", "ETag: \"a\"\r\n"] {
        let upstream = Scripted::answering(format!("HTTP/1.1 200 OK\r\n{headers}\r\n"));
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data);
        for _ in 0..2 {
            client.send(http::compose(gateway.data, "HEAD /profiles/1", &[], b""));
            assert_eq!(client.read_reply_to_head().status, 200);
        }
        assert_eq!(upstream.connections(), 1, "{headers:?}");
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_gets_a_length_of_its_own() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, GET, &[], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.text()), (200, "until the end".to_owned()));
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"), "else its end could not be told from a cut");
    }
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_a_broken_answer() {
    let upstream = Scripted::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let gateway = Gateway::bare(upstream.address, &[]);
    let asked = [("Connection", "upgrade"), ("Upgrade", "x")];
    for headers in [&[][..], &asked[..]] {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, GET, headers, b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")), "{reply:?}");
    }
    assert!(!upstream.received_text().to_lowercase().contains("upgrade"), "{}", upstream.received_text());
}

#[test]
fn a_client_that_expects_100_gets_it_once_the_request_is_on_its_way() {
    let upstream = Scripted::with_lengths();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, POST, &[("Expect", "100-continue"), ("Content-Length", "5")], b""));
        assert_eq!(client.read_head().status, 100);
        client.send("hello");
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.text(), reply.interim), (200, "5".to_owned(), vec![]));
    }
    let received = upstream.received_text().to_lowercase();
    assert!(!received.contains("expect"), "the gateway has answered it: {received}");
}

#[test]
fn a_client_that_expects_100_is_refused_without_it() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    for (line, status) in [("POST /metadata/profiles/extensions", 503), ("POST /nowhere", 404)] {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[("Expect", "100-continue"), ("Content-Length", "5")], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, &reply.interim[..]), (status, &[][..]), "{line}");
        assert_eq!(reply.header("connection"), Some("close"), "the body may come or not: nobody could tell");
        assert!(client.is_closed());
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_client_that_expects_100_hears_that_ucs_is_gone_instead() {
    let gateway = Gateway::bare(nobody_listens(), &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Expect", "100-continue"), ("Content-Length", "5")], b""));
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.refusal(), &reply.interim[..]), (502, Some("upstream_unreachable"), &[][..]));
}

#[test]
fn trailers_go_down() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let gateway = Gateway::bare(upstream.address, &[]);
    let reply = request(gateway.data, GET, &[("TE", "trailers"), ("Connection", "TE")], b"");
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    // RFC 9110 6.5.1: a client that did not say that it takes them need not get them.
    let reply = request(gateway.data, GET, &[], b"");
    assert_eq!((reply.status, reply.text(), reply.trailers.len()), (200, "ok".to_owned(), 0));
}

#[test]
fn trailers_pass_the_same_rules_as_headers_in_both_directions() {
    let (sender, seen) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            sender.send(request).unwrap();
            conn.write(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\n\
                 Trailer: X-Sum, UCS-Gateway, X-Hop, Via, Proxy-Authenticate\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\
                 UCS-Gateway: refused; reason=mode\r\nX-Hop: 1\r\nVia: 1.1 other\r\nProxy-Authenticate: Basic\r\n\r\n",
            );
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let dropped = [
        "X-HTTP-Method-Override",
        "X_HTTP_Method_Override",
        "X-Original-URL",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X_Forwarded_For",
        "X-Request-Id",
        "Via",
        "UCS-Gateway",
        "Forwarded",
        "X-Real-IP",
        "Proxy-Authorization",
        "X-Hop",
        "traceparent",
    ];
    let trailers: String = dropped.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let named = format!("{}, X-Sum", dropped.join(", "));
    let headers =
        [("Transfer-Encoding", "chunked"), ("Trailer", &*named), ("TE", "trailers"), ("Connection", "TE, X-Hop")];
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &headers, b""));
    client.send(format!("2\r\nok\r\n0\r\n{trailers}X-Sum: 7\r\n\r\n"));
    let reply = client.read_reply();
    let request = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&request.body[..], request.trailers.trim()), (&b"ok"[..], "X-Sum: 7"));
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn trailers_go_up() {
    let (sender, seen) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            sender.send(request).unwrap();
            conn.write("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")], b""));
    client.send("2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n");
    assert_eq!(client.read_reply().status, 204);
    let request = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&request.body[..], request.trailers.trim()), (&b"ok"[..], "X-Sum: 7"));
}

#[test]
fn an_old_client_gets_its_answer_without_chunks_and_the_connection_closed() {
    let upstream = Scripted::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles/1 HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok") && !answer.to_lowercase().contains("chunked"), "{answer}");
    let received = upstream.received_text();
    assert!(received.starts_with("GET /profiles/1 HTTP/1.1\r\n"), "{received}");
    assert!(received.to_lowercase().contains(&format!("\r\nhost: {}\r\n", upstream.address)), "{received}");
}

#[test]
fn an_old_client_that_asks_for_it_keeps_its_connection() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send("GET /profiles/1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let reply = client.read_reply();
        assert_eq!(
            (reply.status, reply.header("connection"), reply.text()),
            (200, Some("keep-alive"), "ok".to_owned())
        );
    }
}

#[test]
fn every_answer_has_one_date() {
    let dated = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok";
    for (answer, kept) in [(dated, true), ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)] {
        let upstream = Scripted::answering(answer);
        let gateway = Gateway::bare(upstream.address, &[]);
        let date = request(gateway.data, GET, &[], b"").header("date").unwrap_or_default().to_owned();
        assert_eq!(date == "Sun, 06 Nov 1994 08:49:37 GMT", kept, "{date}");
        // RFC 9110, 5.6.7: a day, a date, a time of day, GMT.
        assert!(date.len() == 29 && date.as_bytes()[3] == b',' && date.ends_with(" GMT"), "{date:?}");
        let refused = request(gateway.data, "GET /nowhere", &[], b"");
        assert!(refused.header("date").is_some_and(|date| date.len() == 29), "{refused:?}");
    }
}
