//! A client cannot tell by a response which protocol it speaks, and UCS cannot tell by a request: every documented operation in
//! both modes, and requests with all kinds of targets and fields, over both.

use serde_json::json;

use super::start;
use crate::support::{Gateway, H2, Reply, Scripted, admin, request};

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
