//! What becomes of header fields on their way, seen at both ends.

use std::sync::mpsc;

use super::{GET, POST};
use crate::support::{Connection, Gateway, PATIENCE, Reply, Scripted, eventually, http, kernel};

/// What UCS gets of a request: the request line, and the fields with names in lower case.
struct Seen {
    line: String,
    fields: Vec<(String, String)>,
}

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A UCS without content, and the heads of the requests that reach it.
fn recording() -> (Scripted, mpsc::Receiver<String>) {
    let (sender, heads) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            let _ = sender.send(request.head);
            conn.write("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    (upstream, heads)
}

/// Sends one request in these very bytes and shows it as UCS saw it.
#[track_caller]
fn seen(bytes: &str) -> Seen {
    let (upstream, heads) = recording();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(bytes);
    let reply = client.read_reply();
    assert_eq!(reply.status, 204, "{}", reply.text());
    let head = heads.recv_timeout(PATIENCE).unwrap();
    let mut lines = head.trim_end().lines();
    let line = lines.next().unwrap().to_owned();
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Seen { line, fields: lines.filter_map(field).collect() }
}

/// The answer to a GET when UCS answers these very bytes.
#[track_caller]
fn answered(bytes: &str) -> Reply {
    let upstream = Scripted::answering(bytes);
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    client.read_reply()
}

#[test]
fn hop_by_hop_fields_end_here_on_the_way_up() {
    let seen = seen(
        "GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\nConnection: x-hop, Keep-Alive, content-length\r\nConnection: Cookie\r\n\
         X-Hop: a\r\nCookie: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nProxy-Authorization: Basic eA==\r\n\
         Accept: kept\r\nAuthorization: Basic a2VwdA==\r\n\r\n",
    );
    let names: Vec<&str> = seen.fields.iter().map(|(name, _)| name.as_str()).collect();
    for gone in ["connection", "x-hop", "cookie", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"] {
        assert!(!names.contains(&gone), "{gone} in {names:?}");
    }
    assert!(!names.contains(&"proxy-authorization"), "{names:?}");
    assert_eq!((seen.all("accept"), seen.all("authorization")), (vec!["kept"], vec!["Basic a2VwdA=="]));
}

#[test]
fn a_client_cannot_take_the_framing_away() {
    let (sender, bodies) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            let _ = sender.send(request.body);
            conn.write("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let named = "Connection: content-length, transfer-encoding, host";
    client.send(format!("{POST} HTTP/1.1\r\nHost: ucs\r\n{named}\r\nContent-Length: 5\r\n\r\nhello"));
    assert_eq!(client.read_reply().status, 204);
    client.send(format!(
        "{POST} HTTP/1.1\r\nHost: ucs\r\n{named}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ));
    assert_eq!(client.read_reply().status, 204);
    for _ in 0..2 {
        assert_eq!(bodies.recv_timeout(PATIENCE).unwrap(), b"hello");
    }
    assert_eq!(upstream.received_text().matches("\r\nHost: ucs\r\n").count(), 2, "{}", upstream.received_text());
}

#[test]
fn hop_by_hop_fields_end_here_on_the_way_down() {
    let reply = answered(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Upgrade: h2c\r\nUCS-Gateway: refused; reason=mode\r\nContent-Length: 2\r\nServer: UCS\r\nSet-Cookie: a\r\n\
         Set-Cookie: b\r\n\r\nok",
    );
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate", "upgrade", "ucs-gateway"] {
        assert_eq!(reply.header(gone), None, "{gone} in {reply:?}");
    }
    assert_eq!((reply.header("server"), reply.header("via")), (Some("UCS"), Some("1.1 ucs-gateway")));
    let cookies: Vec<_> = reply.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies.len(), 2, "{reply:?}");
}

#[test]
fn what_could_turn_the_request_into_another_does_not_reach_ucs() {
    let seen = seen(
        "GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\nX-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\n\
         X-Method-Override: DELETE\r\nX-Original-URL: /metadata\r\nX-Rewrite-URL: /metadata\r\n\
         X-Forwarded-Prefix: /metadata\r\nX_HTTP_Method_Override: DELETE\r\nContent_Length: 5\r\n\
         Transfer_Encoding: chunked\r\nX_Forwarded_For: 1.2.3.4\r\nUCS-Gateway: refused\r\nX-Other: kept\r\n\r\n",
    );
    let expected =
        ["host", "x-other", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via", "x-request-id"];
    let mut names: Vec<&str> = seen.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| !expected.contains(name));
    assert_eq!(names, Vec::<&str>::new());
    assert_eq!(seen.all("x-other"), ["kept"]);
}

/// The end of a piece is the end of all that the gateway has read.
#[test]
fn a_head_in_two_pieces_reaches_ucs_as_in_one_wherever_it_is_cut() {
    let names = "X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Method X-Original-URL X-Original-Host \
                 X-Rewrite-URL X-Forwarded-Prefix X-Forwarded-Path X-Forwarded-Method X-Envoy-Original-Method \
                 X-Servlet-Path Forwarded X-Real-IP True-Client-IP CF-Connecting-IP Fastly-Client-IP Proxy-Connection \
                 Proxy-Authorization Keep-Alive TE UCS-Gateway UCS-Gateway-Bypass X_Forwarded_Path";
    let lines: String = names.split_whitespace().map(|name| format!("{name}: ~\r\n")).collect();
    let head =
        format!("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n{lines}X-Request-Id: abc-1\r\nAccept-Charset: kept\r\n\r\n");
    let (upstream, heads) = recording();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let mut whole = None;
    for cut in (1..=head.len()).rev() {
        client.send(&head[..cut]);
        eventually("the first piece is read", || {
            kernel::accepted_by(gateway.data).iter().all(|socket| socket.unread == 0)
        });
        client.send(&head[cut..]);
        assert_eq!(client.read_reply().status, 204);
        let seen = heads.recv_timeout(PATIENCE).unwrap();
        assert!(seen.contains("Accept-Charset: kept") && !seen.contains(": ~"), "{seen}");
        assert_eq!(&seen, whole.get_or_insert(seen.clone()), "cut behind {:?}", &head[..cut]);
    }
}

#[test]
fn the_chain_of_proxies_is_told() {
    let first = seen("GET /profiles/1 HTTP/1.1\r\nHost: ucs:8080\r\n\r\n");
    assert_eq!(first.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(first.all("x-forwarded-proto"), ["http"]);
    assert_eq!(first.all("x-forwarded-host"), ["ucs:8080"]);
    assert_eq!(first.all("via"), ["1.1 ucs-gateway"]);
    assert_eq!(first.all("x-request-id").len(), 1);
    let later = seen(
        "GET /profiles/1 HTTP/1.1\r\nHost: ucs:8080\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nVia: 1.1 edge\r\nX-Request-Id: abc-1\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n\r\n",
    );
    assert_eq!(later.all("x-forwarded-for"), ["192.0.2.1, 192.0.2.2, 127.0.0.1"]);
    assert_eq!((later.all("x-forwarded-proto"), later.all("x-forwarded-host")), (vec!["https"], vec!["public"]));
    assert_eq!(later.all("via"), ["1.1 edge, 1.1 ucs-gateway"]);
    assert_eq!(later.all("x-request-id"), ["abc-1"]);
    assert_eq!(later.all("traceparent"), ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]);
    assert_eq!(later.all("tracestate"), ["a=b"]);
}

#[test]
fn marks_that_make_no_sense_are_replaced_or_dropped() {
    let seen = seen(
        "GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\nX-Request-Id: not an id\r\ntraceparent: 00-0-0-0\r\n\
         tracestate: a=b\r\n\r\n",
    );
    let ids = seen.all("x-request-id");
    assert!(ids.len() == 1 && ids[0].len() == 32 && ids[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{ids:?}");
    assert_eq!((seen.all("traceparent").len(), seen.all("tracestate").len()), (0, 0));
}

#[test]
fn every_request_gets_an_id_of_its_own() {
    let first = seen("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
    let second = seen("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
    assert_ne!(first.all("x-request-id"), second.all("x-request-id"));
}

#[test]
fn the_host_is_that_of_the_client() {
    assert_eq!(seen("GET /profiles/1 HTTP/1.1\r\nHost: ucs.example:8080\r\n\r\n").all("host"), ["ucs.example:8080"]);
}

#[test]
fn the_authority_of_an_absolute_target_wins_over_host() {
    let seen = seen("GET http://ucs.example:81/profiles/1?a=b HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!((seen.line.as_str(), seen.all("host")), ("GET /profiles/1?a=b HTTP/1.1", vec!["ucs.example:81"]));
    assert_eq!(seen.all("x-forwarded-host"), ["ucs.example:81"]);
}

#[test]
fn ucs_is_spoken_to_in_its_own_version_whatever_came_in() {
    let seen = seen("GET /profiles/1 HTTP/1.0\r\nHost: ucs\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(seen.line, "GET /profiles/1 HTTP/1.1");
    assert_eq!(seen.all("connection"), Vec::<&str>::new());
}

#[test]
fn a_client_cannot_claim_another_address() {
    let seen = seen(
        "GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX_Real_IP: 1.2.3.4\r\n\
         True-Client-IP: 1.2.3.4\r\nTrue_Client_IP: 1.2.3.4\r\nX-Client-IP: 1.2.3.4\r\nCF-Connecting-IP: 1.2.3.4\r\n\
         X-Cluster-Client-IP: 1.2.3.4\r\nFastly-Client-IP: 1.2.3.4\r\nX-Other: 1.2.3.5\r\n\r\n",
    );
    let claims = seen.fields.iter().filter(|(_, value)| value.contains("1.2.3.4")).collect::<Vec<_>>();
    assert_eq!(claims, Vec::<&(String, String)>::new());
    assert_eq!((seen.all("x-forwarded-for"), seen.all("x-other")), (vec!["127.0.0.1"], vec!["1.2.3.5"]));
}

/// The gateway is its own upstream, and behind another gateway.
#[test]
fn a_loop_is_found_and_a_gateway_behind_a_gateway_is_none() {
    let reserved = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let listen = address.to_string();
    let gateway = Gateway::bare(address, &["--listen", &listen, "--connect-timeout", "30s"]);
    let reply = crate::support::request(gateway.data, GET, &[], b"");
    assert_eq!((reply.status, reply.refusal()), (508, None), "{}", reply.text());
    assert_eq!(reply.json()["reason"], "loop", "{}", reply.text());
    let upstream = Scripted::ok();
    let inner = Gateway::bare(upstream.address, &[]);
    let outer = Gateway::bare(inner.data, &[]);
    let reply = crate::support::request(outer.data, GET, &[("Via", "1.1 edge")], b"");
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    let chain = "Via: 1.1 edge, 1.1 ucs-gateway, 1.1 ucs-gateway\r\n";
    assert!(upstream.received_text().contains(chain), "{}", upstream.received_text());
}

#[test]
fn connection_lists_at_most_a_hundred_entries_from_either_side() {
    let entries = |count: usize| vec!["a"; count].join(",");
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            let count = if request.head.contains("/profiles/1 ") { 100 } else { 101 };
            conn.write(format!("HTTP/1.1 200 OK\r\nConnection: {}\r\nContent-Length: 2\r\n\r\nok", entries(count)));
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    // With the one that `request` sends.
    let (half, more) = (entries(49), entries(51));
    let ask = |line: &str, fields: [(&str, &str); 2]| crate::support::request(gateway.data, line, &fields, b"");
    assert_eq!(ask(GET, [("Connection", &half), ("Connection", &entries(50))]).status, 200);
    let reply = ask(GET, [("Connection", &half), ("Connection", &more)]);
    assert_eq!((reply.status, reply.refusal()), (400, Some("connection_too_long")));
    let empty = ask(GET, [("Connection", &",".repeat(100)), ("X", "1")]);
    assert_eq!((empty.status, empty.refusal()), (400, Some("connection_too_long")));
    let reply = ask("GET /profiles/2", [("X", "1"), ("Y", "1")]);
    assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")));
}
