//! Clients that mean harm: each ends within its limit, its memory is bounded, and other clients do not notice.

use std::time::{Duration, Instant};

use super::start;
use crate::support::h2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, Frame, HEADERS, INITIAL_WINDOW_SIZE, PING, PREFACE,
    RST_STREAM, SETTINGS,
};
use crate::support::{Gateway, H2, Scripted, Ucs, admin, eventually, hpack};

/// What a flood may add to the memory of the gateway.
const GROWTH_KIB: u64 = 8 * 1024;

/// Sends these bytes again and again, until the server ends the connection or `most` times; how often.
fn flood(client: &mut H2, most: usize, mut bytes: impl FnMut(&mut H2) -> Vec<u8>) -> usize {
    for sent in 0..most {
        let next = bytes(client);
        if client.try_send(next).is_err() {
            return sent;
        }
    }
    most
}

#[track_caller]
fn others_are_served(gateway: &Gateway) {
    assert_eq!(H2::open(gateway.data).ask("GET /profiles/1", &[]).status, 200);
}

fn head(client: &mut H2, gateway: &Gateway) -> (u32, Vec<u8>) {
    let authority = gateway.data.to_string();
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", &*authority), (":path", "/profiles/1")];
    (client.next_stream(), hpack::encode(&fields))
}

#[test]
fn floods_of_frames_end_with_their_connection() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &[]);
    others_are_served(&gateway);
    let before = gateway.peak_kib();
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[][..])] {
        let mut client = H2::open(gateway.data).impolite();
        let sent = flood(&mut client, 20_000, |_| Frame::new(kind, 0, 0, payload).bytes());
        client.read_to_end();
        let answered = client.control.iter().filter(|frame| frame.kind == kind).count();
        assert!(answered <= 101, "{kind}: {answered} of {sent}");
    }
    assert_eq!(admin::metric(&gateway, r#"ucs_gateway_wire_faults_total{reason="frame_flood"}"#), 2.0);

    let mut client = H2::open(gateway.data).impolite();
    let resets = flood(&mut client, 4000, |client| {
        let (stream, block) = head(client, &gateway);
        let open = Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, block).bytes();
        [open, Frame::new(RST_STREAM, 0, stream, CANCEL.to_be_bytes()).bytes()].concat()
    });
    client.read_to_end();
    assert_eq!(client.goaway().goaway_code(), 11, "after {resets} resets");

    let mut client = H2::open(gateway.data).impolite();
    let (stream, block) = head(&mut client, &gateway);
    client.frame(HEADERS, 0, stream, block);
    let piece = hpack::encode(&[("x", "y".repeat(1000))]);
    flood(&mut client, 10_000, |_| Frame::new(CONTINUATION, 0, stream, piece.clone()).bytes());
    client.read_to_end();
    assert_eq!(client.goaway().goaway_code(), 11);

    let mut client = H2::open(gateway.data).impolite();
    let stream = client.upload("POST /profiles", &[]);
    flood(&mut client, 60_000, |_| Frame::new(DATA, 0, stream, []).bytes());
    client.read_to_end();
    assert_eq!(client.goaway().goaway_code(), 11);

    let growth = gateway.peak_kib() - before;
    assert!(growth < GROWTH_KIB, "grew by {growth} KiB");
    others_are_served(&gateway);
}

#[test]
fn heads_that_expand_are_refused() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &[]);
    let before = gateway.peak_kib();
    let mut client = H2::open(gateway.data);
    let (stream, mut block) = head(&mut client, &gateway);
    // One long field in the dynamic table, then 16,000 references to it.
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 12_000]);
    client.frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
    match client.end_of(stream) {
        End::Regular => assert_eq!(client.reply(stream).status, 431),
        End::Reset(_) | End::Closed => {}
    }
    let growth = gateway.peak_kib() - before;
    assert!(growth < GROWTH_KIB, "grew by {growth} KiB");
    assert_eq!(upstream.connections(), 0);
    others_are_served(&gateway);
}

#[test]
fn an_unfinished_head_ends_at_its_deadline() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &["--header-timeout", "500ms"]);
    let block = |client: &mut H2| head(client, &gateway);
    let begin = |which: usize| {
        let mut client = if which < 2 { H2::connect(gateway.data) } else { H2::open(gateway.data) }.impolite();
        match which {
            0 => client.send(&PREFACE[..10]),
            1 => client.send(PREFACE),
            2 => client.send([0, 0]),
            3 => {
                let (stream, block) = block(&mut client);
                let bytes = Frame::new(HEADERS, END_HEADERS, stream, block).bytes();
                client.send(&bytes[..bytes.len() - 1]);
            }
            _ => {
                let (stream, block) = block(&mut client);
                client.frame(HEADERS, 0, stream, block);
            }
        }
        client
    };
    for which in 0..5 {
        let started = Instant::now();
        begin(which).read_to_end();
        assert!(started.elapsed() >= Duration::from_millis(400), "case {which} ended early");
    }
    // One that goes on a little all the time ends as well.
    let mut client = begin(4);
    let piece = Frame::new(CONTINUATION, 0, 1, hpack::encode(&[("x", "y")])).bytes();
    while client.try_send(&piece).is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(admin::metric(&gateway, r#"ucs_gateway_wire_faults_total{reason="header_timeout"}"#) >= 5.0);
    others_are_served(&gateway);
}

#[test]
fn a_slow_body_ends_with_its_stream_alone() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &["--idle-body-timeout", "500ms"]);
    let mut client = H2::open(gateway.data);
    let stream = client.upload("POST /profiles", &[("content-length", "22")]);
    client.data(stream, "{", 0);
    let reply = client.reply(stream);
    assert_eq!((reply.status, reply.refusal()), (408, Some("body_timeout")));
    assert_eq!(client.ask("GET /metadata/profiles", &[]).status, 200);
    // A byte now and then is too slow as well.
    let stream = client.upload("POST /profiles", &[("content-length", "1000")]);
    let mut other = H2::open(gateway.data);
    let slow = other.upload("POST /profiles", &[("content-length", "1000")]);
    for _ in 0..1000 {
        if other.try_send(Frame::new(DATA, 0, slow, *b"x").bytes()).is_err()
            || ucs.asked("POST", "/profiles").is_empty()
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        if admin::metric(&gateway, r#"ucs_gateway_requests_total{class="profile",outcome="client_timeout"}"#) >= 3.0 {
            break;
        }
    }
    assert_eq!(other.reply(slow).status, 408);
    assert_eq!(client.reply(stream).status, 408);
}

#[test]
fn a_client_that_reads_nothing_at_all_loses_its_connection() {
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "y".repeat(10_000_000)));
        }
    });
    let gateway = start(upstream.address, &["--idle-body-timeout", "1s"]);
    let before = gateway.peak_own_kib();
    let mut client = H2::open_with(gateway.data, &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]).impolite();
    client.open_window(0, 0x7000_0000);
    for _ in 0..100 {
        client.request("GET /profiles/1", &[]);
    }
    eventually("the connection is gone", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 0.0);
    let growth = gateway.peak_own_kib().saturating_sub(before);
    // Of 1 GB. A stream has a piece of its body and room to read the next one, 64 KiB each at most; h2 has 256 KiB in all. On a busy
    // machine all streams reach that at once, and what the allocator keeps comes on top: 17 MiB were seen.
    assert!(growth < 8 * GROWTH_KIB, "grew by {growth} KiB:\n{}", gateway.memory());
}

/// While others wait for a connection to UCS: N, N + 1 and 10 N streams hold one each.
#[test]
fn a_client_that_reads_nothing_loses_its_connection_to_clients_that_wait() {
    let upstream = Scripted::ok_or_long();
    let gateway = start(upstream.address, &["--workers", "1", "--upstream-connections", "4"]);
    let open = || admin::metric(&gateway, "ucs_gateway_client_connections_open");
    for streams in [4, 5, 40] {
        // One that reads frames and opens no window loses its stream alone.
        let mut shut = H2::open_with(gateway.data, &[(INITIAL_WINDOW_SIZE, 0)]).impolite();
        let mut silent = H2::open_with(gateway.data, &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]).impolite();
        silent.open_window(0, 0x7000_0000);
        shut.request("GET /profiles/long", &[]);
        for _ in 0..streams {
            silent.request("GET /profiles/long", &[]);
        }
        let mut other = H2::open(gateway.data);
        eventually("the silent client is gone", || {
            assert_eq!(other.ask("GET /profiles/1", &[]).status, 200);
            open() <= 2.0
        });
        shut.ping();
        drop((shut, silent, other));
        eventually("all are gone", || open() == 0.0);
    }
}

#[test]
fn no_more_streams_are_open_than_the_gateway_said() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &[]);
    let mut client = H2::open(gateway.data);
    ucs.control().set_holding(true);
    let streams: Vec<u32> = (0..200).map(|_| client.request("GET /metadata/profiles", &[])).collect();
    let refused = streams.iter().filter(|stream| **stream > 2 * 128).copied();
    for stream in refused {
        assert_eq!(client.end_of(stream), End::Reset(7), "REFUSED_STREAM: it may be tried again");
    }
    ucs.in_flight_reaches(128);
    ucs.control().set_holding(false);
    for stream in streams.into_iter().filter(|stream| *stream < 2 * 128) {
        assert_eq!(client.reply(stream).status, 200);
    }
}
