//! The protocol as RFC 9113 and RFC 7541 have it, in the cases of h2spec: a table of frames, each with what has to come of them.
//! An error of a stream may be one of its connection (RFC 9113, 5.4.2), and a connection may end without a word.

mod fields;
mod frames;
mod streams;

use std::net::SocketAddr;

use super::start;
use crate::support::h2::{END_HEADERS, END_STREAM, End, Frame, GOAWAY, HEADERS, NO_ERROR, PING};
use crate::support::tls::{self, Authority};
use crate::support::{H2, Scripted, hpack};

/// h2spec's 146 cases, and two that it has with `--strict`: its suite, section and number, and the case here that is the same.
const H2SPEC: &str = include_str!("../../cases/h2spec.tsv");

const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// Error codes (RFC 9113, 7).
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION: u32 = 9;

/// What has to come of the frames of a case.
enum Expected {
    /// Stream 1 has a response, and the connection lives.
    Response,
    /// The connection lives.
    Alive,
    /// The connection lives, or ends without an error.
    AliveOrEnded,
    /// Stream 1 is reset with one of these codes.
    StreamError(&'static [u32]),
    /// The connection ends, with one of these codes if it says one.
    ConnectionError(&'static [u32]),
}

use Expected::{Alive, AliveOrEnded, ConnectionError, Response, StreamError};

type Case = (&'static str, fn(&mut H2), Expected);

const TABLES: [&[Case]; 5] = [frames::FRAMES, streams::STREAMS, frames::KINDS, fields::MESSAGES, fields::HPACK];

#[test]
fn frames_have_the_effect_that_the_standards_say() {
    let upstream = upstream();
    let gateway = start(upstream.address, &[]);
    every_case_holds(gateway.data);
}

#[test]
fn frames_have_the_effect_that_the_standards_say_over_tls() {
    let (upstream, authority) = (upstream(), Authority::new("one"));
    let flags = authority.issue("server").flags("--tls");
    let gateway = start(upstream.address, &tls::words(&flags));
    every_case_holds(tls::tunnel_of(gateway.data, &authority, &["h2"]));
}

#[test]
fn every_case_of_h2spec_is_here() {
    let known: Vec<&str> = TABLES.into_iter().flatten().map(|(name, ..)| *name).collect();
    let rows: Vec<(&str, &str)> = H2SPEC.lines().skip(1).map(|line| line.split_once('\t').unwrap()).collect();
    let missing: Vec<_> = rows.iter().filter(|(_, case)| !known.contains(case)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(rows.len(), 148);
}

fn upstream() -> Scripted {
    Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            if request.head.contains("x-slow") {
                return conn.wait_for_the_end();
            }
            let body = if request.head.starts_with("HEAD ") { "" } else { "a body" };
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{body}"));
        }
    })
}

fn every_case_holds(address: SocketAddr) {
    let mut wrong = Vec::new();
    for (name, send, expected) in TABLES.into_iter().flatten() {
        let mut client = H2::open(address);
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            send(&mut client);
            holds(&mut client, expected)
        }));
        match seen {
            Ok(Ok(())) => {}
            Ok(Err(seen)) => wrong.push(format!("{name}: {seen}")),
            Err(_) => wrong.push(format!("{name}: nothing comes of it")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether what comes is what has to come; otherwise what came.
fn holds(client: &mut H2, expected: &Expected) -> Result<(), String> {
    match expected {
        Response | Alive => {
            if matches!(expected, Response) && client.end_of(1) != End::Regular {
                return Err(format!("{:?}, {:?}", client.end_of(1), client.control));
            }
            if lives(client) { Ok(()) } else { Err(format!("the connection ended: {:?}", client.control)) }
        }
        StreamError(codes) => match client.end_of(1) {
            End::Reset(code) if codes.contains(&code) => Ok(()),
            End::Closed => said(client, codes),
            // The response was there before the error.
            // A reset may follow the first acknowledgement.
            End::Regular if !lives(client) || !lives(client) => said(client, codes),
            End::Regular if client.resets.iter().any(|(_, code)| codes.contains(code)) => Ok(()),
            End::Regular => Err(format!("resets {:?}", client.resets)),
            End::Reset(code) => Err(format!("reset with {code}")),
        },
        AliveOrEnded if lives(client) => Ok(()),
        AliveOrEnded => said(client, &[NO_ERROR]),
        ConnectionError(codes) => {
            client.read_to_end();
            said(client, codes)
        }
    }
}

/// Whether the connection answers a PING, which says that all before it was read.
fn lives(client: &mut H2) -> bool {
    let _ = client.try_send(Frame::new(PING, 0, 0, *b"are you?").bytes());
    let is_ack = |frame: &Frame| frame.kind == PING && frame.payload == b"are you?";
    while !client.control.iter().any(is_ack) {
        if !client.advance() {
            return false;
        }
    }
    client.control.retain(|frame| !is_ack(frame));
    true
}

/// Whether the connection ended with one of these codes, or without any.
fn said(client: &H2, codes: &[u32]) -> Result<(), String> {
    let goaway = client.control.iter().find(|frame| frame.kind == GOAWAY).map(Frame::goaway_code);
    match goaway {
        // The general code may stand for any other.
        Some(code) if code != PROTOCOL && !codes.contains(&code) => Err(format!("GOAWAY {code}")),
        _ => Ok(()),
    }
}

fn get() -> Vec<u8> {
    block(&[])
}

/// A request with these fields besides the usual ones.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/profiles/1"), (":authority", "ucs")];
    hpack::encode(&[&usual, fields].concat())
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// An open stream 1, whose body is still to come.
fn open(client: &mut H2) {
    client.frame(HEADERS, END_HEADERS, 1, block(&[]));
}

/// What the response of stream 1 has of its body, and no byte more.
fn body_is(client: &mut H2, length: usize) {
    while client.body(1).len() < length {
        assert!(client.advance(), "the connection ended");
    }
    client.ping();
    assert_eq!(client.body(1).len(), length);
}

/// Waits for a frame of this kind.
fn wait_for(client: &mut H2, kind: u8, flags: u8) {
    loop {
        let frame = client.read_frame().expect("the connection lives");
        if frame.kind == kind && frame.flags == flags {
            return;
        }
    }
}

/// A stream 1 with its response.
fn served(client: &mut H2) {
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, get());
    assert_eq!(client.reply(1).status, 200);
}
