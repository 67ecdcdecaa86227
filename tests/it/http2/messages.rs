//! One request and its response: how each of their parts passes, and what is refused.

use super::start;
use crate::support::h2::{CANCEL, END_STREAM, End, NO_ERROR};
use crate::support::{Gateway, H2, Scripted, eventually};

/// The error code of what is malformed.
const PROTOCOL_ERROR: u32 = 1;

fn ok_with(head: &str, body: &str) -> Scripted {
    Scripted::answering(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}"))
}

/// The lines of the one request that UCS has received, in lower case.
fn received(upstream: &Scripted) -> Vec<String> {
    upstream.received_text().to_lowercase().lines().map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], line: &str) {
    assert_eq!(lines.iter().filter(|other| *other == line).count(), 1, "{line} in {lines:#?}");
}

#[test]
fn a_request_is_http1_to_ucs_with_the_fields_of_a_proxy() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &[]);
    let fields = [("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2"), ("te", "trailers"), ("via", "1.1 edge")];
    let reply = H2::open(gateway.data).ask("GET /profiles/1?q=a%20b", &fields);
    assert_eq!((reply.status, reply.text().as_str(), reply.header("content-length")), (200, "ok", Some("2")));
    assert!(reply.header("date").is_some() && reply.header("connection").is_none(), "{reply:?}");
    assert_eq!(reply.header("via"), Some("1.1 ucs-gateway"), "UCS speaks HTTP/1.1");
    let lines = received(&upstream);
    let host = format!("host: {}", gateway.data);
    for line in
        ["get /profiles/1?q=a%20b http/1.1", &host, "cookie: a=1; b=2", "x-y: z", "via: 1.1 edge, 2 ucs-gateway"]
    {
        has(&lines, line);
    }
    has(&lines, "x-forwarded-for: 127.0.0.1");
    assert!(!lines.iter().any(|line| line.starts_with("te:") || line.contains("chunked")), "{lines:?}");
}

#[test]
fn bodies_and_trailers_pass_in_both_directions() {
    let body = "4\r\nbody\r\n0\r\nx-sum: 7\r\nx-more: 8\r\n\r\n";
    let upstream = ok_with("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", body);
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let stream = client.upload("POST /profiles", &[("trailer", "x-hash"), ("te", "trailers")]);
    client.data(stream, "one ", 0);
    client.data(stream, "two", 0);
    client.trailers(stream, &[("x-hash", "9"), ("x-other", "1")]);
    let reply = client.reply(stream);
    assert_eq!((reply.text().as_str(), reply.header("trailer")), ("body", Some("X-Sum")));
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())], "those that were announced");
    let text = upstream.received_text();
    assert!(text.ends_with("0\r\nx-hash: 9\r\n\r\n"), "{text}");
    // One that does not ask for them gets none.
    let reply = client.ask("GET /profiles/1", &[]);
    assert_eq!((reply.text().as_str(), reply.trailers.len()), ("body", 0));
}

#[test]
fn a_declared_length_is_kept_and_holds() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let stream = client.upload("POST /profiles", &[("content-length", "5")]);
    client.data(stream, "12345", END_STREAM);
    assert_eq!(client.reply(stream).status, 200);
    has(&received(&upstream), "content-length: 5");
    for (length, sent) in [("5", "1234"), ("5", "123456"), ("0", "1")] {
        let stream = client.upload("POST /profiles", &[("content-length", length)]);
        client.data(stream, sent, END_STREAM);
        assert_eq!(client.end_of(stream), End::Reset(PROTOCOL_ERROR), "{length}: {sent}");
    }
    // The other streams live on.
    assert_eq!(client.ask("GET /profiles/1", &[]).status, 200);
}

#[test]
fn responses_without_a_body_have_none() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            let status = if request.head.contains("/204") { "204 No Content" } else { "304 Not Modified" };
            match request.head.starts_with("HEAD ") {
                true => conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
                false => conn.write(format!("HTTP/1.1 {status}\r\nETag: x\r\n\r\n")),
            }
        }
    });
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    for (line, status, length) in
        [("HEAD /profiles/1", 200, Some("1234")), ("GET /profiles/204", 204, None), ("GET /profiles/304", 304, None)]
    {
        let reply = client.ask(line, &[]);
        assert_eq!((reply.status, reply.header("content-length"), &*reply.body), (status, length, &b""[..]), "{line}");
    }
    // The gateway's own, too.
    let get = client.ask("GET /nowhere", &[]);
    let head = client.ask("HEAD /nowhere", &[]);
    assert_eq!((get.status, head.status, head.body.len()), (404, 404, 0));
    assert_eq!(head.header("content-length").unwrap().parse::<usize>().unwrap(), get.body.len() - 1 + "HEAD".len() - 2);
}

#[test]
fn requests_that_http1_has_not_are_refused_and_never_reach_ucs() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &["--max-target", "200", "--max-head", "2000", "--max-headers", "10"]);
    let mut client = H2::open(gateway.data);
    let authority = gateway.data.to_string();
    let full = [(":method", "GET"), (":scheme", "http"), (":authority", &authority), (":path", "/profiles/1")];
    let with =
        |name: &str, value: &'static str| full.map(|(other, known)| (other, if other == name { value } else { known }));
    let and = |name: &'static str, value: &'static str| [&full[..], &[(name, value)]].concat();
    let without = |name: &str| full.iter().copied().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let long = format!("/profiles/{}", "1".repeat(200));
    let large = "y".repeat(2000);
    let many: Vec<_> = full.into_iter().chain([("x", "y"); 10]).collect();
    let refused = [
        (and("host", "elsewhere"), 400, "host_repeated"),
        (without(":authority"), 400, "host_missing"),
        (with(":authority", "user@ucs").to_vec(), 400, "host_invalid"),
        (with(":scheme", "ftp").to_vec(), 400, "target"),
        (with(":path", "*").to_vec(), 400, "asterisk"),
        (with(":path", "/metadata/..%2fprofiles").to_vec(), 400, "encoded_slash"),
        (with(":path", "/a/../profiles").to_vec(), 400, "dot_segment"),
        (with(":path", "/profiles;x=1/1").to_vec(), 400, "semicolon"),
        (with(":path", "/nowhere").to_vec(), 404, "unmatched"),
        (with(":method", "BREW").to_vec(), 501, "method_not_implemented"),
        (and("expect", "200-ok"), 417, "expectation"),
        ([&full[..3], &[(":path", &*long)]].concat(), 414, "target_too_long"),
        ([&full[..], &[("x", &*large)]].concat(), 431, "head_too_large"),
        (many, 431, "too_many_headers"),
        (vec![(":method", "CONNECT"), (":authority", "ucs:80")], 501, "connect"),
    ];
    for (fields, status, reason) in &refused {
        let stream = client.headers(fields, END_STREAM);
        let reply = client.reply(stream);
        assert_eq!((reply.status, reply.refusal()), (*status, Some(*reason)), "{fields:?}");
        assert!(reply.body.len() > 20 && reply.header("connection").is_none(), "{reply:?}");
    }
    let malformed = [
        and("connection", "close"),
        and("transfer-encoding", "chunked"),
        and("upgrade", "websocket"),
        and("keep-alive", "1"),
        and("proxy-connection", "close"),
        and("te", "gzip"),
        and("X-Upper", "1"),
        without(":path"),
        without(":scheme"),
        without(":method"),
        with(":path", "").to_vec(),
        with(":path", "http://ucs/profiles/1").to_vec(),
        with(":path", "/profiles/1 HTTP/1.1").to_vec(),
        and(":path", "/profiles/1"),
        and("content-length", "x"),
    ];
    for fields in &malformed {
        // An error of the stream may be one of the connection (RFC 9113, 5.4.2).
        let mut client = H2::open(gateway.data);
        let stream = client.headers(fields, END_STREAM);
        assert!(matches!(client.end_of(stream), End::Reset(PROTOCOL_ERROR) | End::Closed), "{fields:?}");
    }
    assert_eq!(upstream.connections(), 0, "{}", upstream.received_text());
    let stream = client.headers(&and("host", "127.0.0.1"), END_STREAM);
    assert_eq!(client.reply(stream).refusal(), Some("host_repeated"), "the port is part of it");
    let same = [&full[..], &[("host", &*authority)]].concat();
    let stream = client.headers(&same, END_STREAM);
    assert_eq!(client.reply(stream).status, 200);
    has(&received(&upstream), &format!("host: {authority}"));
}

#[test]
fn a_bad_body_is_refused_and_is_none_of_ucs_s_faults() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &["--max-body", "1000"]);
    let mut client = H2::open(gateway.data);
    let stream = client.upload("POST /profiles", &[("content-length", "1001")]);
    let reply = client.reply(stream);
    assert_eq!((reply.status, reply.refusal()), (413, Some("body_too_large")));
    let stream = client.upload("POST /profiles", &[]);
    client.data(stream, [b'x'; 1001], END_STREAM);
    let reply = client.reply(stream);
    assert_eq!((reply.status, reply.refusal()), (413, Some("body_too_large")));
    let stream = client.upload("POST /profiles", &[("trailer", "content-length")]);
    client.data(stream, "x", 0);
    client.trailers(stream, &[("content-length", "1")]);
    let reply = client.reply(stream);
    assert_eq!((reply.status, reply.refusal()), (400, Some("trailer_forbidden")));
    assert_eq!(client.ask("GET /profiles/1", &[]).status, 200);
}

#[test]
fn the_rest_of_a_refused_upload_is_read_for_a_while_and_then_stopped() {
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let stream = client.upload("POST /nowhere", &[("content-length", "6")]);
    assert_eq!(client.status(stream), 404);
    client.data(stream, "123", 0);
    client.data(stream, "456", END_STREAM);
    client.ping();
    assert_eq!(client.reply(stream).status, 404, "no reset");
    // The whole response comes first, then the word that nothing more is read.
    let stream = client.upload("POST /nowhere", &[("content-length", "1000000")]);
    assert_eq!(client.status(stream), 404);
    assert_eq!(client.end_of(stream), End::Regular);
    let frame = loop {
        let frame = client.read_frame().unwrap();
        if frame.stream == stream {
            break frame;
        }
    };
    assert_eq!(frame.number(), NO_ERROR);
}

#[test]
fn a_truncated_response_of_ucs_is_a_reset_of_its_stream_alone() {
    let upstream = Scripted::start(|conn| {
        let request = conn.read_request();
        if request.is_some_and(|request| request.head.contains("/cut")) {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        } else {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let cut = client.request("GET /profiles/cut", &[]);
    let whole = client.request("GET /profiles/1", &[]);
    assert!(matches!(client.end_of(cut), End::Reset(code) if code != NO_ERROR && code != CANCEL));
    assert!(b"half".starts_with(client.body(cut)));
    assert_eq!(client.reply(whole).text(), "ok");
}

#[test]
fn each_stream_has_its_line_in_the_access_log() {
    let upstream = Scripted::ok();
    let gateway: Gateway = start(upstream.address, &["--access-log"]);
    let mut client = H2::open(gateway.data);
    let fields = [("x-request-id", "mine"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    client.ask("GET /profiles/1", &fields);
    client.ask("GET /nowhere", &[]);
    eventually("both are logged", || gateway.access_lines().len() == 2);
    let lines = gateway.access_lines();
    for part in ["mine", "0af7651916cd43dd8448eb211c80319c", "/profiles/1", "127.0.0.1", "200"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert!(lines[1].contains("/nowhere") && lines[1].contains("404"), "{}", lines[1]);
}
