//! The cases of streams and their states.

use super::Expected::{Alive, AliveOrEnded, ConnectionError, Response, StreamError};
use super::{
    Case, FRAME_SIZE, PROTOCOL, REFUSED_STREAM, STREAM_CLOSED, WITH_PRIORITY, block, body_is, get, open, served,
    setting,
};
use crate::support::H2;
use crate::support::h2::{
    CANCEL, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PRIORITY, RST_STREAM, SETTINGS,
};

/// A stream 1 whose response has no window.
fn half_closed(client: &mut H2) {
    client.keep_windows_shut();
    client.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0));
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, get());
}

pub(super) const STREAMS: &[Case] = &[
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
    (
        "5.1 WINDOW_UPDATE on a half-closed stream",
        |c| {
            half_closed(c);
            c.open_window(1, 1);
            body_is(c, 1);
        },
        Alive,
    ),
    (
        "5.1 PRIORITY on a half-closed stream",
        |c| {
            half_closed(c);
            c.frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]);
            c.open_window(1, 1);
            body_is(c, 1);
        },
        Alive,
    ),
    (
        "5.1 RST_STREAM on a half-closed stream",
        |c| {
            half_closed(c);
            c.frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes());
        },
        AliveOrEnded,
    ),
    (
        "5.1 PRIORITY on a closed stream",
        |c| {
            served(c);
            c.frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]);
        },
        Alive,
    ),
    (
        "5.1 HEADERS on a stream that the client has reset",
        |c| {
            open(c);
            c.frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes());
            c.frame(HEADERS, END_HEADERS | END_STREAM, 1, get());
        },
        StreamError(&[STREAM_CLOSED]),
    ),
    (
        "5.1 CONTINUATION on a stream that the client has reset",
        |c| {
            open(c);
            c.frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes());
            c.frame(CONTINUATION, END_HEADERS, 1, block(&[]));
        },
        StreamError(&[STREAM_CLOSED, PROTOCOL]),
    ),
    (
        "5.1.2 one stream too many",
        |c| {
            c.keep_windows_shut();
            c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0));
            (0..129).for_each(|stream| c.frame(HEADERS, 5, 2 * stream + 1, get()));
            while c.resets.is_empty() {
                assert!(c.advance());
            }
            assert_eq!(c.resets, [(257, REFUSED_STREAM)]);
        },
        Alive,
    ),
    (
        "6.3 PRIORITY of the least weight",
        |c| {
            c.frame(PRIORITY, 0, 1, [0; 5]);
            c.frame(HEADERS, 5, 1, get());
        },
        Response,
    ),
    (
        "6.3 PRIORITY of the greatest weight",
        |c| {
            c.frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]);
            c.frame(HEADERS, 5, 1, get());
        },
        Response,
    ),
    (
        "6.3 PRIORITY that depends on another stream",
        |c| {
            c.frame(PRIORITY, 0, 3, [0, 0, 0, 1, 0]);
            c.frame(HEADERS, 5, 1, get());
        },
        Response,
    ),
    (
        "6.3 PRIORITY that is exclusive",
        |c| {
            c.frame(PRIORITY, 0, 1, [0x80, 0, 0, 0, 0]);
            c.frame(HEADERS, 5, 1, get());
        },
        Response,
    ),
    (
        "6.3 PRIORITY of a later stream",
        |c| {
            c.frame(PRIORITY, 0, 3, [0, 0, 0, 0, 255]);
            c.frame(HEADERS, 5, 1, get());
        },
        Response,
    ),
];
