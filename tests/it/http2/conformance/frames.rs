//! The cases of the preface, of frames, and of their kinds.

use super::Expected::{Alive, AliveOrEnded, ConnectionError, Response, StreamError};
use super::{
    COMPRESSION, Case, FLOW_CONTROL, FRAME_SIZE, PADDED, PROTOCOL, PUSH_PROMISE, WITH_PRIORITY, block, body_is, get,
    open, setting, wait_for,
};
use crate::support::h2::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

pub(super) const FRAMES: &[Case] = &[
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
    ("3.4 SETTINGS is the first frame of the server", |c| assert_eq!(c.read_frame().unwrap().kind, SETTINGS), Alive),
    (
        "3.4 another preface",
        |c| {
            *c = c.another();
            c.send("INVALID CONNECTION PREFACE\r\n\r\n");
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "5.4.1 an error is told before the end",
        |c| {
            c.frame(PING, 0, 3, [0; 8]);
            assert_eq!(c.goaway().goaway_code(), PROTOCOL);
        },
        ConnectionError(&[PROTOCOL]),
    ),
];

pub(super) const KINDS: &[Case] = &[
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
            c.keep_windows_shut();
            let both = [setting(INITIAL_WINDOW_SIZE, 100), setting(INITIAL_WINDOW_SIZE, 1)].concat();
            c.frame(SETTINGS, 0, 0, both);
            c.frame(HEADERS, 5, 1, get());
            body_is(c, 1);
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
    (
        "6.1 DATA in pieces",
        |c| {
            open(c);
            c.data(1, "x", 0);
            c.data(1, "y", END_STREAM);
        },
        Response,
    ),
    (
        "6.4 RST_STREAM",
        |c| {
            open(c);
            c.frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes());
        },
        Alive,
    ),
    (
        "6.5.3 SETTINGS are acknowledged",
        |c| {
            c.frame(SETTINGS, 0, 0, setting(2, 0));
            wait_for(c, SETTINGS, ACK);
            wait_for(c, SETTINGS, ACK);
        },
        Alive,
    ),
    ("6.7 PING is acknowledged", |c| c.ping(), Alive),
    ("6.8 GOAWAY", |c| c.frame(GOAWAY, 0, 0, [0; 8]), AliveOrEnded),
    ("6.9 WINDOW_UPDATE", |c| c.open_window(0, 1), Alive),
    (
        "6.9 WINDOW_UPDATE of a stream",
        |c| {
            open(c);
            c.open_window(1, 1);
            c.data(1, "x", END_STREAM);
        },
        Response,
    ),
    (
        "6.9.1 a window of one byte",
        |c| {
            c.keep_windows_shut();
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1));
            c.frame(HEADERS, 5, 1, get());
            body_is(c, 1);
        },
        Alive,
    ),
    (
        "6.9.2 a window that changes later",
        |c| {
            c.keep_windows_shut();
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0));
            c.frame(HEADERS, 5, 1, get());
            assert_eq!(c.status(1), 200);
            body_is(c, 0);
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1));
            body_is(c, 1);
        },
        Alive,
    ),
    (
        "6.9.2 a window below zero",
        |c| {
            c.keep_windows_shut();
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 3));
            c.frame(HEADERS, 5, 1, get());
            body_is(c, 3);
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 2));
            c.open_window(1, 1);
            body_is(c, 3);
            c.open_window(1, 1);
            body_is(c, 4);
        },
        Alive,
    ),
    (
        "6.10 a head in two frames",
        |c| {
            let block = get();
            c.frame(HEADERS, END_STREAM, 1, &block[..5]);
            c.frame(CONTINUATION, END_HEADERS, 1, &block[5..]);
        },
        Response,
    ),
    (
        "6.10 CONTINUATION after the last one",
        |c| {
            c.frame(HEADERS, 0, 1, get());
            c.frame(CONTINUATION, END_HEADERS, 1, []);
            c.frame(CONTINUATION, END_HEADERS, 1, []);
        },
        ConnectionError(&[PROTOCOL]),
    ),
    (
        "6.10 DATA after CONTINUATION",
        |c| {
            c.frame(HEADERS, 0, 1, get());
            c.frame(CONTINUATION, 0, 1, []);
            c.data(1, "x", END_STREAM);
        },
        ConnectionError(&[PROTOCOL]),
    ),
    ("7 GOAWAY with an unknown error code", |c| c.frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0xff]), AliveOrEnded),
];
