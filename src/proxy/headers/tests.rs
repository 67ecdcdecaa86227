//! Tests of the policy, field by field.

#![allow(clippy::unwrap_used)]

use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::http1::read_response_head;

fn hop() -> ForwardedInfo {
    ForwardedInfo::new("::ffff:192.0.2.7".parse().ok(), false)
}

/// A head as its lines, without the first.
#[derive(Debug)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn of(bytes: &[u8]) -> Lines {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let pair =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Lines(text.split_terminator("\r\n").map(|line| pair(line).unwrap()).collect())
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    fn one(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("{name} is there {} times", self.all(name).len()) };
        value
    }

    fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

fn upstream_head<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> UpstreamHead {
    let to = Destination { method: &Method::GET, path: b"/a", query: b"?b", host: b"ucs:8080" };
    let own = ProxyFields {
        hop: &hop(),
        client: None,
        received: Received::Http11,
        ids: &RequestIds::new(0xabc),
        buffers: &Rc::default(),
    };
    to_upstream(to, &Fields::of_lines(lines), &[], own)
}

fn upstream<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> Lines {
    let head = upstream_head(lines);
    Lines::of(head.bytes.strip_prefix(b"GET /a?b HTTP/1.1\r\n").unwrap())
}

fn downstream<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> Lines {
    let mut bytes = Vec::new();
    to_downstream(&Fields::of_lines(lines), &mut bytes);
    Lines::of(&bytes)
}

/// The names of `lines` that are forwarded, without those that the gateway adds.
fn left(lines: &[(&str, &str)]) -> Vec<String> {
    let added = ["host", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
    let lines = upstream(lines);
    let mut names: Vec<String> = lines.names().into_iter().map(str::to_owned).collect();
    names.dedup();
    names.retain(|name| !added.contains(&name.as_str()));
    names
}

#[test]
fn connection_takes_what_it_names_with_it() {
    let lines = [("connection", "close, X-One ,,bad name"), ("connection", "x-two"), ("x-one", "1"), ("X-Two", "2")];
    assert_eq!(left(&lines), Vec::<String>::new());
    assert_eq!(downstream(&lines).names(), ["via"]);
}

#[test]
fn the_usual_words_of_connection_take_nothing() {
    for word in ["close", "Close", "keep-alive", "Keep-Alive"] {
        assert_eq!(left(&[("connection", word), ("close", "1"), ("x-one", "2")]), ["close", "x-one"], "{word}");
    }
}

#[test]
fn names_of_many_lists_are_found_in_any_order() {
    let names = ["x-d", "x-a", "x-c", "x-b", "x-a"];
    let mut lines: Vec<_> = names.iter().map(|name| ("connection", *name)).collect();
    lines.extend(names.map(|name| (name, "1")));
    lines.push(("x-e", "1"));
    assert_eq!(left(&lines), ["x-e"]);
}

#[test]
fn connection_cannot_take_host_or_framing() {
    let lines =
        [("connection", "host, content-length, trailer"), ("host", "a"), ("content-length", "1"), ("trailer", "X, y")];
    assert_eq!(left(&lines), ["trailer"], "host and framing are written anew");
    assert_eq!(upstream(&lines).one("host"), "ucs:8080");
    let head = upstream_head(&lines);
    assert!(head.says_length);
    assert_eq!([&b"x"[..], b"y", b"z"].map(|name| head.trailers.has(name)), [true, true, false]);
}

#[test]
fn connection_cannot_take_what_the_gateway_adds() {
    let headers = upstream(&[("connection", "x-forwarded-for, via, x-request-id"), ("x-forwarded-for", "10.0.0.1")]);
    assert_eq!(headers.one("x-forwarded-for"), "192.0.2.7");
    assert!(headers.has("via") && headers.has("x-request-id"));
}

#[test]
fn hop_by_hop_headers_end_here_even_when_connection_does_not_name_them() {
    let hops = ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "upgrade"];
    for name in hops.into_iter().chain(["transfer-encoding", "http2-settings", "ucs-gateway"]) {
        assert_eq!(left(&[(name, "x"), (name, "y"), ("accept", "z")]), ["accept"], "{name}");
        assert_eq!(downstream(&[(name, "x"), ("server", "z")]).names(), ["server", "via"], "{name}");
    }
    assert_eq!(left(&[("connection", "keep-alive"), ("keep-alive", "timeout=5")]), Vec::<String>::new());
}

#[test]
fn overrides_and_rewrites_do_not_reach_ucs() {
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"] {
        assert_eq!(left(&[(name, "x")]), Vec::<String>::new(), "{name}");
        assert_eq!(left(&[(&name.replace('-', "_"), "x")]), Vec::<String>::new(), "{name} with underscores");
    }
    for name in ["X-Forwarded-Prefix", "X-Forwarded-Path", "X-Envoy-Original-Path"] {
        assert_eq!(left(&[(name, "x")]), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn underscore_spellings_of_headers_that_matter_go_others_stay() {
    for name in ["content_length", "transfer_encoding", "x_forwarded_for", "x-forwarded_proto", "proxy_connection"] {
        assert_eq!(left(&[(name, "x")]), Vec::<String>::new(), "{name}");
    }
    assert_eq!(left(&[("my_header", "x"), ("x_custom", "y")]), ["my_header", "x_custom"]);
}

#[test]
fn the_peer_is_appended_and_the_rest_is_set_only_where_absent() {
    let headers = upstream(&[("accept", "a")]);
    assert_eq!(headers.one("x-forwarded-for"), "192.0.2.7");
    assert_eq!(headers.one("x-forwarded-proto"), "http");
    assert_eq!(headers.one("x-forwarded-host"), "ucs:8080");
    assert_eq!(headers.one("via"), "1.1 ucs-gateway");

    let headers = upstream(&[
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public"),
        ("via", "1.1 edge"),
    ]);
    assert_eq!(headers.one("x-forwarded-for"), "10.0.0.1, 10.0.0.2, 192.0.2.7");
    assert_eq!(headers.one("x-forwarded-proto"), "https");
    assert_eq!(headers.one("x-forwarded-host"), "public");
    assert_eq!(headers.one("via"), "1.1 edge, 1.1 ucs-gateway");
    assert_eq!(downstream(&[("via", "1.0 a"), ("via", ""), ("via", "b")]).one("via"), "1.0 a, b, 1.1 ucs-gateway");
}

#[test]
fn a_sane_request_id_is_kept_and_every_other_is_replaced() {
    let kept = "a-Z.0~".to_owned() + &"x".repeat(122);
    assert_eq!(upstream(&[("x-request-id", &kept)]).one("x-request-id"), kept);
    assert_eq!(upstream_head(&[("x-request-id", &kept)]).request_id(), kept.as_bytes());
    let fresh = "0000000000000abc0000000000000000";
    for id in ["", "a b", "\t", &"x".repeat(129)] {
        assert_eq!(upstream(&[("x-request-id", id)]).one("x-request-id"), fresh, "{id:?}");
        assert_eq!(upstream_head(&[("x-request-id", id)]).request_id(), fresh.as_bytes(), "{id:?}");
    }
    assert_eq!(upstream(&[("x-request-id", "a"), ("x-request-id", "b")]).one("x-request-id"), fresh);
    assert_eq!(RequestIds::new(0xabc).id_of(&Fields::of_lines(&[("x-request-id", "a b")])), fresh);
    assert_eq!(RequestIds::new(0xabc).id_of(&Fields::of_lines(&[("x-request-id", "a")])), "a");
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
    let lines = [("accept", "a"), ("accept", "b"), ("cookie", "c"), ("authorization", "d"), ("content-length", "0")];
    assert_eq!(upstream(&lines).all("accept"), ["a", "b"]);
    assert_eq!(left(&lines), ["accept", "cookie", "authorization"]);
    assert!(upstream_head(&lines).says_length);
}

proptest! {
    #[test]
    fn nothing_that_connection_names_is_left(
        names in prop::collection::vec("[a-z][a-z0-9_-]{0,12}|accept|cookie|te|upgrade", 1..8),
        lines in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..4),
    ) {
        let mut all: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), "v".to_owned())).collect();
        let mut named = Vec::new();
        for line in &lines {
            let tokens: Vec<&str> = line.iter().map(|index| index.get(&names).as_str()).collect();
            all.push(("connection", tokens.join(" ,\t")));
            named.extend(tokens);
        }
        let (up, down) = (upstream(&all), downstream(&all));
        let of_the_message = ["host", "content-length", "transfer-encoding", "trailer", "via"];
        for name in named.into_iter().filter(|name| !of_the_message.contains(name)) {
            prop_assert!(!up.has(name) && !down.has(name), "{} is left", name);
        }
        prop_assert!(!up.has("connection") && !down.has("connection"));
    }
}

#[test]
fn lines_that_pass_keep_their_order_and_spelling_whether_or_not_they_are_copied() {
    let long = "Q".repeat(65);
    // The fast path takes the first head alone.
    for (a, b) in [("X-a: 1", "X-b: 2"), ("X-a:1", "X-b: \t 2 "), ("X-a:  1", format!("X-b: 2\r\n{long}: 3").as_str())]
    {
        let head = format!(
            "HTTP/1.1 200 OK\r\nSERVER: s\r\n{a}\r\nContent-Length: 0\r\n{b}\r\nConnection: X-C\r\nx-c: 4\r\nvary: v\r\n\r\n"
        );
        let head = read_response_head(&mut head.as_bytes().into(), false).unwrap().unwrap();
        let mut bytes = Vec::new();
        to_downstream(&head.fields, &mut bytes);
        let more = if b.contains(&long) { format!("{long}: 3\r\n") } else { String::new() };
        let expected = format!("SERVER: s\r\nX-a: 1\r\nX-b: 2\r\n{more}vary: v\r\nVia: 1.1 ucs-gateway\r\n");
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }
}
