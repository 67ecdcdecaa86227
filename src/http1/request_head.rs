//! The head of a request as others read it: method, target, fields, and the client's wishes for its connection. `head` reads it
//! from bytes.

use hyper::Method;

use super::fields::{Fields, Span};
use super::lines::Lines;

/// The head of a request: first it is read, then others read it.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// Its method.
    pub method: Method,
    /// Whether it speaks HTTP/1.0.
    pub is_http10: bool,
    /// Its field lines.
    pub fields: Fields,
    /// What it says of this connection.
    pub asks: Expectations,
    pub(super) target: Target,
    pub(super) reading: Reading,
}

/// Where the parts of a request target lie; those that it lacks are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Target {
    pub authority: Span,
    pub path: Span,
    /// With its question mark.
    pub query: Span,
}

impl RequestHead {
    /// The authority of an absolute-form target (RFC 9112, 3.2.2).
    pub fn authority(&self) -> Option<&[u8]> {
        Some(self.fields.bytes(self.target.authority)).filter(|authority| !authority.is_empty())
    }

    /// The one value of `Host`; `None` in HTTP/1.0 without it.
    pub fn host(&self) -> Option<&[u8]> {
        Some(self.fields.bytes(self.reading.host?))
    }

    /// The path as it was sent; `/` when the target has none, `*` for OPTIONS of the whole server. ASCII.
    pub fn path(&self) -> &[u8] {
        match self.fields.bytes(self.target.path) {
            b"" => b"/",
            path => path,
        }
    }

    /// The same as text.
    pub fn path_text(&self) -> &str {
        std::str::from_utf8(self.path()).unwrap_or_default()
    }

    /// The query with its question mark; empty when there is none. ASCII.
    pub fn query(&self) -> &[u8] {
        self.fields.bytes(self.target.query)
    }
}

/// What a client asks of its connection to the gateway; collected while the headers are read, as lookups cost more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
    /// `TE: trailers`.
    pub trailers: bool,
    /// `Expect: 100-continue`, which means nothing in HTTP/1.0 (RFC 9110, 10.1.1).
    pub continues: bool,
}

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; also 0 when nothing announces a body.
    Length(u64),
    /// Chunked, with trailers.
    Chunked,
}

/// How far a head was read, and what it has said of its framing.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) lines: Lines,
    pub(super) empty_lines: u8,
    pub(super) method: Span,
    pub(super) host: Option<Span>,
    pub(super) chunked: bool,
    pub(super) length: Option<u64>,
}
