//! Clients that half-close, go away, stall, or send too much or too little.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, Ucs, admin, eventually, http};

const IN_FLIGHT: &str = "ucs_gateway_in_flight{set=\"production\"}";
const ABANDONED: &str = "ucs_gateway_abandoned{class=\"profile\"}";
const OPEN: &str = "ucs_gateway_client_connections_open";

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    for (line, body) in [(GET, &b""[..]), (POST, b"{}")] {
        let ucs = Ucs::usual();
        let gateway = Gateway::start(ucs.address, &["--schema-probe", "off", "--upstream-mode", "off"]);
        ucs.control().set_holding(true);
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[], body));
        client.half_close();
        ucs.in_flight_reaches(1);
        ucs.control().set_holding(false);
        let reply = client.read_reply();
        assert_eq!(reply.refusal(), None, "{line}: {reply:?}");
        assert!(client.is_closed(), "nothing more can come from this client");
    }
}

#[test]
fn all_answers_of_a_pipeline_reach_a_client_that_half_closed() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    // Often: the end may come with the last request, or a moment later.
    for count in [1, 2, 3].into_iter().cycle().take(60) {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, GET, &[], b"").repeat(count));
        client.half_close();
        for _ in 0..count {
            assert_eq!(client.read_reply().text(), "ok");
        }
        assert!(client.is_closed());
    }
}

#[test]
fn a_mutating_request_runs_to_its_end_though_the_client_is_gone() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--schema-probe", "off", "--upstream-mode", "off"]);
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[], br#"{"FirstName":"Ada"}"#));
    ucs.in_flight_reaches(1);
    client.reset();
    eventually("the gateway sees that the client is gone", || admin::metric(&gateway, OPEN) == 0.0);
    assert_eq!(admin::metric(&gateway, IN_FLIGHT), 1.0, "it is at UCS still");
    assert_eq!(ucs.in_flight(), 1);
    ucs.control().set_holding(false);
    eventually("it is counted out when UCS is done", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
    let asked = ucs.asked("POST", "/profiles");
    assert_eq!((asked.len(), asked[0].status, asked[0].body_bytes), (1, Some(201), 19), "{asked:?}");
    assert_eq!(admin::metric(&gateway, ABANDONED), 0.0);
}

#[test]
fn the_answer_to_a_mutating_request_is_read_to_its_end_though_the_client_is_gone() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
            let _ = told.lock().unwrap().recv_timeout(PATIENCE);
            conn.write("0\r\n\r\n");
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[], b"x"));
    assert_eq!(client.read_head().status, 200);
    client.reset();
    eventually("the gateway sees that the client is gone", || admin::metric(&gateway, OPEN) == 0.0);
    assert_eq!(admin::metric(&gateway, IN_FLIGHT), 1.0);
    go_on.send(()).unwrap();
    eventually("it is counted out at the end of the answer", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
    assert_eq!(admin::metric(&gateway, ABANDONED), 0.0);
}

#[test]
fn a_read_is_dropped_at_ucs_when_the_client_is_gone() {
    drops_the_read_of_a_client_that(Connection::reset);
}

/// However long UCS takes: a half-closed client waits (`nc -N`, health checks of old servers).
#[test]
fn a_client_that_half_closed_gets_its_answer_however_long_ucs_takes() {
    let (sender, go) = mpsc::channel::<()>();
    let go = std::sync::Mutex::new(go);
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        // Beyond the grace that such clients once had.
        let _ = go.lock().unwrap().recv_timeout(Duration::from_secs(4));
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    client.half_close();
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.text()), (200, "late".to_owned()));
    assert!(client.is_closed());
    drop(sender);
}

/// The event loop tells nothing of a reset behind a FIN.
#[test]
fn a_read_is_dropped_at_ucs_when_the_client_half_closes_and_goes_away() {
    drops_the_read_of_a_client_that(|client| {
        client.half_close();
        client.reset();
    });
}

#[track_caller]
fn drops_the_read_of_a_client_that(leaves: impl FnOnce(Connection)) {
    let (sender, events) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        let _ = sender.send("come");
        if conn.is_closed() {
            let _ = sender.send("dropped");
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(events.recv_timeout(PATIENCE), Ok("come"));
    leaves(client);
    assert_eq!(events.recv_timeout(PATIENCE), Ok("dropped"));
    eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
    assert_eq!(admin::metric(&gateway, ABANDONED), 1.0, "UCS may still be at it");
}

/// Each second the client reads more than the minimum rate asks for, and never as much as a third of what the system keeps.
#[test]
fn a_client_that_reads_slowly_and_steadily_lives() {
    const LENGTH: u64 = 8 << 20;
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        conn.write_pattern(LENGTH, PATIENCE, |_| {});
    });
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "8s", "--min-body-rate", "500"]);
    let mut client = Connection::open(gateway.data).with_small_receive_buffer();
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_head().status, 200);
    // Longer than a client may stand still.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(12) {
        client.read_exact(4000);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(admin::metric(&gateway, IN_FLIGHT), 1.0, "it has not ended");
}

#[test]
fn a_long_answer_to_a_read_is_dropped_when_the_client_is_gone() {
    let (sender, written) = mpsc::channel();
    const LENGTH: u64 = 1 << 40;
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let _ = sender.send(conn.write_pattern(LENGTH, PATIENCE, |_| {}));
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_head().status, 200);
    drop(client);
    assert!(written.recv_timeout(PATIENCE).unwrap() < LENGTH);
    eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
    assert_eq!(admin::metric(&gateway, ABANDONED), 1.0);
}

#[test]
fn a_body_that_ends_early_never_looks_whole_to_ucs() {
    let framings = [
        (("Content-Length", "100"), "half of it"),
        (("Transfer-Encoding", "chunked"), "a\r\nhalf of it\r\n"),
        (("Transfer-Encoding", "chunked"), "64\r\nhalf of it"),
    ];
    for (framing, half) in framings {
        let (sender, whole) = mpsc::channel();
        let upstream = Scripted::start(move |conn| {
            let request = conn.read_request();
            let _ = sender.send(request.is_some());
        });
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, POST, &[framing], b""));
        client.send(half);
        client.half_close();
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(answer.is_empty() || answer.contains("body_truncated"), "{framing:?}: {answer}");
        assert_eq!(whole.recv_timeout(PATIENCE), Ok(false), "{framing:?}: UCS took half a body for a whole one");
        eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
        assert_eq!(admin::metric(&gateway, ABANDONED), 1.0, "UCS may act on what it has");
    }
}

#[test]
fn a_body_that_turns_out_too_long_is_refused_and_cut_at_ucs() {
    let (sender, whole) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        let _ = sender.send(conn.read_request().is_some());
    });
    let gateway = Gateway::bare(upstream.address, &["--max-body", "1000"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Transfer-Encoding", "chunked")], b""));
    client.send(["3e8\r\n", &"x".repeat(1000), "\r\n1\r\nx\r\n0\r\n\r\n"].concat());
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.refusal()), (413, Some("body_too_large")));
    assert_eq!(reply.header("connection"), None, "all of it has come");
    assert_eq!(whole.recv_timeout(PATIENCE), Ok(false), "UCS took a part of the body for the whole");
}

#[test]
fn a_body_that_is_announced_as_too_long_is_refused_before_anybody_begins() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--max-body", "1000"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "1001"), ("Expect", "100-continue")], b""));
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.refusal(), &reply.interim[..]), (413, Some("body_too_large"), &[][..]));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(upstream.connections(), 0);
    assert_eq!(admin::metric(&gateway, ABANDONED), 0.0);
}

#[test]
fn a_body_of_just_the_limit_passes() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--max-body", "1000"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[], &[b'x'; 1000]));
    assert_eq!(client.read_reply().status, 200);
    client.send(http::compose(gateway.data, POST, &[("Transfer-Encoding", "chunked")], b""));
    client.send(["3e8\r\n", &"x".repeat(1000), "\r\n0\r\n\r\n"].concat());
    assert_eq!(client.read_reply().status, 200);
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let upstream = Scripted::start(|conn| drop(conn.read_request()));
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "300ms"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[("Content-Length", "100")], b""));
    client.send("a beginning");
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.refusal()), (408, Some("body_timeout")));
    assert!(client.is_closed());
    eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
    assert_eq!(admin::metric(&gateway, ABANDONED), 1.0);
}

#[test]
fn a_client_that_stops_reading_is_cut_off() {
    let (sender, written) = mpsc::channel();
    const LENGTH: u64 = 1 << 40;
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let _ = sender.send(conn.write_pattern(LENGTH, PATIENCE, |_| {}));
    });
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "300ms"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert!(written.recv_timeout(PATIENCE).unwrap() < LENGTH);
    eventually("its connection is closed", || admin::metric(&gateway, OPEN) == 0.0);
    eventually("it is counted out", || admin::metric(&gateway, IN_FLIGHT) == 0.0);
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--header-timeout", "300ms"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_reply().status, 200);
    client.send("GET /profiles/1 HTTP/1.1\r\nHost:");
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.refusal()), (408, Some("header_timeout")));
    assert!(client.is_closed());
    assert_eq!(upstream.received_text().matches("GET").count(), 1);
}

#[test]
fn an_idle_client_is_let_go_silently() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--idle-timeout", "2s"]);
    assert!(Connection::open(gateway.data).is_closed(), "before the first request");
    // A client that is too late with its first request is let go before it.
    let served = || {
        let mut client = Connection::open(gateway.data);
        let sent = client.try_send(http::compose(gateway.data, GET, &[], b""));
        sent.is_ok() && client.read_to_end().ends_with(b"\r\n\r\nok")
    };
    eventually("a client is served and let go behind it", served);
}

/// A connection gives memory back after a moment of silence, long before it counts as idle.
#[test]
fn a_client_that_was_silent_for_a_while_is_served_on_its_connection() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for (line, body) in [(GET, &b""[..]), (POST, b"{}"), (GET, b"")] {
        assert!(client.is_silent_for(Duration::from_millis(500)));
        client.send(http::compose(gateway.data, line, &[], body).repeat(2));
        assert_eq!([client.read_reply().status, client.read_reply().status], [200, 200], "{line}");
    }
}

#[test]
fn a_client_that_waits_for_its_answer_is_not_idle() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        let _ = told.lock().unwrap().recv_timeout(PATIENCE);
        conn.write("HTTP/1.1 204 No Content\r\n\r\n");
    });
    let gateway = Gateway::bare(upstream.address, &["--idle-timeout", "2s", "--header-timeout", "2s"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert!(client.is_silent_for(Duration::from_secs(3)));
    go_on.send(()).unwrap();
    assert_eq!(client.read_reply().status, 204);
}

#[test]
fn one_client_too_many_is_turned_away() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--max-connections", "2"]);
    let ask = |client: &mut Connection| {
        client.send(http::compose(gateway.data, GET, &[], b""));
        client.read_reply().status
    };
    let (mut first, mut second) = (Connection::open(gateway.data), Connection::open(gateway.data));
    assert_eq!((ask(&mut first), ask(&mut second)), (200, 200));
    assert!(Connection::open(gateway.data).is_closed());
    assert_eq!(admin::metric(&gateway, "ucs_gateway_client_connections_refused_total"), 1.0);
    assert_eq!((ask(&mut first), ask(&mut second)), (200, 200), "those that are in stay in");
    drop(first);
    eventually("there is room again", || admin::metric(&gateway, OPEN) == 1.0);
    assert_eq!(ask(&mut Connection::open(gateway.data)), 200);
}

/// The answers fill what the kernel holds; the one that no longer fits was whole before it was stuck, so that no exchange
/// and none of its deadlines is left.
#[test]
fn a_client_that_half_closes_and_never_reads_is_let_go() {
    let upstream = Scripted::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 8000\r\n\r\n{}", "x".repeat(8000)));
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "1s"]);
    let mut client = Connection::open(gateway.data).with_small_receive_buffer();
    client.send("GET /profiles/1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(800));
    client.half_close();
    eventually("its connection is closed", || {
        let outcome = "ucs_gateway_requests_total{class=\"profile\",outcome=\"client_timeout\"}";
        admin::metric(&gateway, OPEN) == 0.0 && admin::metric(&gateway, outcome) == 1.0
    });
}

/// The same, when the client breaks the connection: whether the exchange is over or not, it did not get its answer.
#[test]
fn a_client_that_leaves_an_answer_is_counted_as_gone() {
    let long_head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(30_000));
    let long_body = format!("HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n{}", "x".repeat(30_000));
    for answer in [long_head, long_body] {
        let upstream = Scripted::answering(answer);
        let gateway = Gateway::bare(upstream.address, &[]);
        let mut client = Connection::open(gateway.data).with_small_receive_buffer();
        client.send(http::compose(gateway.data, GET, &[], b"").repeat(200));
        // One answer at least was handed to it. Most likely no further one finds room now, but it is all the same whether the
        // next is stuck, on its way, or asked for.
        eventually("UCS was asked for the next one", || {
            upstream.received().len() > 2 * http::compose(gateway.data, GET, &[], b"").len()
        });
        upstream.grows_quiet();
        client.reset();
        let outcome = "ucs_gateway_requests_total{class=\"profile\",outcome=\"client_gone\"}";
        eventually("the client went", || {
            admin::metric(&gateway, OPEN) == 0.0 && admin::metric(&gateway, outcome) == 1.0
        });
    }
}

#[test]
fn an_answer_that_was_cut_short_is_counted_as_what_cut_it() {
    const LENGTH: u64 = 1 << 40;
    let upstream = Scripted::start(move |conn| {
        let Some(request) = conn.read_request() else { return };
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\nbegin"));
        if request.head.contains("/profiles/long") {
            conn.write_pattern(LENGTH, PATIENCE, |_| {});
        }
        conn.is_closed();
    });
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "2s"]);
    let outcome = |gateway: &Gateway, outcome: &str| {
        admin::metric(gateway, &format!("ucs_gateway_requests_total{{class=\"profile\",outcome=\"{outcome}\"}}"))
    };
    let ask = |gateway: &Gateway, line: &str| {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[], b""));
        client
    };
    let _unread = ask(&gateway, "GET /profiles/long");
    eventually("the client did not read", || outcome(&gateway, "client_timeout") == 1.0);
    ask(&gateway, "GET /profiles/stalled").read_to_end();
    eventually("UCS stopped", || outcome(&gateway, "upstream_timeout") == 1.0);
    assert_eq!(outcome(&gateway, "forwarded_2xx"), 0.0);
    // Here no time limit comes before the client has gone.
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut gone = ask(&gateway, "GET /profiles/left");
    gone.read_some();
    gone.reset();
    eventually("the client went", || outcome(&gateway, "client_gone") == 1.0);
    assert_eq!(outcome(&gateway, "forwarded_2xx"), 0.0);
}

/// Without length and chunks the end of the connection is the end of the answer, so it must not look like one.
#[test]
fn an_answer_that_breaks_off_never_looks_whole_to_an_old_client() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        let Some(request) = conn.read_request() else { return };
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        match request.head.contains("/profiles/stalled") {
            true => drop(conn.is_closed()),
            false => drop(told.lock().unwrap().recv_timeout(PATIENCE)),
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "300ms"]);
    for target in ["/profiles/broken", "/profiles/stalled"] {
        let mut client = Connection::open(gateway.data);
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(client.read_head().status, 200);
        let _ = go_on.send(());
        assert!(client.is_cut(), "{target}: a regular end");
    }
}

/// Clients send a request again when its connection ends without a byte: that must mean that UCS has not answered.
#[test]
fn what_came_of_an_answer_that_breaks_off_reaches_the_client() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    // Often: the end may come with the answer, or a moment later.
    for _ in 0..40 {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, POST, &[], b"{}"));
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 ") && answer.ends_with("half"), "{answer:?}");
    }
}
