//! The client behind a trusted proxy: what UCS is told, what is logged, and whose guesses are limited. How the chain is walked
//! is tested in `proxy::headers::client_address`.

use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::{Connection, Gateway, PATIENCE, Scripted, Ucs, eventually};

/// The peer that the flag names, and another one of this machine.
const PROXY: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

const TRUST: [&str; 3] = ["--access-log", "--trusted-proxy", "127.0.0.1/32,10.0.0.0/8"];

/// A gateway before a UCS that tells the heads that it gets.
fn start(flags: &[&str]) -> (Gateway, mpsc::Receiver<String>, Scripted) {
    let (sender, heads) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            let _ = sender.send(request.head.to_lowercase());
            conn.write("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    (Gateway::bare(upstream.address, flags), heads, upstream)
}

fn send(gateway: &Gateway, from: [u8; 4], fields: &str) {
    let mut client = Connection::open_from(from, gateway.data);
    client.send(format!("GET /profiles/1 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n{fields}\r\n"));
    assert_eq!(client.read_reply().status, 204);
}

/// The values that UCS has got of `X-Forwarded-For`, `-Proto` and `-Host`.
fn forwarded(head: &str) -> [Vec<&str>; 3] {
    ["for", "proto", "host"].map(|name| {
        let prefix = format!("x-forwarded-{name}: ");
        head.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
    })
}

#[test]
fn ucs_and_the_log_learn_of_the_client_that_a_trusted_proxy_names_and_of_no_other() {
    let (gateway, heads, _upstream) = start(&TRUST);
    let named = "X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: ucs.example\r\n";
    let by_forwarded = "Forwarded: for=198.51.100.1, for=\"[2001:db8::7]:443\";proto=https\r\n";
    for (from, fields, expected, client) in [
        (PROXY, named, ["198.51.100.1, 203.0.113.9, 10.1.1.1, 127.0.0.1", "https", "ucs.example"], "203.0.113.9"),
        (PROXY, by_forwarded, ["2001:db8::7, 127.0.0.1", "http", "gw"], "2001:db8::7"),
        (PROXY, "X-Forwarded-For: unknown\r\n", ["unknown, 127.0.0.1", "http", "gw"], "127.0.0.1"),
        (OTHER, named, ["127.0.0.2", "http", "gw"], "127.0.0.2"),
        (OTHER, by_forwarded, ["127.0.0.2", "http", "gw"], "127.0.0.2"),
    ] {
        let before = gateway.access_lines().len();
        send(&gateway, from, fields);
        let head = heads.recv_timeout(PATIENCE).unwrap();
        assert_eq!(forwarded(&head), expected.map(|value| vec![value]), "{fields}");
        assert!(!head.contains("\nforwarded:"), "{head}");
        eventually("it is logged", || gateway.access_lines().len() > before);
        let line: Value = serde_json::from_str(gateway.access_lines().last().unwrap()).unwrap();
        assert_eq!(line["peer"], client, "{line}");
    }
}

#[test]
fn without_a_trusted_proxy_the_chain_is_passed_on_and_the_peer_is_the_client() {
    let (gateway, heads, _upstream) = start(&["--access-log"]);
    send(&gateway, PROXY, "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n");
    let head = heads.recv_timeout(PATIENCE).unwrap();
    assert_eq!(forwarded(&head), [vec!["203.0.113.9, 127.0.0.1"], vec!["https"], vec!["gw"]]);
    eventually("it is logged", || gateway.access_lines().len() == 1);
    assert!(gateway.access_lines()[0].contains(r#""peer":"127.0.0.1""#));
}

#[test]
fn guesses_behind_one_proxy_are_limited_by_client() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &TRUST);
    let guess = |client: &str, number: usize| {
        let credential = format!("Bearer guess-{number}");
        let headers =
            [("Authorization", &*credential), ("X-Forwarded-For", client), ("Content-Type", "application/json")];
        crate::support::request(gateway.data, "POST /server/mode", &headers, br#"{"mode":"maintenance"}"#).status
    };
    let of_one: Vec<u16> = (0..40).map(|number| guess("203.0.113.9", number)).collect();
    assert!(of_one.contains(&429), "{of_one:?}");
    assert_eq!(guess("203.0.113.10", 0), 401, "another client behind the same proxy");
    let logged = || gateway.access_lines().iter().filter(|line| line.contains(r#""peer":"203.0.113.9""#)).count();
    eventually("refusals are logged with the client", || logged() == 40);
}

#[test]
fn the_ids_of_a_trace_are_passed_on_as_they_came_and_logged() {
    let (gateway, heads, _upstream) = start(&["--access-log"]);
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let fields = format!("traceparent: 00-{trace}-{span}-01\r\ntracestate: a=1,b=2\r\n");
    send(&gateway, PROXY, &fields);
    assert!(heads.recv_timeout(PATIENCE).unwrap().contains(&fields));
    send(&gateway, PROXY, &format!("traceparent: 00-{trace}-{span}\r\ntracestate: a=1\r\n"));
    assert!(!heads.recv_timeout(PATIENCE).unwrap().contains("trace"), "an invalid one is dropped with its state");
    eventually("both are logged", || gateway.access_lines().len() == 2);
    let lines: Vec<Value> = gateway.access_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    // In either order, as two workers may have written them.
    let (with, without): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.get("trace_id").is_some());
    assert_eq!((with.len(), without.len()), (1, 1), "{lines:?}");
    assert_eq!((&with[0]["trace_id"], &with[0]["span_id"]), (&json!(trace), &json!(span)));
}
