//! What happens to headers on their way through: hop-by-hop headers end here in both directions, headers that could
//! rewrite the request behind the classified one never reach UCS, and the gateway adds its own marks. Pure: it knows
//! header maps, no messages and no sockets; whether a message may pass is not decided here.

use std::cell::Cell;
use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{self, Entry, HeaderName, HeaderValue};

/// The gateway's own mark. UCS never sends it, and no client can make UCS or a log believe in it.
pub const UCS_GATEWAY: HeaderName = HeaderName::from_static("ucs-gateway");
/// The request's identity in the logs of every server that it passes.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest request id that is taken over from a client, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// What one connection adds to its requests: made once when it is accepted, so that a request only clones.
#[derive(Debug)]
pub struct Hop {
    peer: HeaderValue,
    proto: HeaderValue,
    via: HeaderValue,
}

impl Hop {
    /// `peer` is the client's address; `tls` whether it came over TLS.
    pub fn new(peer: IpAddr, tls: bool) -> Hop {
        let peer = HeaderValue::from_str(&peer.to_canonical().to_string()).expect("an address is ASCII");
        Hop { peer, proto: HeaderValue::from_static(if tls { "https" } else { "http" }), via: via() }
    }
}

/// Makes request ids: a random prefix for each worker and a counter behind it.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    next: Cell<u64>,
}

impl RequestIds {
    /// `prefix` should be random, and differ between workers and starts.
    pub fn new(prefix: u64) -> RequestIds {
        RequestIds { prefix, next: Cell::new(0) }
    }

    /// 32 lower-case hexadecimal digits that no other call has returned.
    fn fresh(&self) -> HeaderValue {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let mut text = [0; 32];
        write_hex(self.prefix, &mut text[..16]);
        write_hex(number, &mut text[16..]);
        HeaderValue::from_bytes(&text).expect("hexadecimal digits are a header value")
    }
}

/// Makes a client's headers fit for UCS. Call it with the headers as received, whose framing the wire guard has checked;
/// `Host` (which the caller sets from an absolute-form target) and the body's length stay as they are: `sending` writes the framing of the
/// next hop itself.
///
/// Removed: `Connection` and what it names, every other hop-by-hop header, method overrides, URL rewrites, underscore
/// spellings of headers that matter here, and `UCS-Gateway`. Appended: `X-Forwarded-For`, `Via`. Set where absent:
/// `X-Forwarded-Proto`, `X-Forwarded-Host`. Replaced where unusable: `X-Request-Id`. A `traceparent` that W3C Trace
/// Context calls invalid goes, and `tracestate` with it.
pub fn to_upstream(headers: &mut HeaderMap, hop: &Hop, ids: &RequestIds) {
    let seen = Seen::in_request(headers);
    if seen.connection {
        remove_named_by_connection(headers);
    }
    if seen.unwanted {
        remove_where(headers, |name| is_hop_by_hop(name) || is_unwanted_upstream(name));
    }
    append_to_list(headers, X_FORWARDED_FOR, &hop.peer);
    // After a `Connection` that names them, they may be gone again.
    if !(seen.forwarded_proto && headers.contains_key(X_FORWARDED_PROTO)) {
        headers.insert(X_FORWARDED_PROTO, hop.proto.clone());
    }
    if !(seen.forwarded_host && headers.contains_key(X_FORWARDED_HOST))
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    append_to_list(headers, header::VIA, &hop.via);
    keep_or_set_request_id(headers, ids);
    if seen.trace {
        keep_valid_trace_context(headers);
    }
}

/// What one look over the names of a message finds: each lookup by name that is not needed saves a hash.
#[derive(Default)]
struct Seen {
    connection: bool,
    unwanted: bool,
    forwarded_proto: bool,
    forwarded_host: bool,
    trace: bool,
}

impl Seen {
    fn in_request(headers: &HeaderMap) -> Seen {
        let mut seen = Seen::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => seen.connection = true,
                "x-forwarded-proto" => seen.forwarded_proto = true,
                "x-forwarded-host" => seen.forwarded_host = true,
                "traceparent" | "tracestate" => seen.trace = true,
                name => seen.unwanted |= is_hop_by_hop(name) || is_unwanted_upstream(name),
            }
        }
        seen
    }

    fn in_answer(headers: &HeaderMap) -> Seen {
        let mut seen = Seen::default();
        for name in headers.keys().map(HeaderName::as_str) {
            seen.connection |= name == "connection";
            seen.unwanted |= is_hop_by_hop(name) || name == UCS_GATEWAY.as_str();
        }
        seen
    }
}

/// Makes UCS's headers fit for the client: hop-by-hop headers, what `Connection` names, `UCS-Gateway`, and a
/// `Content-Length` beside `Transfer-Encoding` go; `Via` is appended.
pub fn to_downstream(headers: &mut HeaderMap) {
    let seen = Seen::in_answer(headers);
    if seen.unwanted {
        // RFC 9112, 6.3: the encoding wins. A length beside it is not that of the body, and the client would believe it.
        if headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        if seen.connection {
            remove_named_by_connection(headers);
        }
        remove_where(headers, |name| is_hop_by_hop(name) || name == UCS_GATEWAY.as_str());
    }
    append_to_list(headers, header::VIA, &via());
}

fn via() -> HeaderValue {
    HeaderValue::from_static("1.1 ucs-gateway")
}

/// RFC 9110, 7.6.1: who names a header in `Connection` means it for this hop. Names of framing and of `Host` do nothing:
/// these describe the message that goes on, and a client must not be able to take them away.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    let Some(first) = headers.get(header::CONNECTION) else { return };
    let alone = headers.get_all(header::CONNECTION).iter().nth(1).is_none();
    if alone
        && (first.as_bytes().eq_ignore_ascii_case(b"keep-alive") || first.as_bytes().eq_ignore_ascii_case(b"close"))
    {
        headers.remove(header::CONNECTION);
        headers.remove(KEEP_ALIVE);
        return;
    }
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|&byte| byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(token.trim_ascii())
                && !is_of_the_message(&name)
            {
                named.push(name);
            }
        }
    }
    headers.remove(header::CONNECTION);
    for name in named {
        headers.remove(name);
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

fn is_of_the_message(name: &HeaderName) -> bool {
    matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::TRAILER)
}

/// Removes every header that `unwanted` says; allocates only if there is one.
fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name.as_str())) {
        let name = name.clone();
        headers.remove(name);
    }
}

/// Headers that mean one hop only, whether or not `Connection` names them. `TE` goes as well: trailers are forwarded as
/// they come, and the gateway asks UCS for none. `Trailer` stays, because the trailers do.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What would make UCS, or a server in front of it, do something else than what was classified.
fn is_unwanted_upstream(name: &str) -> bool {
    match name.as_bytes() {
        [b'x', b'-', ..] => is_override(name),
        [b'u', ..] if name == UCS_GATEWAY.as_str() => true,
        bytes => memchr::memchr(b'_', bytes).is_some() && is_disguised(name),
    }
}

/// Overrides of the method, and of the path or prefix that servlet filters and proxies honour.
fn is_override(name: &str) -> bool {
    matches!(
        name,
        "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            | "x-method"
            | "x-original-url"
            | "x-original-uri"
            | "x-original-method"
            | "x-original-host"
            | "x-rewrite-url"
            | "x-rewrite-uri"
            | "x-forwarded-prefix"
            | "x-forwarded-path"
            | "x-forwarded-uri"
            | "x-forwarded-method"
            | "x-envoy-original-path"
            | "x-envoy-original-host"
            | "x-envoy-original-method"
            | "x-script-name"
            | "x-servlet-path"
    ) || (memchr::memchr(b'_', name.as_bytes()).is_some() && is_disguised(name))
}

/// Whether a name with underscores is, for servers that take these for dashes, a header that matters to framing, routing
/// or trust. Other underscore names are the client's business.
#[cold]
fn is_disguised(name: &str) -> bool {
    let dashed = name.replace('_', "-");
    is_hop_by_hop(&dashed)
        || is_override(&dashed)
        || dashed.starts_with("x-forwarded-")
        || matches!(dashed.as_str(), "content-length" | "ucs-gateway" | "x-real-ip" | "x-request-id")
}

/// Appends to a comma list: a header of its own if there is none yet, else behind the last value of the one list, so that
/// readers who look at one header alone see the end that can be trusted.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let mut list = match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value.clone());
            return;
        }
        Entry::Occupied(entry) => entry,
    };
    let mut joined = Vec::new();
    for part in list.iter().filter(|part| !part.is_empty()) {
        joined.extend_from_slice(part.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(value.as_bytes());
    list.insert(HeaderValue::from_bytes(&joined).expect("values that were joined by a comma and a space are a value"));
}

/// An id that could break a log line or is absurdly long is replaced; so is a repeated one, which has no one reading.
fn keep_or_set_request_id(headers: &mut HeaderMap, ids: &RequestIds) {
    match headers.entry(X_REQUEST_ID) {
        Entry::Vacant(entry) => {
            entry.insert(ids.fresh());
        }
        Entry::Occupied(mut entry) => {
            if !is_sane_id(entry.get()) || entry.iter().nth(1).is_some() {
                entry.insert(ids.fresh());
            }
        }
    }
}

/// The id of a request, for the log: what [`to_upstream`] leaves or would leave, or a new one.
pub fn request_id(headers: &HeaderMap, ids: &RequestIds) -> String {
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    let kept = given.next().filter(|id| is_sane_id(id) && given.next().is_none()).cloned();
    kept.unwrap_or_else(|| ids.fresh()).to_str().unwrap_or_default().to_owned()
}

fn is_sane_id(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn keep_valid_trace_context(headers: &mut HeaderMap) {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let valid = match (values.next(), values.next()) {
        (Some(value), None) => is_traceparent(value.as_bytes()),
        (Some(_), Some(_)) => false,
        (None, _) => !headers.contains_key(TRACESTATE),
    };
    if !valid {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
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

fn write_hex(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    fn hop() -> Hop {
        Hop::new("::ffff:192.0.2.7".parse().unwrap(), false)
    }

    fn upstream(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = map(lines);
        to_upstream(&mut headers, &hop(), &RequestIds::new(0xabc));
        headers
    }

    /// What is left of `lines` beside what the gateway adds.
    fn left(lines: &[(&str, &str)]) -> Vec<String> {
        let added = ["via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
        let headers = upstream(lines);
        // Removals reorder a map, so the names are put in the order of the lines.
        let mut names: Vec<String> = lines.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.dedup();
        names.retain(|name| headers.contains_key(name) && !added.contains(&name.as_str()));
        names
    }

    #[test]
    fn connection_takes_what_it_names_with_it() {
        let lines =
            [("connection", "close, X-One ,,bad name"), ("connection", "x-two"), ("x-one", "1"), ("X-Two", "2")];
        assert_eq!(left(&lines), Vec::<String>::new());
        let mut headers = map(&lines);
        to_downstream(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["via"]);
    }

    #[test]
    fn connection_cannot_take_host_or_framing() {
        let lines =
            [("connection", "host, content-length, trailer"), ("host", "a"), ("content-length", "1"), ("trailer", "x")];
        assert_eq!(left(&lines), ["host", "content-length", "trailer"]);
    }

    #[test]
    fn connection_cannot_take_what_the_gateway_adds() {
        let headers =
            upstream(&[("connection", "x-forwarded-for, via, x-request-id"), ("x-forwarded-for", "10.0.0.1")]);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert!(headers.contains_key("via") && headers.contains_key("x-request-id"));
    }

    #[test]
    fn hop_by_hop_headers_end_here_even_when_connection_does_not_name_them() {
        let hops = ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "upgrade"];
        for name in hops.into_iter().chain(["transfer-encoding", "http2-settings", "ucs-gateway"]) {
            assert_eq!(left(&[(name, "x"), (name, "y"), ("accept", "z")]), ["accept"], "{name}");
            let mut headers = map(&[(name, "x"), ("server", "z")]);
            to_downstream(&mut headers);
            assert_eq!(headers.keys().collect::<Vec<_>>(), ["server", "via"], "{name}");
        }
        assert_eq!(left(&[("connection", "keep-alive"), ("keep-alive", "timeout=5")]), Vec::<String>::new());
    }

    #[test]
    fn overrides_and_rewrites_do_not_reach_ucs() {
        for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"]
        {
            assert_eq!(left(&[(name, "x")]), Vec::<String>::new(), "{name}");
            assert_eq!(left(&[(&name.replace('-', "_"), "x")]), Vec::<String>::new(), "{name} with underscores");
        }
        for name in ["X-Forwarded-Prefix", "X-Forwarded-Path", "X-Envoy-Original-Path"] {
            assert_eq!(left(&[(name, "x")]), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn underscore_spellings_of_headers_that_matter_go_others_stay() {
        for name in ["content_length", "transfer_encoding", "x_forwarded_for", "x-forwarded_proto", "proxy_connection"]
        {
            assert_eq!(left(&[(name, "x")]), Vec::<String>::new(), "{name}");
        }
        assert_eq!(left(&[("my_header", "x"), ("x_custom", "y")]), ["my_header", "x_custom"]);
    }

    #[test]
    fn the_peer_is_appended_and_the_rest_is_set_only_where_absent() {
        let headers = upstream(&[("host", "ucs:8080")]);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "ucs:8080");
        assert_eq!(headers["via"], "1.1 ucs-gateway");

        let headers = upstream(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public"),
            ("via", "1.1 edge"),
        ]);
        let chain: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(chain, ["10.0.0.1, 10.0.0.2, 192.0.2.7"]);
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "public");
        assert_eq!(headers["via"], "1.1 edge, 1.1 ucs-gateway");
    }

    #[test]
    fn a_sane_request_id_is_kept_and_every_other_is_replaced() {
        let kept = "a-Z.0~".to_owned() + &"x".repeat(122);
        assert_eq!(upstream(&[("x-request-id", &kept)])["x-request-id"], kept.as_str());
        let fresh = "0000000000000abc0000000000000000";
        for id in ["", "a b", "\t", &"x".repeat(129)] {
            assert_eq!(upstream(&[("x-request-id", id)])["x-request-id"], fresh, "{id:?}");
        }
        let twice = upstream(&[("x-request-id", "a"), ("x-request-id", "b")]);
        assert_eq!(twice.get_all("x-request-id").iter().collect::<Vec<_>>(), [fresh]);
        let ids = RequestIds::new(1);
        assert_ne!(ids.fresh(), ids.fresh());
    }

    #[test]
    fn a_trace_context_passes_whole_or_not_at_all() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(left(&[("traceparent", good), ("tracestate", "a=b")]), ["traceparent", "tracestate"]);
        let later = format!("cc{}-more", &good[2..]);
        assert_eq!(left(&[("traceparent", &later)]), ["traceparent"]);
        let bad = [
            "",
            &good[..54],
            &format!("{good}-more"),
            &format!("ff{}", &good[2..]),
            &good.to_uppercase(),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace('-', "_"),
            &format!("cc{}x", &good[2..]),
        ];
        for value in bad {
            assert_eq!(left(&[("traceparent", value), ("tracestate", "a=b")]), Vec::<String>::new(), "{value:?}");
        }
        assert_eq!(left(&[("traceparent", good), ("traceparent", good)]), Vec::<String>::new());
        assert_eq!(left(&[("tracestate", "a=b")]), Vec::<String>::new());
    }

    #[test]
    fn ordinary_headers_stay_as_they_are() {
        let lines =
            [("accept", "a"), ("accept", "b"), ("cookie", "c"), ("authorization", "d"), ("content-length", "0")];
        let headers = upstream(&lines);
        assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(left(&lines), ["accept", "cookie", "authorization", "content-length"]);
    }

    proptest! {
        #[test]
        fn nothing_that_connection_names_is_left(
            names in prop::collection::vec("[a-z][a-z0-9_-]{0,12}|accept|cookie|te|upgrade", 1..8),
            lines in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..4),
        ) {
            let mut headers = HeaderMap::new();
            let mut named = Vec::new();
            for name in &names {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            }
            for line in &lines {
                let tokens: Vec<&str> = line.iter().map(|index| index.get(&names).as_str()).collect();
                headers.append("connection", HeaderValue::from_str(&tokens.join(" ,\t")).unwrap());
                named.extend(tokens);
            }
            let mut downstream = headers.clone();
            to_upstream(&mut headers, &hop(), &RequestIds::new(0));
            to_downstream(&mut downstream);
            let of_the_message = ["host", "content-length", "transfer-encoding", "trailer", "via"];
            for name in named.into_iter().filter(|name| !of_the_message.contains(name)) {
                prop_assert!(!headers.contains_key(name) && !downstream.contains_key(name), "{} is left", name);
            }
            prop_assert!(!headers.contains_key("connection") && !downstream.contains_key("connection"));
        }
    }
}
