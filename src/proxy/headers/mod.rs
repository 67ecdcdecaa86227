//! What happens to headers on their way through: hop-by-hop headers end here in both directions, headers that could
//! rewrite the request behind the classified one never reach UCS, and the gateway adds its own marks. Pure: it reads the
//! lines as they came and writes those that go on; whether a message may pass, and its framing, are not decided here.

use std::ops::Range;

use hyper::Method;

use self::connection_options::ConnectionOptions;
use self::forwarding::{FieldSet, ForwardedField, VIA, write_marks};
pub use self::forwarding::{ForwardedInfo, ProxyFields, RequestIds};
pub use self::names::UCS_GATEWAY;
use self::names::{is_hop_by_hop, is_override, is_unwanted_upstream};
use crate::http1::encode::{pass_line, write_all, write_field, write_list};
use crate::http1::{Buffer, FieldNames, Fields};

mod connection_options;
mod forwarding;
mod names;

/// Room for what the gateway adds to a head, in bytes.
const ADDED_BYTES: usize = 320;

/// Where a request goes: what was classified, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical path.
    pub path: &'a [u8],
    /// The query with its question mark, or nothing.
    pub query: &'a [u8],
    /// The one host.
    pub host: &'a [u8],
}

/// The head of a request as UCS gets it, but for its framing.
#[derive(Debug)]
pub struct UpstreamHead {
    /// Request line and field lines.
    pub bytes: Buffer,
    /// Whether its method asks for no change (RFC 9110, 9.2.1).
    pub is_safe: bool,
    /// Whether its method is HEAD, which no body answers.
    pub is_head: bool,
    /// Whether the client told a length: then a body of no bytes has one, too.
    pub says_length: bool,
    /// The trailers that it announces.
    pub trailers: FieldNames,
    request_id: Range<usize>,
}

impl UpstreamHead {
    /// The id that UCS sees. ASCII.
    pub fn request_id(&self) -> &[u8] {
        &self.bytes[self.request_id.clone()]
    }
}

/// Makes the head that UCS gets from a client's field lines, which the wire guard has checked.
///
/// Left out: `Connection` and what it names, every other hop-by-hop header, `Expect` (the gateway asks the client for the
/// body itself), method overrides, URL rewrites, underscore spellings of headers that matter here, `UCS-Gateway`, and
/// what `without` names. Appended to: `X-Forwarded-For`, `Via`. Set where absent: `X-Forwarded-Proto`, `X-Forwarded-Host`.
/// Replaced where unusable: `X-Request-Id`. A `traceparent` that W3C Trace Context calls invalid goes, and `tracestate`
/// with it.
pub fn to_upstream(to: Destination<'_>, fields: &Fields, without: &[&str], own: ProxyFields<'_>) -> UpstreamHead {
    let mut bytes = own.buffers.take(fields.head_length() + ADDED_BYTES);
    let method = to.method.as_str().as_bytes();
    write_all(&mut bytes, [method, b" ", to.path, to.query, b" HTTP/1.1\r\nhost: ", to.host, b"\r\n"]);
    let named = ConnectionOptions::by(fields);
    let mut seen = FieldSet::default();
    let (mut says_length, mut has_trailer) = (false, false);
    for line in fields.lines() {
        let name = line.name;
        match fate_of_request(name) {
            _ if named.takes(name) || without.iter().any(|other| other.as_bytes() == name) => {}
            Disposition::Goes => {}
            Disposition::Passes => pass_line(&mut bytes, line),
            Disposition::Length => says_length = true,
            Disposition::Trailer => {
                has_trailer = true;
                pass_line(&mut bytes, line);
            }
            Disposition::Marks(mark) => seen.note(mark),
        }
    }
    let request_id = write_marks(&mut bytes, to.host, fields, &named, seen, own);
    let trailers = if has_trailer { FieldNames::by(fields.values("trailer")) } else { FieldNames::default() };
    let (is_safe, is_head) = (to.method.is_safe(), to.method == Method::HEAD);
    UpstreamHead { bytes, is_safe, is_head, says_length, trailers, request_id }
}

/// What becomes of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Passes,
    Goes,
    /// `Content-Length`: `sending` writes the framing of the next hop itself.
    Length,
    Trailer,
    Marks(ForwardedField),
}

fn fate_of_request(name: &[u8]) -> Disposition {
    match name {
        // The one host was written.
        b"host" | b"expect" => Disposition::Goes,
        b"content-length" => Disposition::Length,
        b"trailer" => Disposition::Trailer,
        b"via" => Disposition::Marks(ForwardedField::Via),
        b"traceparent" | b"tracestate" => Disposition::Marks(ForwardedField::Trace),
        [b'x', b'-', ..] => fate_of_extension(name),
        name if is_hop_by_hop(name) || is_unwanted_upstream(name) => Disposition::Goes,
        _ => Disposition::Passes,
    }
}

fn fate_of_extension(name: &[u8]) -> Disposition {
    match name {
        b"x-forwarded-for" => Disposition::Marks(ForwardedField::ForwardedFor),
        b"x-forwarded-proto" => Disposition::Marks(ForwardedField::ForwardedProto),
        b"x-forwarded-host" => Disposition::Marks(ForwardedField::ForwardedHost),
        b"x-request-id" => Disposition::Marks(ForwardedField::RequestId),
        name if is_override(name) => Disposition::Goes,
        _ => Disposition::Passes,
    }
}

/// What of UCS's head is told beside its lines.
#[derive(Debug, Default)]
pub struct ResponseMeta {
    /// It has a `Date`.
    pub dated: bool,
    /// The trailers that it announces.
    pub trailers: FieldNames,
}

/// Writes those of UCS's lines that the client gets: without hop-by-hop headers, what `Connection` names, `UCS-Gateway`, and
/// the framing, which the caller writes; `Via` is appended.
pub fn to_downstream(fields: &Fields, bytes: &mut Vec<u8>) -> ResponseMeta {
    let named = ConnectionOptions::by(fields);
    let (mut dated, mut has_via, mut has_trailer) = (false, false, false);
    for line in fields.lines() {
        let name = line.name;
        if named.takes(name) || is_hop_by_hop(name) || name == UCS_GATEWAY.as_str().as_bytes() {
            continue;
        }
        match name {
            b"content-length" => continue,
            b"via" => {
                has_via = true;
                continue;
            }
            b"date" => dated = true,
            b"trailer" => has_trailer = true,
            _ => {}
        }
        pass_line(bytes, line);
    }
    if has_via {
        write_list(bytes, "via", fields.values("via"), VIA);
    } else {
        write_field(bytes, "via", VIA.as_bytes());
    }
    let trailers = if has_trailer { FieldNames::by(fields.values("trailer")) } else { FieldNames::default() };
    ResponseMeta { dated, trailers }
}

#[cfg(test)]
mod tests;
