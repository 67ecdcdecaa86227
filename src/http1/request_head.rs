//! The parsed head of a request: method, target, fields, and the client's options for its connection. `head` parses it.

use hyper::Method;

use super::fields::{Fields, Span};
use super::lines::Lines;

/// The head of a request.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Whether the version is HTTP/1.0.
    pub is_http10: bool,
    /// The field lines.
    pub fields: Fields,
    /// The client's options for its connection.
    pub asks: Expectations,
    pub(super) target: Target,
    pub(super) reading: Reading,
}

/// The places of a request target's parts; absent ones are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Target {
    pub(crate) authority: Span,
    pub(crate) path: Span,
    /// Includes the question mark.
    pub(crate) query: Span,
}

impl RequestHead {
    /// The authority of an absolute-form target (RFC 9112, 3.2.2).
    pub fn authority(&self) -> Option<&[u8]> {
        Some(self.fields.bytes(self.target.authority)).filter(|authority| !authority.is_empty())
    }

    /// The one value of `Host`; `None` in HTTP/1.0 without it.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        Some(self.fields.bytes(self.reading.host?))
    }

    /// The path as it was sent; `/` when the target has none, `*` for OPTIONS of the whole server. ASCII.
    pub fn path(&self) -> &[u8] {
        match self.fields.bytes(self.target.path) {
            b"" => b"/",
            path => path,
        }
    }

    /// Whether the target names the server and none of its resources: `*`, or a URL without path and query (RFC 9112, 3.2.4).
    pub(crate) fn is_about_server(&self) -> bool {
        self.method == Method::OPTIONS
            && matches!(self.fields.bytes(self.target.path), b"" | b"*")
            && self.query().is_empty()
    }

    pub(crate) fn path_text(&self) -> &str {
        std::str::from_utf8(self.path()).unwrap_or_default()
    }

    /// The query with its question mark; empty when there is none. ASCII.
    pub fn query(&self) -> &[u8] {
        self.fields.bytes(self.target.query)
    }
}

/// The client's options for its connection, collected while the fields are parsed, because lookups are slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
    /// `TE: trailers`.
    pub(crate) trailers: bool,
    /// `Expect: 100-continue`.
    pub(crate) continues: bool,
}

/// The framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A number of bytes; 0 without any framing field.
    Length(u64),
    /// Chunked, with trailers.
    Chunked,
}

/// The state of the parser: its position, and the framing fields so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) lines: Lines,
    pub(super) empty_lines: u8,
    pub(super) method: Span,
    pub(super) host: Option<Span>,
    pub(super) chunked: bool,
    pub(super) length: Option<u64>,
    /// The entries of the `Connection` lists.
    pub(super) options: usize,
}
