//! A client cannot tell by a response which protocol it speaks, and UCS cannot tell by a request: every documented operation in
//! both modes, and requests with all kinds of targets and fields, over both.

use serde_json::json;

use super::start;
use crate::support::{Connection, Gateway, H2, Reply, Scripted, admin, http, request};

const OPERATIONS: &str = include_str!("../../cases/operations.tsv");

/// UCS repeats the head that it was sent, so that it is compared with the response.
fn echo() -> Scripted {
    Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            let body = if request.head.starts_with("HEAD ") { "" } else { &request.head };
            let length = request.head.len();
            conn.write(format!("HTTP/1.1 200 OK\r\nX-Field: Value\r\nContent-Length: {length}\r\n\r\n{body}"));
        }
    })
}

/// What a client sees: status, fields and body, without what differs from request to request or names the protocol.
pub(super) fn seen(reply: &Reply) -> (u16, Vec<String>, Vec<String>) {
    let mut fields: Vec<String> =
        reply.headers.iter().map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase())).collect();
    let framing = ["date:", "connection:", "content-length:", "transfer-encoding:"];
    fields.retain(|field| !framing.iter().any(|other| field.starts_with(other)));
    fields.sort();
    let differs = ["via:", "x-request-id:", "connection:"];
    let mut body: Vec<String> = reply.text().lines().map(str::to_ascii_lowercase).collect();
    body.retain(|line| !differs.iter().any(|other| line.starts_with(other)));
    body.sort();
    (reply.status, fields, body)
}

#[track_caller]
fn both_are_the_same(gateway: &Gateway, client: &mut H2, line: &str, fields: &[(&str, &str)]) -> u16 {
    let http1 = request(gateway.data, line, fields, b"");
    let http2 = client.ask(line, fields);
    assert_eq!(seen(&http2), seen(&http1), "{line} {fields:?}");
    http2.status
}

#[test]
fn every_operation_is_the_same_in_both_modes_over_both_protocols() {
    let upstream = echo();
    let gateway = start(upstream.address, &[]);
    let mut statuses = std::collections::BTreeMap::new();
    for mode in ["production", "maintenance"] {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
        let mut client = H2::open(gateway.data);
        for row in OPERATIONS.lines().skip(1) {
            let cells: Vec<&str> = row.split('\t').collect();
            // Set Server Mode would change the mode, and other generations have routes of their own.
            if cells[5] == "server" || !["8.0/8.1 UCS", "8.5 UCS-CS"].contains(&cells[0]) {
                continue;
            }
            let path = cells[4].replace(['{', '}'], "");
            *statuses
                .entry(both_are_the_same(&gateway, &mut client, &format!("{} {path}", cells[3]), &[]))
                .or_insert(0) += 1;
        }
    }
    assert!(statuses[&200] > 50 && statuses[&503] > 50, "{statuses:?}");
}

#[test]
fn targets_and_fields_are_the_same_over_both_protocols() {
    let upstream = echo();
    let gateway = start(upstream.address, &["--data-livez", "--allow-origin", "https://app.example"]);
    let mut client = H2::open(gateway.data);
    let long = "x".repeat(9000);
    let long = format!("GET /profiles/{long}");
    let lines = [
        "GET /profiles/1?a=b&c=%2F..",
        "HEAD /profiles/1",
        "OPTIONS /profiles/1",
        "DELETE /nowhere",
        "TRACE /profiles/1",
        "GET /profiles/%7e",
        "GET /profiles/caf%C3%A9",
        "GET /profiles/%c0%ae",
        "GET /a/..%2fprofiles",
        "GET /profiles/..;/x",
        "GET //profiles",
        "GET /profiles//1",
        "GET /profiles/%00",
        "GET /profiles/%zz",
        "GET /profiles\\1",
        "GET /profiles/;",
        "GET /%2e%2e/profiles",
        "GET /profiles/1/",
        "GET /",
        "POST /profiles",
        "PATCH /profiles/1",
        "LOCK /profiles/1",
        "GET /livez",
        "OPTIONS *",
        &long,
    ];
    for line in lines {
        both_are_the_same(&gateway, &mut client, line, &[]);
    }
    let fields: [&[(&str, &str)]; 12] = [
        &[("accept", "*/*"), ("accept", "text/plain")],
        &[("cookie", "a=1"), ("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=1"), ("x-real-ip", "1")],
        &[("x-http-method-override", "DELETE"), ("x-original-url", "/other"), ("x_forwarded_host", "a")],
        &[("ucs-gateway", "answered"), ("ucs-gateway-bypass", "1"), ("authorization", "Basic YTpi")],
        &[("via", "1.1 ucs-gateway, 1.1 ucs-gateway")],
        &[("max-forwards", "0")],
        &[("expect", "something")],
        &[("origin", "https://app.example")],
        &[("origin", "https://app.example"), ("access-control-request-method", "GET")],
        &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", "a=b")],
        &[("te", "trailers"), ("trailer", "x"), ("range", "bytes=0-1"), ("if-none-match", "\"a\"")],
        &[("x-empty", ""), ("x-tab", "a\tb"), ("x-bytes", "caf\u{e9}")],
    ];
    for fields in fields {
        for line in ["GET /profiles/1", "OPTIONS /profiles/1", "GET /nowhere", "POST /metadata/profiles/extensions"] {
            both_are_the_same(&gateway, &mut client, line, fields);
        }
    }
}

/// What UCS sends to any request, after which it closes the connection.
const RESPONSES: &[(&str, &str)] = &[
    ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    ("304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n"),
    ("205", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    ("206", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/4\r\nContent-Length: 2\r\n\r\nok"),
    ("no body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("two other lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"),
    ("extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0;c\r\n\r\n"),
    ("until the end", "HTTP/1.1 200 OK\r\n\r\nok"),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nok"),
    ("no phrase", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    ("a status of its own", "HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok"),
    ("a status that is none", "HTTP/1.1 99 Odd\r\nContent-Length: 2\r\n\r\nok"),
    (
        "fields of the connection",
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Connection: close\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "fields of the proxy",
        "HTTP/1.1 200 OK\r\nVia: 1.0 a\r\nServer: b\r\nX-Request-Id: c\r\nUCS-Gateway: answered\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "fields that repeat",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\nx-b: caf\u{e9}\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("a folded field", "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("a bad field", "HTTP/1.1 200 OK\r\nX Bad: a\r\nContent-Length: 2\r\n\r\nok"),
    ("a bad value", "HTTP/1.1 200 OK\r\nX-Bad: a\u{1}b\r\nContent-Length: 2\r\n\r\nok"),
    ("an interim response", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("early hints", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("a login", "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"),
    ("a link", "HTTP/1.1 302 Found\r\nLocation: http://ucs:1/a\r\nContent-Length: 0\r\n\r\n"),
    ("nothing", ""),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-"),
    ("another protocol's words", "SSH-2.0-OpenSSH\r\n"),
    ("a later version", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
];

#[test]
fn every_response_of_ucs_is_the_same_over_both_protocols() {
    let upstream = Scripted::start(|conn| {
        let Some(request) = conn.read_request() else { return };
        let wanted = request.head.split(['/', ' ']).nth(3).and_then(|place| place.parse::<usize>().ok());
        conn.write(RESPONSES[wanted.unwrap()].1);
    });
    let gateway = start(upstream.address, &[]);
    for (place, (name, bytes)) in RESPONSES.iter().enumerate() {
        for method in ["GET", "HEAD", "PUT"] {
            // HEAD has no body, and one that follows would be the next response.
            if method == "HEAD" && bytes.ends_with("ok") {
                continue;
            }
            let line = format!("{method} /profiles/{place}");
            let http1 = request(gateway.data, &line, &[], b"");
            let http2 = H2::open(gateway.data).ask(&line, &[]);
            assert_eq!(seen(&http2), seen(&http1), "{method}: {name}");
            let length = |reply: &Reply| reply.header("content-length").map(str::to_owned);
            assert!(length(&http2) == length(&http1) || length(&http1).is_none(), "{method}: {name}");
            assert_eq!(http2.interim, http1.interim, "{method}: {name}");
        }
    }
}

/// The most bytes that something may have, from `0` to `beyond`.
fn most(beyond: usize, mut is_taken: impl FnMut(usize) -> bool) -> usize {
    let (mut taken, mut refused) = (0, beyond);
    assert!(is_taken(taken) && !is_taken(refused));
    while taken + 1 < refused {
        let middle = usize::midpoint(taken, refused);
        if is_taken(middle) { taken = middle } else { refused = middle }
    }
    taken
}

#[test]
fn limits_are_the_same_to_the_byte() {
    let upstream = Scripted::ok();
    let flags = ["--max-head", "2000", "--max-target", "500", "--max-headers", "20"];
    let gateway = start(upstream.address, &flags);
    let mut client = H2::open(gateway.data);
    type Wanted = fn(usize) -> (String, Vec<(&'static str, String)>);
    let limits: [(usize, Wanted); 4] = [
        (3000, |size| ("GET /profiles/1".to_owned(), vec![("x", "y".repeat(size))])),
        (800, |size| (format!("GET /profiles/{}", "1".repeat(size)), vec![])),
        (800, |size| (format!("GET /profiles/1?{}", "a".repeat(size)), vec![])),
        (40, |size| ("GET /profiles/1".to_owned(), vec![("x", String::new()); size])),
    ];
    for (beyond, wanted) in limits {
        let over_http1 = most(beyond, |size| {
            let (line, fields) = wanted(size);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            let mut connection = Connection::open(gateway.data);
            connection.send(http::compose(gateway.data, &line, &fields, b""));
            matches!(connection.read_reply().status, 200 | 404)
        });
        let over_http2 = most(beyond, |size| {
            let (line, fields) = wanted(size);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            matches!(client.ask(&line, &fields).status, 200 | 404)
        });
        assert_eq!(over_http2, over_http1, "of {beyond}");
    }
}
