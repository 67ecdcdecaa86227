//! The cases of messages and of field sections.

use super::Expected::{Alive, ConnectionError, Response, StreamError};
use super::{COMPRESSION, Case, PROTOCOL, block, get, open};
use crate::support::h2::{END_HEADERS, END_STREAM, HEADERS};
use crate::support::{H2, hpack};

/// The usual request without this field.
fn without(name: &str) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/profiles/1"), (":authority", "ucs")];
    hpack::encode(&usual.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>())
}

/// A request with two more fields that begin so: the value of one is plain, that of the other is coded (RFC 7541, C.4.1).
fn literals(client: &mut H2, name: &[u8]) {
    let plain = [name, &[1, b'y']].concat();
    let coded = [name, &[0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]].concat();
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, [get(), plain, coded].concat());
}

/// A representation with the name `custom-key` (RFC 7541, C.4.3).
fn coded(first: u8) -> Vec<u8> {
    vec![first, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]
}

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
    ("8.1 GET", |c| c.frame(HEADERS, 5, 1, get()), Response),
    (
        "8.1 HEAD",
        |c| {
            let fields = [(":method", "HEAD"), (":scheme", "http"), (":path", "/profiles/1"), (":authority", "ucs")];
            c.frame(HEADERS, 5, 1, hpack::encode(&fields));
        },
        Response,
    ),
    (
        "8.1 a body",
        |c| {
            open(c);
            c.data(1, "body", END_STREAM);
        },
        Response,
    ),
    (
        "8.2.2 a field of the connection",
        |c| c.frame(HEADERS, 5, 1, block(&[("connection", "x")])),
        StreamError(&[PROTOCOL]),
    ),
    ("8.2.2 another TE than trailers", |c| c.frame(HEADERS, 5, 1, block(&[("te", "gzip")])), StreamError(&[PROTOCOL])),
    ("8.3.1 no method", |c| c.frame(HEADERS, 5, 1, without(":method")), StreamError(&[PROTOCOL])),
    ("8.3.1 no scheme", |c| c.frame(HEADERS, 5, 1, without(":scheme")), StreamError(&[PROTOCOL])),
    ("8.3.1 no path", |c| c.frame(HEADERS, 5, 1, without(":path")), StreamError(&[PROTOCOL])),
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
    (
        "RFC 7541, 5.2 the symbol of the end",
        |c| {
            // `a`, the symbol of 30 bits, and `a`.
            c.frame(HEADERS, 5, 1, [get(), vec![0x00, 0x01, b'x', 0x85, 0x1f, 0xff, 0xff, 0xff, 0xe3]].concat());
        },
        ConnectionError(&[COMPRESSION]),
    ),
    (
        "RFC 7541, 6.1 an index of the dynamic table",
        |c| c.frame(HEADERS, 5, 1, [get(), vec![0x40, 1, b'x', 1, b'y', 0xbe]].concat()),
        Response,
    ),
    ("RFC 7541, 6.2.1 a literal for the table with a known name", |c| literals(c, &[0x7a]), Response),
    ("RFC 7541, 6.2.1 a literal for the table with a new name", |c| literals(c, &[0x40, 1, b'x']), Response),
    ("RFC 7541, 6.2.1 a literal for the table with a coded name", |c| literals(c, &coded(0x40)), Response),
    ("RFC 7541, 6.2.2 a literal without indexing with a known name", |c| literals(c, &[0x0f, 0x2b]), Response),
    ("RFC 7541, 6.2.2 a literal without indexing with a new name", |c| literals(c, &[0x00, 1, b'x']), Response),
    ("RFC 7541, 6.2.2 a literal without indexing with a coded name", |c| literals(c, &coded(0x00)), Response),
    ("RFC 7541, 6.2.3 a literal that is never indexed with a known name", |c| literals(c, &[0x1f, 0x2b]), Response),
    ("RFC 7541, 6.2.3 a literal that is never indexed with a new name", |c| literals(c, &[0x10, 1, b'x']), Response),
    ("RFC 7541, 6.2.3 a literal that is never indexed with a coded name", |c| literals(c, &coded(0x10)), Response),
    ("RFC 7541, 6.3 a size of the table", |c| c.frame(HEADERS, 5, 1, [vec![0x20], get()].concat()), Response),
    (
        "RFC 7541, 4.2 several sizes of the table",
        |c| c.frame(HEADERS, 5, 1, [vec![0x20, 0x3f, 0xe1, 0x1f], get()].concat()),
        Response,
    ),
];
