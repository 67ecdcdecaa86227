//! The policy for fields on their way through: hop-by-hop fields are dropped in both directions, fields that could override the
//! classified request are not forwarded, and the gateway adds its forwarding fields. Pure: it reads field lines and writes those
//! that pass; admission and framing are decided elsewhere.

use std::ops::Range;

use hyper::Method;

pub(crate) use self::client_address::{TrustedProxies, TrustedProxy};
use self::connection_options::ConnectionOptions;
use self::forwarding::{ClientFields, FieldSet, ForwardedField, via, write_forwarding};
pub use self::forwarding::{ForwardedInfo, ProxyFields, Received, RequestIds};
pub(crate) use self::forwarding::{is_looping, trace_and_span, trace_ids};
pub(crate) use self::names::UCS_GATEWAY;
use self::names::{is_hop_by_hop, is_mark, is_override, is_unwanted_upstream};
use crate::http1::encode::{pass_line, write_all, write_list};
use crate::http1::{Buffer, FieldNames, Fields};

mod client_address;
mod connection_options;
mod forwarding;
pub(crate) mod max_forwards;
mod names;

/// Capacity for the fields that the gateway adds to a head, in bytes.
const ADDED_BYTES: usize = 320;

/// The classified request line, and the host.
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

/// The head of a request to UCS, without its framing.
#[derive(Debug)]
pub struct UpstreamHead {
    /// The request line and the field lines.
    pub bytes: Buffer,
    /// Whether its method is safe (RFC 9110, 9.2.1).
    pub(crate) is_safe: bool,
    /// Whether its method is HEAD, whose response has no body.
    pub(crate) is_head: bool,
    /// Whether the client declared a length: then an empty body declares one, too.
    pub(crate) says_length: bool,
    /// The trailers that it announces, without those whose fields would not be forwarded.
    pub(crate) trailers: FieldNames,
    request_id: Range<usize>,
}

impl UpstreamHead {
    /// The request id for UCS. ASCII.
    pub(crate) fn request_id(&self) -> &[u8] {
        &self.bytes[self.request_id.clone()]
    }
}

/// Makes the head for UCS from a client's field lines, which `http1` has validated.
///
/// Dropped: `Connection` and the fields that it names, every other hop-by-hop field, `Expect` (the gateway sends 100 itself),
/// method overrides, URL rewrites, other claims about the client's address (`Forwarded`, `X-Real-IP`), underscore spellings of
/// fields that matter here, `UCS-Gateway`, and the fields in `without`. Trailers of these names are not forwarded either.
/// Dropped from clients, where proxies are configured: `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
/// Appended to: `X-Forwarded-For`, `Via`. Set if absent: `X-Forwarded-Proto`, `X-Forwarded-Host`. Replaced if
/// invalid: `X-Request-Id`. An invalid `traceparent` (W3C Trace Context) is dropped together with `tracestate`.
pub fn to_upstream(to: Destination<'_>, fields: &Fields, without: &[&str], own: ProxyFields<'_>) -> UpstreamHead {
    let mut bytes = own.buffers.take(fields.head_length() + ADDED_BYTES);
    let method = to.method.as_str().as_bytes();
    write_all(&mut bytes, [method, b" ", to.path, to.query, b" HTTP/1.1\r\nHost: ", to.host, b"\r\n"]);
    let options = ConnectionOptions::by(fields);
    let mut seen = FieldSet::default();
    let (mut says_length, mut has_trailer) = (false, false);
    let is_removed = |name: &[u8]| options.removes(name) || without.iter().any(|other| other.as_bytes() == name);
    for line in fields.lines() {
        let name = line.name;
        match disposition(name) {
            _ if is_removed(name) => {}
            Disposition::Drop => {}
            Disposition::Pass => pass_line(&mut bytes, line),
            Disposition::Length => says_length = true,
            Disposition::Trailer => {
                has_trailer = true;
                pass_line(&mut bytes, line);
            }
            Disposition::MaxForwards if !max_forwards::is_counted(to.method) => pass_line(&mut bytes, line),
            Disposition::MaxForwards => max_forwards::write_decremented(&mut bytes, line.value()),
            Disposition::Forwarding(field) if own.hop.drops(field) => {}
            Disposition::Forwarding(field) => seen.note(field),
        }
    }
    let client = ClientFields { fields, options: &options, seen };
    let request_id = write_forwarding(&mut bytes, to.host, &client, own);
    let passes = |name: &[u8]| disposition(name) == Disposition::Pass && !is_removed(name);
    let trailers = if has_trailer { FieldNames::by(fields.values("trailer"), passes) } else { FieldNames::default() };
    let (is_safe, is_head) = (to.method.is_safe(), to.method == Method::HEAD);
    UpstreamHead { bytes, is_safe, is_head, says_length, trailers, request_id }
}

/// The treatment of one field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Pass,
    Drop,
    /// `Content-Length`: the encoder writes the framing of the next hop.
    Length,
    Trailer,
    /// `Max-Forwards`: counted down in the methods that it is defined for.
    MaxForwards,
    Forwarding(ForwardedField),
}

fn disposition(name: &[u8]) -> Disposition {
    match name {
        // The host is already written.
        b"host" | b"expect" => Disposition::Drop,
        b"content-length" => Disposition::Length,
        b"trailer" => Disposition::Trailer,
        b"max-forwards" => Disposition::MaxForwards,
        b"via" => Disposition::Forwarding(ForwardedField::Via),
        b"traceparent" | b"tracestate" => Disposition::Forwarding(ForwardedField::Trace),
        [b'x', b'-', ..] => disposition_of_extension(name),
        name if is_hop_by_hop(name) || is_unwanted_upstream(name) => Disposition::Drop,
        _ => Disposition::Pass,
    }
}

fn disposition_of_extension(name: &[u8]) -> Disposition {
    match name {
        b"x-forwarded-for" => Disposition::Forwarding(ForwardedField::ForwardedFor),
        b"x-forwarded-proto" => Disposition::Forwarding(ForwardedField::ForwardedProto),
        b"x-forwarded-host" => Disposition::Forwarding(ForwardedField::ForwardedHost),
        b"x-request-id" => Disposition::Forwarding(ForwardedField::RequestId),
        name if is_override(name) => Disposition::Drop,
        _ => Disposition::Pass,
    }
}

/// Facts about UCS's field lines that the encoder needs.
#[derive(Debug, Default)]
pub struct ResponseMeta {
    /// Whether it has a `Date`.
    pub(crate) dated: bool,
    /// The trailers that it announces, without those whose fields would not be forwarded.
    pub(crate) trailers: FieldNames,
}

/// Writes UCS's field lines for the client: without hop-by-hop fields, the fields that `Connection` names, `UCS-Gateway`, and
/// the framing, which the caller writes; `Via` is appended.
pub fn to_downstream(fields: &Fields, bytes: &mut Vec<u8>) -> ResponseMeta {
    let options = ConnectionOptions::by(fields);
    let (mut dated, mut has_via, mut has_trailer) = (false, false, false);
    let is_removed = |name: &[u8]| options.removes(name) || is_hop_by_hop(name) || is_mark(name);
    for line in fields.lines() {
        let name = line.name;
        if is_removed(name) {
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
    let own = via(if fields.is_of_http10_response() { Received::Http10 } else { Received::Http11 });
    if has_via {
        write_list(bytes, "Via", fields.values("via"), own);
    } else {
        write_all(bytes, [b"Via: ", own.as_bytes(), b"\r\n"]);
    }
    let passes = |name: &[u8]| name != b"via" && !is_removed(name);
    let trailers = if has_trailer { FieldNames::by(fields.values("trailer"), passes) } else { FieldNames::default() };
    ResponseMeta { dated, trailers }
}

#[cfg(test)]
mod tests;
