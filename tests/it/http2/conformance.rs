//! The protocol as RFC 9113 and RFC 7541 have it, in the sections that h2spec covers: a table of frames, each with what has to
//! come of them. An error of a stream may be one of its connection (RFC 9113, 5.4.2), and a connection may end without a word.

mod fields;

use super::start;
use crate::support::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, Frame, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::support::{H2, Scripted, hpack};

const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// Error codes (RFC 9113, 7).
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

/// What has to come of the frames of a case.
enum Expected {
    /// Stream 1 has a response, and the connection lives.
    Response,
    /// The connection lives.
    Alive,
    /// Stream 1 is reset with one of these codes.
    StreamError(&'static [u32]),
    /// The connection ends, with one of these codes if it says one.
    ConnectionError(&'static [u32]),
}

use Expected::{Alive, ConnectionError, Response, StreamError};

type Case = (&'static str, fn(&mut H2), Expected);

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

/// A stream 1 with its response.
fn served(client: &mut H2) {
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, get());
    assert_eq!(client.reply(1).status, 200);
}

const FRAMES: &[Case] = &[
    ("4.1 a frame of an unknown type is ignored", |c| c.frame(0x16, 0, 0, [0; 8]), Alive),
    ("4.1 undefined flags are ignored", |c| c.frame(PING, 0x16, 0, [0; 8]), Alive),
    ("4.1 the reserved bit is ignored", |c| c.frame(PING, 0, 1 << 31, [0; 8]), Alive),
    (
        "4.2 DATA of 2^14 bytes",
        |c| {
            open(c);
            c.data(1, [0; 16_384], END_STREAM)
        },
        Response,
    ),
    (
        "4.2 DATA beyond the largest frame",
        |c| {
            open(c);
            c.data(1, [0; 16_385], END_STREAM)
        },
        StreamError(&[FRAME_SIZE]),
    ),
    (
        "4.2 HEADERS beyond the largest frame",
        |c| c.frame(HEADERS, 5, 1, vec![0; 16_385]),
        ConnectionError(&[FRAME_SIZE]),
    ),
    (
        "4.3 a field block that cannot be decoded",
        |c| c.frame(HEADERS, 5, 1, [0x00; 4]),
        ConnectionError(&[COMPRESSION, PROTOCOL]),
    ),
    (
        "4.3 PRIORITY within a field block",
        |c| {
            c.frame(HEADERS, END_STREAM, 1, get());
            c.frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]);
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "4.3 HEADERS of another stream within a field block",
        |c| {
            c.frame(HEADERS, END_STREAM, 1, get());
            c.frame(HEADERS, END_STREAM | END_HEADERS, 3, get());
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "5.5 an unknown frame within a field block",
        |c| {
            c.frame(HEADERS, END_STREAM, 1, get());
            c.frame(0xff, 0, 0, [0]);
        },
        ConnectionError(&[PROTOCOL]),
    ),
];

const STREAMS: &[Case] = &[
    ("5.1 DATA on an idle stream", |c| c.data(1, "x", END_STREAM), ConnectionError(&[PROTOCOL])),
    ("5.1 RST_STREAM on an idle stream", |c| c.frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), ConnectionError(&[PROTOCOL])),
    ("5.1 WINDOW_UPDATE on an idle stream", |c| c.open_window(1, 100), ConnectionError(&[PROTOCOL])),
    (
        "5.1 CONTINUATION on an idle stream",
        |c| c.frame(CONTINUATION, END_HEADERS, 1, get()),
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "5.1 DATA on a half-closed stream",
        |c| {
            c.frame(HEADERS, END_HEADERS | END_STREAM, 1, block(&[("x-slow", "1")]));
            c.data(1, "x", END_STREAM);
        },
        StreamError(&[STREAM_CLOSED]),
    ),
    (
        "5.1 HEADERS on a half-closed stream",
        |c| {
            c.frame(HEADERS, END_HEADERS | END_STREAM, 1, block(&[("x-slow", "1")]));
            c.frame(HEADERS, END_HEADERS | END_STREAM, 1, get());
        },
        StreamError(&[STREAM_CLOSED]),
    ),
    (
        "5.1 CONTINUATION on a half-closed stream",
        |c| {
            c.frame(HEADERS, END_HEADERS | END_STREAM, 1, get());
            c.frame(CONTINUATION, END_HEADERS, 1, get());
        },
        StreamError(&[STREAM_CLOSED, PROTOCOL]),
    ),
    (
        "5.1 DATA on a stream that the client has reset",
        |c| {
            open(c);
            c.frame(RST_STREAM, 0, 1, [0, 0, 0, 8]);
            c.data(1, "x", END_STREAM);
        },
        StreamError(&[STREAM_CLOSED]),
    ),
    (
        "5.1 HEADERS on a closed stream",
        |c| {
            served(c);
            c.frame(HEADERS, 5, 1, get())
        },
        ConnectionError(&[STREAM_CLOSED]),
    ),
    (
        "5.1 DATA on a closed stream",
        |c| {
            served(c);
            c.data(1, "x", END_STREAM)
        },
        StreamError(&[STREAM_CLOSED]),
    ),
    (
        "5.1 CONTINUATION on a closed stream",
        |c| {
            served(c);
            c.frame(CONTINUATION, 4, 1, get())
        },
        ConnectionError(&[STREAM_CLOSED, PROTOCOL]),
    ),
    ("5.1.1 a stream of an even number", |c| c.frame(HEADERS, 5, 2, get()), ConnectionError(&[PROTOCOL])),
    (
        "5.1.1 a stream of a lower number",
        |c| {
            c.frame(HEADERS, 5, 5, get());
            c.frame(HEADERS, 5, 3, get());
        },
        ConnectionError(&[PROTOCOL, STREAM_CLOSED]),
    ),
    (
        "5.3.1 HEADERS that depend on themselves",
        |c| {
            c.frame(HEADERS, 5 | WITH_PRIORITY, 1, [&[0, 0, 0, 1, 255][..], &get()].concat());
        },
        StreamError(&[PROTOCOL]),
    ),
    ("5.3.1 PRIORITY that depends on itself", |c| c.frame(PRIORITY, 0, 1, [0, 0, 0, 1, 255]), StreamError(&[PROTOCOL])),
    ("6.3 PRIORITY is ignored", |c| c.frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]), Alive),
    ("6.3 PRIORITY without a stream", |c| c.frame(PRIORITY, 0, 0, [0, 0, 0, 0, 255]), ConnectionError(&[PROTOCOL])),
    (
        "6.3 PRIORITY of another size",
        |c| {
            open(c);
            c.frame(PRIORITY, 0, 1, [0, 0, 0, 0])
        },
        StreamError(&[FRAME_SIZE]),
    ),
];

const KINDS: &[Case] = &[
    (
        "6.1 DATA with padding",
        |c| {
            open(c);
            c.frame(DATA, PADDED | END_STREAM, 1, [2, b'x', 0, 0])
        },
        Response,
    ),
    (
        "6.1 DATA without a stream",
        |c| {
            open(c);
            c.data(0, "x", 0)
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "6.1 DATA with more padding than payload",
        |c| {
            open(c);
            c.frame(DATA, PADDED | END_STREAM, 1, [5, b'x'])
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "6.2 HEADERS with padding and priority",
        |c| {
            let block = [&[1, 0, 0, 0, 0, 255][..], &get(), &[0]].concat();
            c.frame(HEADERS, 5 | PADDED | WITH_PRIORITY, 1, block);
        },
        Response,
    ),
    ("6.2 HEADERS without a stream", |c| c.frame(HEADERS, 5, 0, get()), ConnectionError(&[PROTOCOL])),
    (
        "6.2 HEADERS with more padding than payload",
        |c| c.frame(HEADERS, 5 | PADDED, 1, [&[255][..], &get()].concat()),
        ConnectionError(&[PROTOCOL]),
    ),
    ("6.4 RST_STREAM without a stream", |c| c.frame(RST_STREAM, 0, 0, [0, 0, 0, 8]), ConnectionError(&[PROTOCOL])),
    (
        "6.4 RST_STREAM of another size",
        |c| {
            open(c);
            c.frame(RST_STREAM, 0, 1, [0, 0, 0])
        },
        ConnectionError(&[FRAME_SIZE]),
    ),
    (
        "6.5 an acknowledgement of SETTINGS with a payload",
        |c| c.frame(SETTINGS, ACK, 0, [0]),
        ConnectionError(&[FRAME_SIZE]),
    ),
    ("6.5 SETTINGS of a stream", |c| c.frame(SETTINGS, 0, 1, []), ConnectionError(&[PROTOCOL])),
    ("6.5 SETTINGS of another size", |c| c.frame(SETTINGS, 0, 0, [0; 5]), ConnectionError(&[FRAME_SIZE])),
    ("6.5.2 ENABLE_PUSH that is no flag", |c| c.frame(SETTINGS, 0, 0, setting(2, 2)), ConnectionError(&[PROTOCOL])),
    (
        "6.5.2 a window that is too large",
        |c| c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1 << 31)),
        ConnectionError(&[FLOW_CONTROL]),
    ),
    (
        "6.5.2 a largest frame that is too small",
        |c| c.frame(SETTINGS, 0, 0, setting(5, 16_383)),
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "6.5.2 a largest frame that is too large",
        |c| c.frame(SETTINGS, 0, 0, setting(5, 1 << 24)),
        ConnectionError(&[PROTOCOL]),
    ),
    ("6.5.2 an unknown setting is ignored", |c| c.frame(SETTINGS, 0, 0, setting(0xff, 1)), Alive),
    (
        "6.5.3 the last of two values counts",
        |c| {
            let both = [setting(INITIAL_WINDOW_SIZE, 100), setting(INITIAL_WINDOW_SIZE, 1)].concat();
            c.frame(SETTINGS, 0, 0, both);
        },
        Alive,
    ),
    (
        "6.6 PUSH_PROMISE of a client",
        |c| {
            open(c);
            c.frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])
        },
        ConnectionError(&[PROTOCOL]),
    ),
    ("6.7 an acknowledgement that was not asked for", |c| c.frame(PING, ACK, 0, *b"invalid!"), Alive),
    ("6.7 PING of a stream", |c| c.frame(PING, 0, 1, [0; 8]), ConnectionError(&[PROTOCOL])),
    ("6.7 PING of another size", |c| c.frame(PING, 0, 0, [0; 6]), ConnectionError(&[FRAME_SIZE])),
    ("6.8 GOAWAY of a stream", |c| c.frame(GOAWAY, 0, 1, [0; 8]), ConnectionError(&[PROTOCOL])),
    ("6.9 WINDOW_UPDATE of nothing", |c| c.open_window(0, 0), ConnectionError(&[PROTOCOL])),
    (
        "6.9 WINDOW_UPDATE of nothing for a stream",
        |c| {
            open(c);
            c.open_window(1, 0)
        },
        StreamError(&[PROTOCOL]),
    ),
    ("6.9 WINDOW_UPDATE of another size", |c| c.frame(WINDOW_UPDATE, 0, 0, [0; 3]), ConnectionError(&[FRAME_SIZE])),
    (
        "6.9.1 a window beyond the largest",
        |c| {
            c.open_window(0, 0x7fff_ffff);
            c.open_window(0, 0x7fff_ffff)
        },
        ConnectionError(&[FLOW_CONTROL]),
    ),
    (
        "6.9.1 a window of a stream beyond the largest",
        |c| {
            open(c);
            c.open_window(1, 0x7fff_ffff);
            c.open_window(1, 0x7fff_ffff);
        },
        StreamError(&[FLOW_CONTROL]),
    ),
    (
        "6.9.2 a window that becomes too large",
        |c| {
            open(c);
            c.open_window(1, 0x7fff_fff0 - 65_535);
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0x7fff_ffff));
        },
        StreamError(&[FLOW_CONTROL]),
    ),
    (
        "6.10 a head in three frames",
        |c| {
            let block = get();
            c.frame(HEADERS, END_STREAM, 1, &block[..5]);
            c.frame(CONTINUATION, 0, 1, &block[5..9]);
            c.frame(CONTINUATION, END_HEADERS, 1, &block[9..]);
        },
        Response,
    ),
    (
        "6.10 CONTINUATION of no stream",
        |c| {
            c.frame(HEADERS, END_STREAM, 1, get());
            c.frame(CONTINUATION, END_HEADERS, 0, get());
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "6.10 CONTINUATION after the end of a head",
        |c| {
            open(c);
            c.frame(CONTINUATION, END_HEADERS, 1, block(&[]));
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "6.10 CONTINUATION after DATA",
        |c| {
            open(c);
            c.data(1, "x", 0);
            c.frame(CONTINUATION, END_HEADERS, 1, block(&[]));
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "7 an unknown error code",
        |c| {
            open(c);
            c.frame(RST_STREAM, 0, 1, [0, 0, 0, 0xff])
        },
        Alive,
    ),
];

#[test]
fn frames_have_the_effect_that_the_standards_say() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            if request.head.contains("x-slow") {
                return conn.wait_for_the_end();
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = start(upstream.address, &[]);
    let mut wrong = Vec::new();
    for (name, send, expected) in [FRAMES, STREAMS, KINDS, fields::MESSAGES, fields::HPACK].into_iter().flatten() {
        let mut client = H2::open(gateway.data);
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
