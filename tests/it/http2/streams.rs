//! Streams beside each other, and bodies that come and go at the pace of their slowest side.

use std::time::Duration;

use super::start;
use crate::support::h2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, End, Frame, HEADERS, INITIAL_WINDOW_SIZE, PREFACE, RST_STREAM, SETTINGS,
};
use crate::support::tls::{self, Authority};
use crate::support::{Connection, H2, PATIENCE, Scripted, Ucs, admin, eventually, hpack, http};

#[test]
fn many_streams_are_served_at_once_and_in_any_order() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &[]);
    let mut client = H2::open(gateway.data);
    ucs.control().set_holding(true);
    let streams: Vec<u32> = (0..100).map(|_| client.request("GET /metadata/profiles", &[])).collect();
    eventually("all are at UCS", || ucs.asked("GET", "/metadata/profiles").len() >= 100);
    ucs.control().set_holding(false);
    for stream in streams.into_iter().rev() {
        assert_eq!(client.reply(stream).status, 200);
    }
    assert_eq!(admin::metric(&gateway, "ucs_gateway_client_connections_open"), 1.0);
}

#[test]
fn frames_that_are_ready_at_once_share_a_record_of_tls() {
    const STREAMS: u32 = 20;
    let (upstream, authority) = (Scripted::ok(), Authority::new("one"));
    let flags = authority.issue("server").flags("--tls");
    let gateway = start(upstream.address, &tls::words(&flags));
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "ucs"), (":path", "/nowhere")];
    let head = |place| Frame::new(HEADERS, END_HEADERS | END_STREAM, 2 * place + 1, hpack::encode(&fields)).bytes();
    let asked = (0..STREAMS).flat_map(head);
    let asked: Vec<u8> = PREFACE.iter().copied().chain(Frame::new(SETTINGS, 0, 0, []).bytes()).chain(asked).collect();
    let records = tls::records_until(gateway.data, tls::offering(&authority, &["h2"]), &asked, |mut bytes| {
        let mut ended = 0;
        while let Some((length, payload)) = bytes.split_at_checked(9).map(|(head, rest)| {
            ended += u32::from(matches!(head[3], HEADERS | DATA) && head[4] & END_STREAM != 0);
            (usize::from(head[1]) << 8 | usize::from(head[2]), rest)
        }) {
            bytes = payload.get(length..).unwrap_or_default();
        }
        ended == STREAMS
    });
    // Each response has a head and a body.
    assert!(records < STREAMS as usize / 2, "{records} records");
}

/// A queue for UCS that one client has filled: N, N + 1 and 10 N streams.
#[test]
fn the_streams_of_one_client_refuse_no_request_of_another() {
    const QUEUE: usize = 4;
    let ucs = Ucs::usual();
    let queue = QUEUE.to_string();
    let limits =
        ["--workers", "1", "--upstream-connections", "1", "--upstream-queue", &queue, "--connect-timeout", "40s"];
    let gateway = start(ucs.address, &limits);
    for waiting in [QUEUE, QUEUE + 1, 10 * QUEUE] {
        ucs.control().set_holding(true);
        let mut busy = H2::open(gateway.data);
        let streams: Vec<u32> = (0..=waiting).map(|_| busy.request("GET /metadata/profiles", &[])).collect();
        for beyond in &streams[QUEUE + 1..] {
            let reply = busy.reply(*beyond);
            assert_eq!((reply.status, reply.refusal()), (503, Some("overload")));
        }
        let in_flight = || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"both\"}");
        eventually("the queue is full", || in_flight() == 1.0 + QUEUE as f64);
        // A client of each protocol; the busy one loses its newest stream for each.
        let mut other = H2::open(gateway.data);
        let asked = other.request("GET /metadata/profiles", &[]);
        assert_eq!(busy.reply(streams[QUEUE]).refusal(), Some("overload"));
        let mut single = Connection::open(gateway.data);
        single.send(http::compose(gateway.data, "GET /metadata/profiles", &[], b""));
        assert_eq!(busy.reply(streams[QUEUE - 1]).refusal(), Some("overload"));
        ucs.control().set_holding(false);
        assert_eq!((other.reply(asked).status, single.read_reply().status), (200, 200), "{waiting}");
        for stream in &streams[..QUEUE - 1] {
            assert_eq!(busy.reply(*stream).status, 200);
        }
    }
}

#[test]
fn a_stream_that_is_reset_in_its_middle_ends_no_other() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            if request.head.contains("/stuck") {
                conn.wait_for_the_end();
            }
            conn.write([b'x'; 1_000_000]);
        }
    });
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let (stuck, whole) = (client.request("GET /profiles/stuck", &[]), client.request("GET /profiles/1", &[]));
    assert_eq!(client.status(stuck), 200);
    client.frame(RST_STREAM, 0, stuck, CANCEL.to_be_bytes());
    assert_eq!(client.reply(whole).body.len(), 1_000_000);
}

#[test]
fn a_download_is_as_fast_as_its_client_and_needs_no_memory() {
    const LENGTH: usize = 64 << 20;
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            conn.write_pattern(LENGTH as u64, PATIENCE, |_| {});
        }
    });
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let before = gateway.peak_kib();
    let stream = client.request("GET /profiles/1", &[]);
    assert_eq!(client.reply(stream).body.len(), LENGTH);
    let growth = gateway.peak_kib() - before;
    assert!(growth < 16 * 1024, "grew by {growth} KiB");
}

#[test]
fn a_window_of_any_size_brings_the_whole_response() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            let chunked = request.head.contains("/chunked");
            let head = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 1000" };
            conn.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
            let body = "y".repeat(1000);
            conn.write(if chunked { format!("3e8\r\n{body}\r\n0\r\n\r\n") } else { body });
        }
    });
    let gateway = start(upstream.address, &[]);
    for path in ["GET /profiles/1", "GET /profiles/chunked"] {
        for window in [0, 1, 999, 1000, 1001] {
            let mut client = H2::open_with(gateway.data, &[(INITIAL_WINDOW_SIZE, window)]).impolite();
            let stream = client.request(path, &[]);
            assert_eq!(client.status(stream), 200);
            while client.body(stream).len() < window.min(1000) as usize {
                client.advance();
            }
            // Exactly as much as it takes, and no byte more.
            if window < 1000 {
                client.open_window(stream, 1000 - window);
            }
            assert_eq!(client.reply(stream).body.len(), 1000, "{path} {window}");
        }
    }
}

#[test]
fn a_response_goes_as_a_whole_if_its_windows_admit_it() {
    const STREAMS: usize = 100;
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "y".repeat(1000)));
        }
    });
    let gateway = start(upstream.address, &["--idle-body-timeout", "500ms"]);
    let mut client = H2::open(gateway.data).impolite();
    let stream = client.request("GET /profiles/1", &[]);
    assert_eq!(client.status(stream), 200);
    client.advance();
    assert_eq!((client.body(stream).len(), client.end_of(stream)), (1000, End::Regular), "one frame");
    // The window of the connection takes 64 more of them. All others wait with their streams, which are reset.
    let streams: Vec<u32> = (1..STREAMS).map(|_| client.request("GET /profiles/1", &[])).collect();
    while client.resets.len() < STREAMS - 65 {
        assert!(client.advance());
    }
    assert!(client.resets.iter().all(|(_, code)| *code == CANCEL), "{:?}", client.resets);
    client.open_window(0, 100_000);
    let regular = streams.into_iter().filter(|stream| client.end_of(*stream) == End::Regular).count();
    assert_eq!((regular, client.resets.len()), (64, STREAMS - 65));
}

#[test]
fn a_client_that_reads_nothing_loses_its_stream_alone_whatever_its_window_is() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            let length = if request.head.contains("/long") { 1_000_000 } else { 1000 };
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "y".repeat(length)));
        }
    });
    let flags = ["--idle-body-timeout", "500ms", "--access-log"];
    for window in [0, 1, 999] {
        let gateway = start(upstream.address, &flags);
        let mut client = H2::open_with(gateway.data, &[(INITIAL_WINDOW_SIZE, window)]).impolite();
        for line in ["GET /profiles/1", "GET /profiles/long"] {
            let stream = client.request(line, &[]);
            assert_eq!(client.end_of(stream), End::Reset(CANCEL), "{line} {window}");
            assert_eq!(client.body(stream).len(), window as usize, "{line} {window}");
        }
        eventually("both are logged", || gateway.access_lines().len() == 2);
        let is_timeout = |line: &String| line.contains("client_timeout");
        assert!(gateway.access_lines().iter().all(is_timeout), "{:?}", gateway.access_lines());
        // One without a body needs no window.
        assert_eq!(client.ask("HEAD /profiles/1", &[]).status, 200);
    }
}

#[test]
fn an_upload_goes_on_while_its_response_comes() {
    let upstream = Scripted::start(|conn| {
        conn.read_head();
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
        let rest = conn.read_exact(5).unwrap_or_default();
        conn.write(format!("5\r\n{}\r\n0\r\n\r\n", String::from_utf8_lossy(&rest)));
    });
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let stream = client.upload("POST /profiles", &[("content-length", "5")]);
    assert_eq!(client.status(stream), 200);
    while client.body(stream) != b"early" {
        client.advance();
    }
    client.data(stream, "later", END_STREAM);
    assert_eq!(client.reply(stream).text(), "earlylater");
}

#[test]
fn an_idle_connection_is_ended_with_goaway() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &["--idle-timeout", "2s"]);
    let mut client = H2::open(gateway.data);
    assert_eq!(client.ask("GET /profiles/1", &[]).status, 200);
    client.goaway();
    client.read_to_end();
    // One that does not acknowledge is closed all the same.
    let mut client = H2::open(gateway.data).impolite();
    client.goaway();
    client.read_to_end();
    // A preface that never comes.
    let mut client = H2::connect(gateway.data).with_patience(Duration::from_secs(20));
    assert!(!client.advance());
}
