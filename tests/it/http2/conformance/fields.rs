//! The cases of messages and of field sections.

use super::Expected::{Alive, ConnectionError, Response, StreamError};
use super::{COMPRESSION, Case, PROTOCOL, block, get, open};
use crate::support::h2::{END_HEADERS, END_STREAM, HEADERS};
use crate::support::hpack;

pub(super) const MESSAGES: &[Case] = &[
    (
        "8.1 trailers",
        |c| {
            open(c);
            c.data(1, "x", 0);
            c.frame(HEADERS, 5, 1, hpack::encode(&[("x", "y")]))
        },
        Response,
    ),
    (
        "8.1 a second head that ends nothing",
        |c| {
            open(c);
            c.frame(HEADERS, END_HEADERS, 1, hpack::encode(&[("x", "y")]));
        },
        StreamError(&[PROTOCOL]),
    ),
    (
        "8.1 pseudo fields in trailers",
        |c| {
            open(c);
            c.frame(HEADERS, 5, 1, hpack::encode(&[("x", "y"), (":method", "GET")]));
        },
        StreamError(&[PROTOCOL]),
    ),
    ("8.2 an upper-case name", |c| c.frame(HEADERS, 5, 1, block(&[("X-A", "y")])), StreamError(&[PROTOCOL])),
    (
        "8.3 a pseudo field after others",
        |c| {
            let fields = [(":method", "GET"), ("x", "y"), (":scheme", "http"), (":path", "/"), (":authority", "ucs")];
            c.frame(HEADERS, 5, 1, hpack::encode(&fields));
        },
        StreamError(&[PROTOCOL]),
    ),
    ("8.3 an unknown pseudo field", |c| c.frame(HEADERS, 5, 1, block(&[(":test", "ok")])), StreamError(&[PROTOCOL])),
    (
        "8.3 a pseudo field of responses",
        |c| c.frame(HEADERS, 5, 1, block(&[(":status", "200")])),
        StreamError(&[PROTOCOL]),
    ),
    (
        "8.3.1 an empty :path",
        |c| {
            let fields = [(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "ucs")];
            c.frame(HEADERS, 5, 1, hpack::encode(&fields));
        },
        StreamError(&[PROTOCOL]),
    ),
    ("8.3.1 two methods", |c| c.frame(HEADERS, 5, 1, block(&[(":method", "GET")])), StreamError(&[PROTOCOL])),
    ("8.3.1 two schemes", |c| c.frame(HEADERS, 5, 1, block(&[(":scheme", "http")])), StreamError(&[PROTOCOL])),
    ("8.3.1 two paths", |c| c.frame(HEADERS, 5, 1, block(&[(":path", "/")])), StreamError(&[PROTOCOL])),
    (
        "8.1.1 less than the declared length",
        |c| {
            c.frame(HEADERS, END_HEADERS, 1, block(&[("content-length", "5")]));
            c.data(1, "1234", END_STREAM);
        },
        StreamError(&[PROTOCOL]),
    ),
    (
        "8.1.1 less than the declared length in pieces",
        |c| {
            c.frame(HEADERS, END_HEADERS, 1, block(&[("content-length", "5")]));
            c.data(1, "12", 0);
            c.data(1, "34", END_STREAM);
        },
        StreamError(&[PROTOCOL]),
    ),
];

pub(super) const HPACK: &[Case] = &[
    (
        "RFC 7541, 2.3.3 an index beyond the tables",
        |c| c.frame(HEADERS, 5, 1, [get(), vec![0xc6]].concat()),
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 2.3.3 a literal with such a name",
        |c| {
            c.frame(HEADERS, 5, 1, [get(), vec![0x40 | 0x3f, 10, 1, b'x']].concat());
        },
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 4.2 a size at the end of a block",
        |c| c.frame(HEADERS, 5, 1, [get(), vec![0x20]].concat()),
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 5.2 padding of more than seven bits",
        |c| {
            c.frame(HEADERS, 5, 1, [get(), vec![0x00, 0x01, b'x', 0x84, 0x49, 0x50, 0x9f, 0xff]].concat());
        },
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 5.2 padding of zeros",
        |c| {
            c.frame(
                HEADERS,
                5,
                1,
                [get(), vec![0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x87, 0xff, 0x83, 0x50, 0x90, 0x40]].concat(),
            );
        },
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 6.1 index 0",
        |c| c.frame(HEADERS, 5, 1, [get(), vec![0x80]].concat()),
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 6.3 a size beyond the limit",
        |c| {
            c.frame(HEADERS, 5, 1, [vec![0x3f, 0xe1, 0xff, 0x03], get()].concat());
        },
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 6 all kinds of representations",
        |c| {
            let indexed = [0x82, 0x86, 0x84, 0x41, 0x03, b'u', b'c', b's', 0x0f, 0x0b, 0x01, b'0'];
            c.frame(HEADERS, 5, 1, [&[0x20][..], &indexed].concat());
        },
        Alive,
    ),
];
