//! What the gateway says of itself and of the client's connection in each request: `X-Forwarded-*`, `Via`, `X-Request-Id`;
//! and which of a client's own marks may go on. Where the other lines go is decided in `headers`.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;

use super::connection_options::ConnectionOptions;
use crate::http1::encode::{write_all, write_else, write_field, write_list};
use crate::http1::{Buffers, Fields};

const X_REQUEST_ID: &str = "x-request-id";

/// What the gateway writes on a connection's path into `Via` (RFC 9110, 7.6.3).
pub(super) const VIA: &str = "1.1 ucs-gateway";

/// The longest request id that is taken over from a client, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// What one connection adds to its requests: made once when it is accepted.
#[derive(Debug)]
pub struct ForwardedInfo {
    peer: String,
    proto: &'static str,
}

impl ForwardedInfo {
    /// `peer` is the client's address; `tls` whether it came over TLS.
    pub fn new(peer: IpAddr, tls: bool) -> ForwardedInfo {
        ForwardedInfo { peer: peer.to_canonical().to_string(), proto: if tls { "https" } else { "http" } }
    }

    /// The client's address; one of IPv4 in its own form, however it came.
    pub fn peer(&self) -> &str {
        &self.peer
    }
}

/// What the gateway brings to a request: its marks, and room for the head.
#[derive(Clone, Copy, Debug)]
pub struct ProxyFields<'a> {
    /// Of the client's connection.
    pub hop: &'a ForwardedInfo,
    /// For requests that come without an id.
    pub ids: &'a RequestIds,
    /// Where the head is written.
    pub buffers: &'a Rc<Buffers>,
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

    pub(super) fn fresh(&self) -> [u8; 32] {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let mut text = [0; 32];
        text[..16].copy_from_slice(&self.prefix);
        text[16..].copy_from_slice(&hex(number));
        text
    }
}

/// What the gateway has a word in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardedField {
    ForwardedFor = 1,
    ForwardedProto = 2,
    ForwardedHost = 4,
    Via = 8,
    RequestId = 16,
    Trace = 32,
}

/// Which of them a message has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSet(u8);

impl FieldSet {
    pub(super) fn note(&mut self, mark: ForwardedField) {
        self.0 |= mark as u8;
    }

    fn is_nothing(self) -> bool {
        self.0 == 0
    }

    fn has(self, mark: ForwardedField) -> bool {
        self.0 & mark as u8 != 0
    }
}

/// Writes what the gateway has a word in, by what was `seen` of the client's lines, and says where the request's id is.
pub(super) fn write_marks(
    bytes: &mut Vec<u8>,
    host: &[u8],
    fields: &Fields,
    named: &ConnectionOptions,
    seen: FieldSet,
    own: ProxyFields<'_>,
) -> Range<usize> {
    if seen.is_nothing() {
        write_own(bytes, host, own.hop);
    } else {
        write_both(bytes, host, fields, named, seen, own.hop);
    }
    let id = if seen.has(ForwardedField::RequestId) && !named.takes(X_REQUEST_ID.as_bytes()) {
        client_id(fields)
    } else {
        None
    };
    let start = bytes.len() + X_REQUEST_ID.len() + ": ".len();
    match id {
        Some(id) => write_field(bytes, X_REQUEST_ID, id),
        None => write_field(bytes, X_REQUEST_ID, &own.ids.fresh()),
    }
    start..bytes.len() - "\r\n".len()
}

/// What the gateway says when the client says nothing of the kind: as [`write_both`], but at once.
fn write_own(bytes: &mut Vec<u8>, host: &[u8], hop: &ForwardedInfo) {
    write_all(bytes, [b"x-forwarded-for: ", hop.peer.as_bytes(), b"\r\nx-forwarded-proto: ", hop.proto.as_bytes()]);
    write_all(bytes, [b"\r\nx-forwarded-host: ", host, b"\r\nvia: ", VIA.as_bytes(), b"\r\n"]);
}

/// What the gateway says beside what the client says.
fn write_both(
    bytes: &mut Vec<u8>,
    host: &[u8],
    fields: &Fields,
    named: &ConnectionOptions,
    seen: FieldSet,
    hop: &ForwardedInfo,
) {
    let values = |name: &'static str, mark: ForwardedField| {
        let of_client = seen.has(mark) && !named.takes(name.as_bytes());
        fields.values(name).take(if of_client { usize::MAX } else { 0 })
    };
    write_list(bytes, "x-forwarded-for", values("x-forwarded-for", ForwardedField::ForwardedFor), &hop.peer);
    write_else(
        bytes,
        "x-forwarded-proto",
        values("x-forwarded-proto", ForwardedField::ForwardedProto),
        hop.proto.as_bytes(),
    );
    write_else(bytes, "x-forwarded-host", values("x-forwarded-host", ForwardedField::ForwardedHost), host);
    write_list(bytes, "via", values("via", ForwardedField::Via), VIA);
    if seen.has(ForwardedField::Trace) && is_trace_context(values("traceparent", ForwardedField::Trace)) {
        for name in ["traceparent", "tracestate"] {
            values(name, ForwardedField::Trace).for_each(|value| write_field(bytes, name, value));
        }
    }
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
fn is_traceparent(value: &[u8]) -> bool {
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
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_silent_client_is_the_same_at_once_and_by_parts() {
        let hop = ForwardedInfo::new([192, 0, 2, 7].into(), false);
        let (mut at_once, mut by_parts) = (Vec::new(), Vec::new());
        let fields = Fields::of_lines(&[("accept", "*/*")]);
        write_own(&mut at_once, b"ucs:8080", &hop);
        write_both(&mut by_parts, b"ucs:8080", &fields, &ConnectionOptions::by(&fields), FieldSet::default(), &hop);
        assert_eq!(String::from_utf8_lossy(&at_once), String::from_utf8_lossy(&by_parts));
    }
}
