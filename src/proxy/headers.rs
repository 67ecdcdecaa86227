//! What happens to headers on their way through: hop-by-hop headers end here in both directions, headers that could
//! rewrite the request behind the classified one never reach UCS, and the gateway adds its own marks. Pure: it reads the
//! lines as they came and writes those that go on; whether a message may pass, and its framing, are not decided here.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;

use hyper::Method;
use hyper::header::HeaderName;

use self::names::{is_hop_by_hop, is_of_the_message, is_override, is_unwanted_upstream};
use super::buffers::{Buffer, Buffers};
use super::wire::{FieldLine, Fields};

mod names;

/// The gateway's own mark: it spoke, and not UCS, which never sends it. No client can make UCS or a log believe in it.
pub const UCS_GATEWAY: HeaderName = HeaderName::from_static("ucs-gateway");
const X_REQUEST_ID: &str = "x-request-id";

/// What the gateway writes on a connection's path into `Via` (RFC 9110, 7.6.3).
const VIA: &str = "1.1 ucs-gateway";

/// The same as a line, with the end of the line before it.
const VIA_LINE: &[u8] = b"\r\nvia: 1.1 ucs-gateway\r\n";

/// The longest request id that is taken over from a client, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// Room for what the gateway adds to a head, in bytes.
const ADDED_BYTES: usize = 320;

/// What one connection adds to its requests: made once when it is accepted.
#[derive(Debug)]
pub struct Hop {
    peer: String,
    proto: &'static str,
}

impl Hop {
    /// `peer` is the client's address; `tls` whether it came over TLS.
    pub fn new(peer: IpAddr, tls: bool) -> Hop {
        Hop { peer: peer.to_canonical().to_string(), proto: if tls { "https" } else { "http" } }
    }

    /// The client's address; one of IPv4 in its own form, however it came.
    pub fn peer(&self) -> &str {
        &self.peer
    }
}

/// Makes request ids: a random prefix for each worker and a counter behind it.
#[derive(Debug)]
pub struct RequestIds {
    /// 16 hexadecimal digits.
    prefix: [u8; 16],
    next: Cell<u64>,
}

impl RequestIds {
    /// `prefix` should be random, and differ between workers and starts.
    pub fn new(prefix: u64) -> RequestIds {
        RequestIds { prefix: hex(prefix), next: Cell::new(0) }
    }

    /// The client's id, if it is one that can be trusted not to break a log; otherwise 32 lower-case hexadecimal digits
    /// that no other call has returned.
    pub fn id_of(&self, fields: &Fields) -> String {
        match client_id(fields) {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => String::from_utf8_lossy(&self.fresh()).into_owned(),
        }
    }

    fn fresh(&self) -> [u8; 32] {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let mut text = [0; 32];
        text[..16].copy_from_slice(&self.prefix);
        text[16..].copy_from_slice(&hex(number));
        text
    }
}

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
    /// The id that UCS sees.
    pub fn request_id(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.request_id.clone()]).unwrap_or_default()
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
    let (mut says_length, mut trailers) = (false, Announced::default());
    for line in fields.lines() {
        let FieldLine { name, value, .. } = line;
        match fate_of_request(name) {
            _ if named.takes(name) || without.iter().any(|other| other.as_bytes() == name) => {}
            Fate::Goes => {}
            Fate::Passes => pass_line(&mut bytes, line),
            Fate::Length => says_length = true,
            Fate::Trailer => {
                trailers.add(value);
                pass_line(&mut bytes, line);
            }
            Fate::Marks(mark) => seen.note(mark),
        }
    }
    if seen.is_nothing() {
        write_own_marks(&mut bytes, to.host, own.hop);
    } else {
        write_marks(&mut bytes, to.host, fields, &named, seen, own.hop);
    }
    let id = if seen.has(Mark::RequestId) && !named.takes(X_REQUEST_ID.as_bytes()) { client_id(fields) } else { None };
    let request_id = write_request_id(&mut bytes, id, own.ids);
    let (is_safe, is_head) = (to.method.is_safe(), to.method == Method::HEAD);
    UpstreamHead { bytes, is_safe, is_head, says_length, trailers, request_id }
}

/// What the gateway has a word in, when the client says nothing of it: as [`write_marks`], but at once.
fn write_own_marks(bytes: &mut Vec<u8>, host: &[u8], hop: &Hop) {
    write_all(bytes, [b"x-forwarded-for: ", hop.peer.as_bytes(), b"\r\nx-forwarded-proto: ", hop.proto.as_bytes()]);
    write_all(bytes, [b"\r\nx-forwarded-host: ", host, VIA_LINE]);
}

/// What the gateway has a word in, by what was seen of the client's.
fn write_marks(bytes: &mut Vec<u8>, host: &[u8], fields: &Fields, named: &Named, seen: Seen, hop: &Hop) {
    let values = |name: &'static str, mark: Mark| {
        let of_client = seen.has(mark) && !named.takes(name.as_bytes());
        fields.values(name).take(if of_client { usize::MAX } else { 0 })
    };
    write_list(bytes, "x-forwarded-for", values("x-forwarded-for", Mark::ForwardedFor), &hop.peer);
    write_else(bytes, "x-forwarded-proto", values("x-forwarded-proto", Mark::ForwardedProto), hop.proto.as_bytes());
    write_else(bytes, "x-forwarded-host", values("x-forwarded-host", Mark::ForwardedHost), host);
    write_list(bytes, "via", values("via", Mark::Via), VIA);
    if seen.has(Mark::Trace) && is_trace_context(values("traceparent", Mark::Trace)) {
        for name in ["traceparent", "tracestate"] {
            values(name, Mark::Trace).for_each(|value| write_field(bytes, name, value));
        }
    }
}

/// Writes the client's id, or a fresh one; and says where it is.
fn write_request_id(bytes: &mut Vec<u8>, id: Option<&[u8]>, ids: &RequestIds) -> Range<usize> {
    let start = bytes.len() + X_REQUEST_ID.len() + ": ".len();
    match id {
        Some(id) => write_field(bytes, X_REQUEST_ID, id),
        None => write_field(bytes, X_REQUEST_ID, &ids.fresh()),
    }
    start..bytes.len() - "\r\n".len()
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

/// What the gateway has a word in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    ForwardedFor = 1,
    ForwardedProto = 2,
    ForwardedHost = 4,
    Via = 8,
    RequestId = 16,
    Trace = 32,
}

/// Which of them a message has.
#[derive(Clone, Copy, Debug, Default)]
struct Seen(u8);

impl Seen {
    fn note(&mut self, mark: Mark) {
        self.0 |= mark as u8;
    }

    fn is_nothing(self) -> bool {
        self.0 == 0
    }

    fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }
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
    let (mut told, mut has_via) = (Told::default(), false);
    for line in fields.lines() {
        let FieldLine { name, value, .. } = line;
        if named.takes(name) || is_hop_by_hop(name) || name == UCS_GATEWAY.as_str().as_bytes() {
            continue;
        }
        match name {
            b"content-length" => continue,
            b"via" => {
                has_via = true;
                continue;
            }
            b"date" => told.dated = true,
            b"trailer" => told.trailers.add(value),
            _ => {}
        }
        pass_line(bytes, line);
    }
    if has_via {
        write_list(bytes, "via", fields.values("via"), VIA);
    } else {
        write_field(bytes, "via", VIA.as_bytes());
    }
    told
}

/// Names of fields that another field announces; mostly none.
#[derive(Debug, Default)]
pub struct Announced(Option<Box<[HeaderName]>>);

impl Announced {
    /// Whether the field, whose name is in lower case, is among them.
    #[inline]
    pub fn has(&self, name: &[u8]) -> bool {
        self.0.iter().flatten().any(|other| other.as_str().as_bytes() == name)
    }

    /// Adds those of a list (RFC 9110, 6.6.2 and 7.6.1); what is no name announces nothing.
    fn add(&mut self, list: &[u8]) {
        let names = list.split(|&byte| byte == b',').filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        self.0 = Some(self.0.take().unwrap_or_default().into_iter().chain(names).collect());
    }
}

/// RFC 9110, 7.6.1: who names a header in `Connection` means it for this hop. Names of framing and of `Host` do nothing:
/// these describe the message that goes on, and a client must not be able to take them away.
struct Named(Announced);

impl Named {
    fn by(fields: &Fields) -> Named {
        let mut named = Announced::default();
        // The usual words name nothing that would pass otherwise.
        let lists = fields.values("connection").filter(|value| !matches!(*value, b"keep-alive" | b"close"));
        lists.for_each(|list| named.add(list));
        Named(named)
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

/// An id that could break a log line or is absurdly long is none; so is a repeated one, which has no one reading.
fn client_id(fields: &Fields) -> Option<&[u8]> {
    let mut ids = fields.values(X_REQUEST_ID);
    let id = ids.next()?;
    let sane = (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    (sane && ids.next().is_none()).then_some(id)
}

/// Whether there is one `traceparent`, and that is valid.
fn is_trace_context<'f>(mut parents: impl Iterator<Item = &'f [u8]>) -> bool {
    parents.next().is_some_and(is_traceparent) && parents.next().is_none()
}

/// W3C Trace Context, 3.2: `version "-" trace-id "-" parent-id "-" flags`, lower-case hexadecimal, ids not all zero,
/// version not ff; version 00 ends there, later ones may go on behind another dash.
pub fn is_traceparent(value: &[u8]) -> bool {
    let Some((fixed, rest)) = value.split_at_checked(55) else { return false };
    let ends_well = if &fixed[..2] == b"00" { rest.is_empty() } else { rest.first().is_none_or(|&byte| byte == b'-') };
    let dashes = [2, 35, 52];
    let shaped = fixed.iter().enumerate().all(|(place, &byte)| {
        if dashes.contains(&place) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') }
    });
    let is_zero = |id: &[u8]| id.iter().all(|&byte| byte == b'0');
    ends_well && shaped && &fixed[..2] != b"ff" && !is_zero(&fixed[3..35]) && !is_zero(&fixed[36..52])
}

fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15])
}

#[cfg(test)]
mod tests;
