//! The forwarding fields of a request: `X-Forwarded-*`, `Via`, `X-Request-Id` and the trace context, merged with those of the
//! client. `headers` decides about all other fields.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;

use super::client_address::Trust;
use super::connection_options::ConnectionOptions;
use crate::http1::encode::{write_all, write_else, write_field, write_list};
use crate::http1::{Buffers, Fields, KnownName};
use crate::telemetry::trace_context;

const X_REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";

/// The gateway's entry in `Via`: the version that a message was received in, and a pseudonym (RFC 9110, 7.6.3).
const VIA_HTTP10: &str = "1.0 ucs-gateway";
const VIA_HTTP11: &str = "1.1 ucs-gateway";
const VIA_HTTP2: &str = "2 ucs-gateway";

/// The version of HTTP that a message was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// The entry for a message of this version.
pub(super) fn via(received: Received) -> &'static str {
    match received {
        Received::Http10 => VIA_HTTP10,
        Received::Http11 => VIA_HTTP11,
        Received::Http2 => VIA_HTTP2,
    }
}

/// A request that has as many entries of gateways in `Via` is in a loop: there may be a gateway in front of a gateway.
const LOOP_ENTRIES: usize = 2;

/// The longest request id that is accepted from a client, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// The facts about a client's connection for its forwarding fields; created once per connection.
#[derive(Debug)]
pub struct ForwardedInfo {
    /// The client's address; `None` over a unix socket.
    peer: Option<String>,
    proto: &'static str,
    trust: Trust,
}

impl ForwardedInfo {
    /// `peer` is the client's address, `None` over a unix socket; `tls` whether the connection uses TLS.
    pub fn new(peer: Option<IpAddr>, tls: bool) -> ForwardedInfo {
        let peer = peer.map(|peer| peer.to_canonical().to_string());
        ForwardedInfo { peer, proto: if tls { "https" } else { "http" }, trust: Trust::Unknown }
    }

    /// The same with this trust in the fields of the peer.
    pub(crate) fn with_trust(self, trust: Trust) -> ForwardedInfo {
        ForwardedInfo { trust, ..self }
    }

    /// Whether the peer's fields say who the client is.
    pub(crate) fn is_proxy(&self) -> bool {
        self.trust == Trust::Proxy
    }

    /// Whether the peer's field is dropped, because only a trusted proxy may send it.
    pub(super) fn drops(&self, field: ForwardedField) -> bool {
        let is_claim = matches!(
            field,
            ForwardedField::ForwardedFor | ForwardedField::ForwardedProto | ForwardedField::ForwardedHost
        );
        is_claim && self.trust == Trust::Client
    }

    /// The client as logs name it: its address, an IPv4-mapped one in its IPv4 form.
    pub(crate) fn peer(&self) -> &str {
        self.peer.as_deref().unwrap_or("unix")
    }
}

/// The sources of the fields that the gateway adds to a request, and the buffer for its head.
#[derive(Clone, Copy, Debug)]
pub struct ProxyFields<'a> {
    /// The client's connection.
    pub hop: &'a ForwardedInfo,
    /// The client behind a trusted proxy.
    pub client: Option<IpAddr>,
    /// The version that the request was received in.
    pub received: Received,
    /// Generates ids for requests that have none.
    pub ids: &'a RequestIds,
    /// Provides the buffer of the head.
    pub buffers: &'a Rc<Buffers>,
}

/// Generates request ids: a random prefix for each worker, followed by a counter.
#[derive(Debug)]
pub struct RequestIds {
    /// Each half has 16 hexadecimal digits.
    next: RefCell<[u8; 32]>,
}

impl RequestIds {
    /// `prefix` should be random, and differ between workers and between starts.
    pub fn new(prefix: u64) -> RequestIds {
        let mut first = [b'0'; 32];
        first[..16].copy_from_slice(&hex(prefix));
        RequestIds { next: RefCell::new(first) }
    }

    /// The client's id if it is safe to log; otherwise 32 lower-case hexadecimal digits that no other call has returned.
    pub(crate) fn id_of(&self, fields: &Fields) -> String {
        match client_id(fields) {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => String::from_utf8_lossy(&self.fresh()).into_owned(),
        }
    }

    pub(super) fn fresh(&self) -> [u8; 32] {
        let mut next = self.next.borrow_mut();
        let id = *next;
        // Counts in digits, as most numbers differ from the one before in their last digit only.
        for digit in next[16..].iter_mut().rev() {
            *digit = match *digit {
                b'9' => b'a',
                b'f' => b'0',
                digit => digit + 1,
            };
            if *digit != b'0' {
                break;
            }
        }
        id
    }
}

/// The fields that the gateway adds or merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardedField {
    ForwardedFor = 1,
    ForwardedProto = 2,
    ForwardedHost = 4,
    Via = 8,
    RequestId = 16,
    Trace = 32,
}

/// The forwarding fields that a message has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSet(u8);

impl FieldSet {
    pub(super) fn note(&mut self, field: ForwardedField) {
        self.0 |= field as u8;
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, field: ForwardedField) -> bool {
        self.0 & field as u8 != 0
    }
}

/// The forwarding fields that a client sent.
pub(super) struct ClientFields<'a> {
    pub(super) fields: &'a Fields,
    pub(super) options: &'a ConnectionOptions,
    /// Those among `fields`.
    pub(super) seen: FieldSet,
}

impl<'a> ClientFields<'a> {
    /// The values of a field that the client sent and did not name in `Connection`.
    fn values(&self, name: &'static str, field: ForwardedField) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let of_client = self.seen.has(field) && !self.options.remove(name.as_bytes());
        self.fields.values(name).take(if of_client { usize::MAX } else { 0 })
    }
}

/// Writes the forwarding fields, merged with those of the client, and returns the range of the request id.
pub(super) fn write_forwarding(
    bytes: &mut Vec<u8>,
    host: &[u8],
    client: &ClientFields<'_>,
    own: ProxyFields<'_>,
) -> Range<usize> {
    match &own.hop.peer {
        Some(peer) if client.seen.is_empty() && own.client.is_none() => {
            write_own(bytes, host, own.hop.proto, peer, via(own.received));
        }
        _ => write_merged(bytes, host, client, own),
    }
    let is_kept = client.seen.has(ForwardedField::RequestId) && !client.options.remove(X_REQUEST_ID.as_bytes());
    let id = if is_kept { client_id(client.fields) } else { None };
    let start = bytes.len() + X_REQUEST_ID.len() + ": ".len();
    match id {
        Some(id) => write_all(bytes, [b"X-Request-Id: ", id, b"\r\n"]),
        None => write_all(bytes, [b"X-Request-Id: ", &own.ids.fresh(), b"\r\n"]),
    }
    start..bytes.len() - "\r\n".len()
}

/// Writes the fields if the client sent none of them: the same result as [`write_merged`], but faster.
fn write_own(bytes: &mut Vec<u8>, host: &[u8], proto: &str, peer: &str, via: &str) {
    let [peer, proto, via] = [peer, proto, via].map(str::as_bytes);
    write_all(bytes, [b"X-Forwarded-For: ", peer, b"\r\nX-Forwarded-Proto: ", proto]);
    write_all(bytes, [b"\r\nX-Forwarded-Host: ", host, b"\r\nVia: ", via, b"\r\n"]);
}

/// Writes the fields, merged with those of the client.
fn write_merged(bytes: &mut Vec<u8>, host: &[u8], client: &ClientFields<'_>, own: ProxyFields<'_>) {
    let values = |name, field| client.values(name, field);
    // If the field is missing, the proxy has named the client in `Forwarded`, which UCS does not get.
    let named =
        own.client.filter(|_| !client.seen.has(ForwardedField::ForwardedFor)).map(|address| address.to_string());
    let chain = values("x-forwarded-for", ForwardedField::ForwardedFor).chain(named.iter().map(String::as_bytes));
    match &own.hop.peer {
        Some(peer) => write_list(bytes, "X-Forwarded-For", chain, peer),
        // The peer of a unix socket has no address to add.
        None => {
            let others: Vec<&[u8]> = chain.filter(|other| !other.is_empty()).collect();
            if !others.is_empty() {
                write_field(bytes, "X-Forwarded-For", &others.join(&b", "[..]));
            }
        }
    }
    let protos = values("x-forwarded-proto", ForwardedField::ForwardedProto);
    write_else(bytes, "X-Forwarded-Proto", protos, own.hop.proto.as_bytes());
    write_else(bytes, "X-Forwarded-Host", values("x-forwarded-host", ForwardedField::ForwardedHost), host);
    write_list(bytes, "Via", values("via", ForwardedField::Via), via(own.received));
    if client.seen.has(ForwardedField::Trace)
        && trace_context::ids(values(TRACEPARENT, ForwardedField::Trace)).is_some()
    {
        for name in [TRACEPARENT, "tracestate"] {
            values(name, ForwardedField::Trace).for_each(|value| write_field(bytes, name, value));
        }
    }
}

/// Whether the request comes back to the gateway that forwarded it, because that is its own upstream.
pub(crate) fn is_looping(fields: &Fields) -> bool {
    let entries = fields.values_of(KnownName::Via).flat_map(|list| list.split(|&byte| byte == b','));
    let is_own =
        |entry: &[u8]| [VIA_HTTP10, VIA_HTTP11, VIA_HTTP2].iter().any(|own| entry.trim_ascii() == own.as_bytes());
    entries.filter(|entry| is_own(entry)).count() >= LOOP_ENTRIES
}

/// The client's request id. One that is unsafe to log, too long, or repeated is ignored.
fn client_id(fields: &Fields) -> Option<&[u8]> {
    let mut ids = fields.values_of(KnownName::XRequestId);
    let id = ids.next()?;
    let sane = (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    (sane && ids.next().is_none()).then_some(id)
}

/// The trace id and the span id of the client's trace context, as `TRACE-SPAN`; empty without a valid one.
pub(crate) fn trace_ids(fields: &Fields) -> &[u8] {
    trace_context::ids(fields.values_of(KnownName::Traceparent)).unwrap_or_default()
}

/// The same as two texts, for events.
pub(crate) fn trace_and_span(fields: &Fields) -> (Option<&str>, Option<&str>) {
    trace_context::trace_and_span(fields.values_of(KnownName::Traceparent))
}

fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_in_hexadecimal_digits() {
        let ids = RequestIds::new(0xab);
        for number in 0..0x1100 {
            let id = ids.fresh();
            assert_eq!(String::from_utf8_lossy(&id), format!("00000000000000ab{number:016x}"));
        }
    }

    #[test]
    fn what_is_said_of_a_silent_client_is_the_same_at_once_and_by_parts() {
        let hop = ForwardedInfo::new(Some([192, 0, 2, 7].into()), false);
        let (mut at_once, mut by_parts) = (Vec::new(), Vec::new());
        let fields = Fields::of_lines(&[("accept", "*/*")]);
        write_own(&mut at_once, b"ucs:8080", "http", "192.0.2.7", VIA_HTTP11);
        let options = ConnectionOptions::by(&fields);
        let client = ClientFields { fields: &fields, options: &options, seen: FieldSet::default() };
        let (ids, buffers) = (RequestIds::new(0), Rc::default());
        let own = ProxyFields { hop: &hop, client: None, received: Received::Http11, ids: &ids, buffers: &buffers };
        write_merged(&mut by_parts, b"ucs:8080", &client, own);
        assert_eq!(String::from_utf8_lossy(&at_once), String::from_utf8_lossy(&by_parts));
    }
}
