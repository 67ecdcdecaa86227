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
pub(crate) use self::names::{UCS_GATEWAY, UCS_GATEWAY_BYPASS};
use self::names::{is_disguised, is_hop_by_hop, is_mark, is_own, is_unwanted_upstream};
use crate::http1::encode::{PassedLines, write_all, write_list};
use crate::http1::{Buffer, FieldLine, FieldNames, Fields, KnownName};

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
    let is_unwanted = |name: &[u8]| without.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
    let is_removed =
        |line: &FieldLine<'_>| options.remove_line(line) || (!without.is_empty() && is_unwanted(line.name()));
    let drops = |field| own.hop.drops(field);
    let Found { seen, says_length, has_trailer } = pass_lines(&mut bytes, to.method, fields, is_removed, drops);
    let client = ClientFields { fields, options: &options, seen };
    let request_id = write_forwarding(&mut bytes, to.host, &client, own);
    let passes = |name: &[u8]| {
        disposition(KnownName::of(name), || name) == Disposition::Pass && !options.remove(name) && !is_unwanted(name)
    };
    let trailers = trailers(fields, has_trailer, passes);
    let (is_safe, is_head) = (to.method.is_safe(), to.method == Method::HEAD);
    UpstreamHead { bytes, is_safe, is_head, says_length, trailers, request_id }
}

/// What a client's field lines have besides those that pass.
#[derive(Debug, Default)]
struct Found {
    seen: FieldSet,
    says_length: bool,
    has_trailer: bool,
}

/// Writes the lines that pass.
#[inline]
fn pass_lines(
    bytes: &mut Vec<u8>,
    method: &Method,
    fields: &Fields,
    is_removed: impl Fn(&FieldLine<'_>) -> bool,
    drops: impl Fn(ForwardedField) -> bool,
) -> Found {
    let (mut found, mut passed) = (Found::default(), PassedLines::of(fields));
    for line in fields.lines().filter(|line| !is_removed(line)) {
        match disposition(line.known(), || line.name()) {
            Disposition::Drop => {}
            Disposition::Pass => passed.pass(bytes, &line),
            Disposition::Length => found.says_length = true,
            Disposition::Trailer => {
                found.has_trailer = true;
                passed.pass(bytes, &line);
            }
            Disposition::MaxForwards if !max_forwards::is_counted(method) => passed.pass(bytes, &line),
            Disposition::MaxForwards => {
                passed.end(bytes);
                max_forwards::write_decremented(bytes, line.value());
            }
            Disposition::Forwarding(field) if drops(field) => {}
            Disposition::Forwarding(field) => found.seen.note(field),
        }
    }
    passed.end(bytes);
    found
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

/// The treatment of a field; its name as received is needed only if it is not a known one.
#[inline]
fn disposition<'n>(known: KnownName, name: impl Fn() -> &'n [u8]) -> Disposition {
    match known {
        // The host is already written.
        KnownName::Host | KnownName::Expect => Disposition::Drop,
        KnownName::ContentLength => Disposition::Length,
        KnownName::Trailer => Disposition::Trailer,
        KnownName::MaxForwards => Disposition::MaxForwards,
        KnownName::Via => Disposition::Forwarding(ForwardedField::Via),
        KnownName::Traceparent | KnownName::Tracestate => Disposition::Forwarding(ForwardedField::Trace),
        KnownName::XForwardedFor => Disposition::Forwarding(ForwardedField::ForwardedFor),
        KnownName::XForwardedProto => Disposition::Forwarding(ForwardedField::ForwardedProto),
        KnownName::XForwardedHost => Disposition::Forwarding(ForwardedField::ForwardedHost),
        KnownName::XRequestId => Disposition::Forwarding(ForwardedField::RequestId),
        KnownName::Other if is_own(name()) => Disposition::Drop,
        KnownName::Unusual if is_disguised(name()) => Disposition::Drop,
        KnownName::Other | KnownName::Unusual => Disposition::Pass,
        known if is_hop_by_hop(known) || is_unwanted_upstream(known) => Disposition::Drop,
        _ => Disposition::Pass,
    }
}

/// The trailers that a message announces and whose fields would be forwarded.
fn trailers(fields: &Fields, has_trailer: bool, passes: impl Fn(&[u8]) -> bool) -> FieldNames {
    if has_trailer { FieldNames::by(fields.values_of(KnownName::Trailer), passes) } else { FieldNames::default() }
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
    let is_of_hop = |known, name: &[u8]| is_hop_by_hop(known) || (known == KnownName::Other && is_mark(name));
    let mut passed = PassedLines::of(fields);
    for line in fields.lines() {
        let known = line.known();
        if is_of_hop(known, line.name()) || options.remove_line(&line) {
            continue;
        }
        match known {
            KnownName::ContentLength => continue,
            KnownName::Via => {
                has_via = true;
                continue;
            }
            KnownName::Date => dated = true,
            KnownName::Trailer => has_trailer = true,
            _ => {}
        }
        passed.pass(bytes, &line);
    }
    passed.end(bytes);
    let own = via(if fields.is_of_http10_response() { Received::Http10 } else { Received::Http11 });
    if has_via {
        write_list(bytes, "Via", fields.values_of(KnownName::Via), own);
    } else {
        write_all(bytes, [b"Via: ", own.as_bytes(), b"\r\n"]);
    }
    let passes = |name: &[u8]| {
        let known = KnownName::of(name);
        known != KnownName::Via && !is_of_hop(known, name) && !options.remove(name)
    };
    let trailers = trailers(fields, has_trailer, passes);
    ResponseMeta { dated, trailers }
}

#[cfg(test)]
mod tests;
