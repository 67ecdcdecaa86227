//! What a client sees of a request, its line in the access log and its metrics are the same in both protocols. The same gateway
//! gets the same requests, first over HTTP/1.1 and then over HTTP/2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::same::seen;
use super::start;
use crate::support::{Gateway, H2, Reply, Scripted, admin, eventually, request};

/// Line, fields and body.
type Request = (&'static str, &'static [(&'static str, &'static str)], &'static [u8]);

const REQUESTS: &[Request] = &[
    ("GET /profiles/1", &[], b""),
    ("GET /profiles/1", &[("x-request-id", "mine"), ("accept", "*/*")], b""),
    ("HEAD /profiles/1", &[], b""),
    ("GET /profiles/204", &[], b""),
    ("GET /profiles/304", &[("if-none-match", "\"a\"")], b""),
    ("GET /profiles/404", &[], b""),
    ("GET /profiles/500", &[], b""),
    ("GET /profiles/trailers", &[("te", "trailers")], b""),
    ("GET /profiles/trailers", &[], b""),
    ("GET /profiles/garbage", &[], b""),
    ("GET /profiles/closed", &[], b""),
    ("POST /profiles", &[("content-type", "application/json")], b"{}"),
    ("POST /profiles", &[("expect", "100-continue")], b"{}"),
    ("PUT /profiles/1", &[], b"{}"),
    ("POST /profiles", &[], &[b'x'; 1001]),
    ("POST /profiles", &[("expect", "other")], b"{}"),
    ("POST /nowhere", &[], b"{}"),
    ("DELETE /metadata/profiles", &[], b""),
    ("BREW /profiles/1", &[], b""),
    ("TRACE /profiles/1", &[], b""),
    ("OPTIONS /profiles/1", &[], b""),
    ("OPTIONS *", &[], b""),
    ("GET /a/../profiles", &[], b""),
    ("GET /profiles;x/1", &[], b""),
    ("GET /profiles/1%2f2", &[], b""),
    ("GET /profiles/%zz", &[], b""),
    ("GET /profiles/1", &[("max-forwards", "x")], b""),
    ("OPTIONS /profiles/1", &[("max-forwards", "0")], b""),
    ("GET /profiles/1", &[("via", "1.1 ucs-gateway, 1.1 ucs-gateway, 1.1 ucs-gateway")], b""),
    ("GET /profiles/1", &[("x-long", LONG)], b""),
    ("GET /profiles/1", &[("x", "1"); 30], b""),
    ("POST /server/mode", &[], b"{}"),
    ("GET /server/mode", &[], b""),
];

/// More than `--max-head` takes.
const LONG: &str = {
    const BYTES: [u8; 3000] = [b'y'; 3000];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
};

const FAMILIES: [&str; 3] =
    ["ucs_gateway_requests_total", "ucs_gateway_wire_faults_total", "ucs_gateway_upstream_errors_total"];

#[test]
fn a_request_leaves_the_same_records_over_both_protocols() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            let (target, body) = (request.head.split(' ').nth(1).unwrap_or_default(), &request.head);
            match target.rsplit('/').next().unwrap_or_default() {
                "204" => conn.write("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
                "304" => conn.write("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
                "garbage" => return conn.write("nonsense\r\n\r\n"),
                "closed" => return,
                "trailers" => conn.write(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n",
                ),
                _ if request.head.starts_with("HEAD ") => conn.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
                status => {
                    let status = status.parse().unwrap_or(200).max(200);
                    conn.write(format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
                }
            }
        }
    });
    let flags = ["--access-log", "--workers", "1", "--max-body", "1000", "--max-head", "2000"];
    let gateway = start(upstream.address, &[&flags[..], &["--max-headers", "20"]].concat());
    for mode in ["production", "maintenance"] {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
        let http1 = record(&gateway, |(line, fields, body)| request(gateway.data, line, fields, body));
        let http2 = record(&gateway, |wanted| over_http2(&gateway, wanted));
        for (place, (line, fields, _)) in REQUESTS.iter().enumerate() {
            let what = format!("{line} {fields:.60?} in {mode}");
            assert_eq!(seen(&http2.replies[place]), seen(&http1.replies[place]), "{what}");
            assert_eq!(http2.replies[place].trailers, http1.replies[place].trailers, "{what}");
        }
        for (http2, http1) in http2.lines.iter().zip(&http1.lines) {
            assert_eq!(http2, http1, "in {mode}");
        }
        assert_eq!(http2.lines.len(), http1.lines.len(), "in {mode}");
        assert_eq!(http2.counts, http1.counts);
    }
}

fn over_http2(gateway: &Gateway, (line, fields, body): Request) -> Reply {
    let mut client = H2::open(gateway.data);
    if body.is_empty() {
        return client.ask(line, fields);
    }
    let length = body.len().to_string();
    let stream = client.upload(line, &[fields, &[("content-length", &length)]].concat());
    client.data(stream, body, crate::support::h2::END_STREAM);
    client.reply(stream)
}

/// What came of all requests over one protocol.
struct Records {
    replies: Vec<Reply>,
    /// Their lines in the access log, without what differs from request to request.
    lines: Vec<Value>,
    /// By how much the counters grew.
    counts: BTreeMap<String, f64>,
}

fn record(gateway: &Gateway, ask: impl Fn(Request) -> Reply) -> Records {
    let (logged, before) = (gateway.access_lines().len(), counters(gateway));
    let replies = REQUESTS.iter().map(|wanted| ask(*wanted)).collect();
    // Not all are logged: `OPTIONS *` is about the gateway itself.
    ask(("GET /profiles/1", &[("x-request-id", "the-last-one")], b""));
    let is_last = |line: &String| line.contains("the-last-one");
    eventually("all are logged", || gateway.access_lines().iter().skip(logged).any(is_last));
    let lines = gateway.access_lines().split_off(logged).iter().map(|line| essence(line)).collect();
    let grown = |(name, count): (String, f64)| {
        let growth = count - before.get(&name).unwrap_or(&0.0);
        (growth > 0.0).then_some((name, growth))
    };
    Records { replies, lines, counts: counters(gateway).into_iter().filter_map(grown).collect() }
}

fn essence(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let fields = line.as_object_mut().unwrap();
    fields
        .retain(|name, value| !["time", "duration_ms"].contains(&&**name) && (name != "request_id" || value == "mine"));
    // UCS repeats the head that it was sent, in which the version and the id differ.
    if fields["outcome"].as_str().is_some_and(|outcome| outcome.starts_with("forwarded")) {
        fields.remove("bytes");
    }
    line
}

fn counters(gateway: &Gateway) -> BTreeMap<String, f64> {
    let text = admin::call(gateway, "GET /metrics", None).text();
    let wanted = text.lines().filter(|line| FAMILIES.iter().any(|family| line.starts_with(family)));
    wanted
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
        .collect()
}
