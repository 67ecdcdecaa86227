//! What a client, or a flood of one class, may take at most; each limit has an answer of its own and a counter.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::GET;
use crate::support::{Connection, Gateway, PATIENCE, Scripted, TempDir, admin, eventually, http, request};

const OVERLOAD: &str = "ucs_gateway_requests_total{class=\"profile\",outcome=\"overload\"}";

#[test]
fn a_full_class_refuses_its_next_request_and_leaves_room_for_the_others() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            if request.head.starts_with("GET /profiles/held") {
                wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--max-in-flight", "profile=1"]);
    let mut held = Connection::open(gateway.data);
    held.send(http::compose(gateway.data, "GET /profiles/held", &[], b""));
    eventually("it is with UCS", || upstream.received_text().contains("/profiles/held"));

    let mut second = Connection::open(gateway.data);
    second.send(http::compose(gateway.data, "GET /profiles/second", &[], b""));
    let reply = second.read_reply();
    assert_eq!((reply.status, reply.refusal()), (503, Some("overload")), "not the mode's 503");
    assert!(reply.header("retry-after").is_some());
    eventually("it is counted", || admin::metric(&gateway, OVERLOAD) == 1.0);

    // Another class goes through on the same connection, and this one as soon as there is room.
    second.send(http::compose(gateway.data, "GET /services/1", &[], b""));
    assert_eq!(second.read_reply().status, 200);
    go_on.send(()).unwrap();
    assert_eq!(held.read_reply().status, 200);
    second.send(http::compose(gateway.data, "GET /profiles/second", &[], b""));
    assert_eq!(second.read_reply().status, 200);
}

#[test]
fn a_class_that_was_given_up_on_has_room_again() {
    let upstream = Scripted::start(|conn| while conn.read_request().is_some() {});
    let flags = ["--max-in-flight", "profile=1", "--first-byte-timeout", "200ms", "--orphan-grace", "0s"];
    let gateway = Gateway::bare(upstream.address, &flags);
    for _ in 0..3 {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_eq!(client.read_reply().status, 504);
    }
}

/// The gateway changes UCS's status document on its way, and the request takes its place all the same.
#[test]
fn the_status_of_ucs_takes_a_place_of_its_class() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--max-in-flight", "server=1"]);
    let ask = || {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, "GET /server/status", &[], b""));
        client
    };
    let mut held = ask();
    eventually("it is with UCS", || upstream.received_text().contains("/server/status"));
    let reply = ask().read_reply();
    assert_eq!((reply.status, reply.refusal()), (503, Some("overload")));
    go_on.send(()).unwrap();
    assert_eq!(held.read_reply().status, 200);
}

#[test]
fn a_limit_for_a_class_that_is_not_there_is_no_start() {
    let dir = TempDir::new();
    let upstream = Scripted::ok();
    let started = Gateway::try_start_in(dir.path(), upstream.address, &["--max-in-flight", "profiles=5"]);
    let Err((status, log)) = started else { panic!("it started") };
    let log = log.join("\n");
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("no class \\\"profiles\\\"") || log.contains("no class \"profiles\""), "{log}");
}

/// The idle body timeout of the clients that drip, less what the gateway's sweep may be late.
const SILENCE: Duration = Duration::from_millis(2800);

/// Never silent for long, and yet it would take for ever.
#[test]
fn a_body_that_drips_is_cut_and_told_so() {
    let upstream = Scripted::ok();
    // No silence comes near it, however late a drop is.
    let flags = ["--idle-body-timeout", "3s", "--min-body-rate", "1KiB", "--orphan-grace", "0s"];
    let gateway = Gateway::bare(upstream.address, &flags);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, "POST /profiles", &[("Content-Length", "100000")], b""));
    let longest = drip(&mut client, Duration::from_millis(50));
    let reply = client.read_reply();
    // On a machine that stood still, the silence may have come first.
    assert!(reply.refusal() == Some("body_too_slow") || longest > SILENCE, "{longest:?}: {}", reply.text());
    assert_eq!(reply.status, 408);
    eventually("nothing is in flight", || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}") == 0.0);
}

#[test]
fn a_body_that_drips_is_let_through_when_there_is_no_rate() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "3s", "--min-body-rate", "0"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, "POST /profiles", &[("Content-Length", "40")], b""));
    // Together longer than a single silence may be.
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(100));
        let _ = client.try_send("x");
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    let reply = client.read_reply();
    assert!(reply.status == 200 || longest > SILENCE, "{longest:?}: {}", reply.text());
}

/// One byte at a time, the pace of an attacker, until the other side has had enough. The longest time between two bytes.
fn drip(client: &mut Connection, pace: Duration) -> Duration {
    let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while begun.elapsed() < PATIENCE {
        std::thread::sleep(pace);
        longest = longest.max(last.elapsed());
        if !client.is_silent_for(Duration::from_millis(1)) || client.try_send("x").is_err() {
            return longest;
        }
        last = Instant::now();
    }
    panic!("it was let drip for {PATIENCE:?}");
}

/// Many more than there are connections, and then they all go on.
/// 16 MiB for each worker: of 300 uploads of which 60 KiB have arrived, the oldest make way for newer ones.
#[test]
fn uploads_that_gather_take_a_bounded_part_of_the_memory() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            if request.head.contains("/hangs ") {
                return drop(conn.read_request());
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1", "--upstream-connections", "8"]);
    let mut hanging: Vec<_> = (0..5).map(|_| Connection::open(gateway.data)).collect();
    for client in &mut hanging {
        client.send("GET /profiles/hangs HTTP/1.1\r\nHost: ucs\r\n\r\n");
    }
    eventually("five connections are in use", || upstream.received_text().matches("/hangs ").count() == 5);
    let begin = |_| {
        let mut client = Connection::open(gateway.data);
        client.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 61441\r\n\r\n");
        client.send("x".repeat(60 * 1024));
        client
    };
    let mut uploads: Vec<_> = (0..20).map(begin).collect();
    let in_flight = || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}");
    eventually("twenty uploads are older than all others", || in_flight() == 25.0);
    uploads.extend((0..280).map(begin));
    let refused = || admin::metric(&gateway, "ucs_gateway_requests_total{class=\"profile\",outcome=\"overload\"}");
    eventually("those beyond are refused", || refused() >= 20.0);
    let whole = request(gateway.data, "POST /profiles", &[], b"whole");
    assert_eq!((whole.status, whole.text()), (200, "ok".to_owned()), "a body that has arrived needs no memory");
    // Its second half is sent once the gateway is known to hold the first.
    let mut halves = Connection::open(gateway.data);
    let before = refused();
    halves.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 60000\r\n\r\n");
    halves.send("y".repeat(59_999));
    eventually("an older upload makes way", || refused() > before);
    halves.send("y");
    assert_eq!(halves.read_reply().status, 200, "slow uploads take nothing from one that arrives in time");
    let mut statuses = Vec::new();
    for client in &mut uploads {
        drop(client.try_send("x"));
        statuses.push(client.read_reply().status);
    }
    let beyond = statuses.iter().filter(|status| **status == 503).count();
    let kept = statuses.iter().filter(|status| **status == 200).count();
    assert!((40..=80).contains(&beyond) && kept + beyond == 300, "{kept} and {beyond}");
    assert!(statuses[..20].iter().all(|status| *status == 503), "the oldest: {statuses:?}");
}

#[test]
fn uploads_that_have_not_arrived_leave_connections_to_ucs_for_others() {
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let limits = ["--workers", "1", "--upstream-connections", "8", "--upstream-queue", "0"];
    let gateway = Gateway::bare(upstream.address, &limits);
    let begin = |head: &str| {
        let mut client = Connection::open(gateway.data);
        client.send(format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\n{head}\r\n"));
        client
    };
    let mut counted: Vec<_> = (0..40).map(|_| begin("Content-Length: 4\r\n")).collect();
    let mut chunked: Vec<_> = (0..40).map(|_| begin("Transfer-Encoding: chunked\r\n")).collect();
    counted.iter_mut().for_each(|client| client.send("ha"));
    chunked.iter_mut().for_each(|client| client.send("4\r\nha"));
    let in_flight = || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}");
    eventually("all are admitted", || in_flight() == 80.0);
    for _ in 0..20 {
        let reply = request(gateway.data, GET, &[], b"");
        assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    }
    assert!(upstream.connections() <= 8, "{}", upstream.connections());
    for client in &mut counted {
        client.send("lf");
        assert_eq!(client.read_reply().status, 200);
    }
    for client in &mut chunked {
        client.send("lf\r\n0\r\n\r\n");
        assert_eq!(client.read_reply().status, 200);
    }
    assert_eq!(upstream.received_text().matches("POST /profiles ").count(), 80);
}

/// As many as there are connections to UCS, one more, and ten times as many: each holds one with a response that it does not read.
#[test]
fn readers_that_read_nothing_yield_their_connections_to_others() {
    let upstream = Scripted::ok_or_long();
    let gateway = Gateway::bare(upstream.address, &["--workers", "1", "--upstream-connections", "4"]);
    for crowd in [4, 5, 40] {
        let silent: Vec<Connection> = (0..crowd)
            .map(|_| {
                let mut client = Connection::open(gateway.data).with_small_receive_buffer();
                client.send(http::compose(gateway.data, "GET /profiles/long", &[], b""));
                client
            })
            .collect();
        for _ in 0..5 {
            let reply = request(gateway.data, GET, &[], b"");
            assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()), "beside {crowd}");
        }
        drop(silent);
        eventually("they are gone", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 0.0);
    }
}

/// Without others, they keep them.
#[test]
fn a_reader_that_pauses_keeps_its_connection_while_nothing_waits_for_it() {
    const LENGTH: u64 = 20_000_000;
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        conn.write_pattern(LENGTH, PATIENCE, |_| {});
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1", "--upstream-connections", "1"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    assert_eq!(client.read_head().status, 200);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(client.read_pattern(LENGTH), LENGTH);
}
