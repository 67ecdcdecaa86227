//! What happens to headers on their way through: hop-by-hop headers end here in both directions, headers that could
//! rewrite the request behind the classified one never reach UCS, and the gateway adds its own marks. Pure: it reads the
//! lines as they came and writes those that go on; whether a message may pass, and its framing, are not decided here.

use std::ops::Range;
use std::rc::Rc;

use hyper::Method;
use hyper::header::HeaderName;

pub use self::marks::{Hop, RequestIds};
use self::marks::{Mark, Seen, VIA, write_marks};
use self::names::{is_hop_by_hop, is_of_the_message, is_override, is_unwanted_upstream};
use super::buffers::{Buffer, Buffers};
use super::wire::{FieldLine, Fields};

mod marks;
mod names;

/// The gateway's own mark: it spoke, and not UCS, which never sends it. No client can make UCS or a log believe in it.
pub const UCS_GATEWAY: HeaderName = HeaderName::from_static("ucs-gateway");

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

/// What the gateway brings to a request: its marks, and room for the head.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Of the client's connection.
    pub hop: &'a Hop,
    /// For requests that come without an id.
    pub ids: &'a RequestIds,
    /// Where the head is written.
    pub buffers: &'a Rc<Buffers>,
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
    pub trailers: Announced,
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
pub fn to_upstream(to: Destination<'_>, fields: &Fields, without: &[&str], own: Own<'_>) -> UpstreamHead {
    let mut bytes = own.buffers.take(fields.head_length() + ADDED_BYTES);
    let method = to.method.as_str().as_bytes();
    write_all(&mut bytes, [method, b" ", to.path, to.query, b" HTTP/1.1\r\nhost: ", to.host, b"\r\n"]);
    let named = Named::by(fields);
    let mut seen = Seen::default();
    let (mut says_length, mut has_trailer) = (false, false);
    for line in fields.lines() {
        let name = line.name;
        match fate_of_request(name) {
            _ if named.takes(name) || without.iter().any(|other| other.as_bytes() == name) => {}
            Fate::Goes => {}
            Fate::Passes => pass_line(&mut bytes, line),
            Fate::Length => says_length = true,
            Fate::Trailer => {
                has_trailer = true;
                pass_line(&mut bytes, line);
            }
            Fate::Marks(mark) => seen.note(mark),
        }
    }
    let request_id = write_marks(&mut bytes, to.host, fields, &named, seen, own);
    let trailers = if has_trailer { Announced::by(fields.values("trailer")) } else { Announced::default() };
    let (is_safe, is_head) = (to.method.is_safe(), to.method == Method::HEAD);
    UpstreamHead { bytes, is_safe, is_head, says_length, trailers, request_id }
}

/// What becomes of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Goes,
    /// `Content-Length`: `sending` writes the framing of the next hop itself.
    Length,
    Trailer,
    Marks(Mark),
}

fn fate_of_request(name: &[u8]) -> Fate {
    match name {
        // The one host was written.
        b"host" | b"expect" => Fate::Goes,
        b"content-length" => Fate::Length,
        b"trailer" => Fate::Trailer,
        b"via" => Fate::Marks(Mark::Via),
        b"traceparent" | b"tracestate" => Fate::Marks(Mark::Trace),
        [b'x', b'-', ..] => fate_of_extension(name),
        name if is_hop_by_hop(name) || is_unwanted_upstream(name) => Fate::Goes,
        _ => Fate::Passes,
    }
}

fn fate_of_extension(name: &[u8]) -> Fate {
    match name {
        b"x-forwarded-for" => Fate::Marks(Mark::ForwardedFor),
        b"x-forwarded-proto" => Fate::Marks(Mark::ForwardedProto),
        b"x-forwarded-host" => Fate::Marks(Mark::ForwardedHost),
        b"x-request-id" => Fate::Marks(Mark::RequestId),
        name if is_override(name) => Fate::Goes,
        _ => Fate::Passes,
    }
}

/// What of UCS's head is told beside its lines.
#[derive(Debug, Default)]
pub struct Told {
    /// It has a `Date`.
    pub dated: bool,
    /// The trailers that it announces.
    pub trailers: Announced,
}

/// Writes those of UCS's lines that the client gets: without hop-by-hop headers, what `Connection` names, `UCS-Gateway`, and
/// the framing, which the caller writes; `Via` is appended.
pub fn to_downstream(fields: &Fields, bytes: &mut Vec<u8>) -> Told {
    let named = Named::by(fields);
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
    let trailers = if has_trailer { Announced::by(fields.values("trailer")) } else { Announced::default() };
    Told { dated, trailers }
}

/// Names of fields that another field announces, in order; mostly none.
#[derive(Debug, Default)]
pub struct Announced(Option<Box<[HeaderName]>>);

impl Announced {
    /// Those of lists (RFC 9110, 6.6.2 and 7.6.1); what is no name announces nothing.
    fn by<'f>(lists: impl Iterator<Item = &'f [u8]>) -> Announced {
        let names = lists.flat_map(|list| list.split(|&byte| byte == b','));
        let mut names: Vec<_> = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
        // A client may send thousands, and each field line is looked for among them.
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        Announced(Some(names.into_boxed_slice()).filter(|names| !names.is_empty()))
    }

    /// Whether the field, whose name is in lower case, is among them.
    #[inline]
    pub fn has(&self, name: &[u8]) -> bool {
        let among = |names: &[HeaderName]| names.binary_search_by(|other| other.as_str().as_bytes().cmp(name)).is_ok();
        self.0.as_deref().is_some_and(among)
    }
}

/// RFC 9110, 7.6.1: who names a header in `Connection` means it for this hop. Names of framing and of `Host` do nothing:
/// these describe the message that goes on, and a client must not be able to take them away.
struct Named(Announced);

impl Named {
    fn by(fields: &Fields) -> Named {
        // The usual words name nothing that would pass otherwise.
        let is_usual = |list: &[u8]| {
            list == b"keep-alive" || list.eq_ignore_ascii_case(b"close") || list.eq_ignore_ascii_case(b"keep-alive")
        };
        let mut lists = fields.values("connection").filter(|list| !is_usual(list)).peekable();
        Named(if lists.peek().is_some() { Announced::by(lists) } else { Announced::default() })
    }

    #[inline]
    fn takes(&self, name: &[u8]) -> bool {
        self.0.has(name) && !is_of_the_message(name)
    }
}

/// Writes a line with a number in it.
pub fn write_number(bytes: &mut Vec<u8>, name: &[u8], number: u64) {
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(b": ");
    write_decimal(bytes, number);
    bytes.extend_from_slice(b"\r\n");
}

/// Writes the digits of a number, without the machinery of formatting.
pub fn write_decimal(bytes: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return bytes.extend_from_slice(&digits[start..]);
        }
    }
}

fn write_field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    write_line(bytes, name.as_bytes(), value);
}

/// Writes a line that goes on: as it came, if that is how we write lines.
fn pass_line(bytes: &mut Vec<u8>, line: FieldLine<'_>) {
    match line.plain {
        Some(plain) => bytes.extend_from_slice(plain),
        None => write_line(bytes, line.name, line.value),
    }
}

/// Writes one line; neither name nor value may hold a line end.
pub fn write_line(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_all(bytes, [name, b": ", value, b"\r\n"]);
}

/// Writes pieces behind each other; room for all of them is made at once.
pub fn write_all<const N: usize>(bytes: &mut Vec<u8>, pieces: [&[u8]; N]) {
    bytes.reserve(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
}

/// A comma list with our own entry behind the others, all on one line, so that readers who look at one line alone see the
/// end that can be trusted.
fn write_list<'f>(bytes: &mut Vec<u8>, name: &str, others: impl Iterator<Item = &'f [u8]>, own: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    for other in others.filter(|other| !other.is_empty()) {
        bytes.extend_from_slice(other);
        bytes.extend_from_slice(b", ");
    }
    bytes.extend_from_slice(own.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// The lines as they came, or our own if there is none.
fn write_else<'f>(bytes: &mut Vec<u8>, name: &str, others: impl Iterator<Item = &'f [u8]>, own: &[u8]) {
    let mut others = others.peekable();
    if others.peek().is_none() {
        write_field(bytes, name, own);
    }
    others.for_each(|other| write_field(bytes, name, other));
}

#[cfg(test)]
mod tests;
