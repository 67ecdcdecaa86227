//! What a refusal says, and what is logged of it.

use serde_json::{Value, json};

use super::GET;
use crate::support::{Connection, Gateway, Scripted, admin, eventually, http, request};

#[test]
fn a_refusal_says_who_what_and_why() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, "POST /metadata/profiles/extensions", &[], b""));
    let reply = client.read_reply();
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("ucs-gateway"), Some("refused; reason=mode"));
    assert!(reply.header("retry-after").is_some());
    let problem = reply.json();
    let detail = "Create Profile Extension Schema (POST /metadata/profiles/extensions) is unavailable while the system \
                  is in \"production\" mode";
    let expected = [
        ("title", Value::from("Not available")),
        ("status", Value::from(503)),
        ("detail", Value::from(detail)),
        ("reason", Value::from("mode")),
        ("mode", Value::from("production")),
        ("operation", Value::from("Create Profile Extension Schema")),
        ("class", Value::from("schema")),
    ];
    for (member, value) in expected {
        assert_eq!(problem[member], value, "{member} of {problem}");
    }
    assert!(problem["revision"].is_u64(), "{problem}");
}

/// What a refusal says is made once for an operation and a mode: what differs must not be of another request, or of another flip.
#[test]
fn each_refusal_tells_its_own_path_method_and_revision() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    let lines = ["GET /profiles/1", "GET /profiles/22", "OPTIONS /profiles/1", "GET /profiles/%22", "GET /profiles/1"];
    let mut revisions = Vec::new();
    for _ in 0..2 {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
        for line in lines {
            client.send(http::compose(gateway.data, line, &[], b""));
            let problem = client.read_reply().json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("({line}) is unavailable")), "{line}: {detail}");
            assert!(detail.ends_with("in \"maintenance\" mode"), "{detail}");
            revisions.push(problem["revision"].as_u64().unwrap());
        }
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production"})).status, 200);
    }
    let (first, second) = revisions.split_at(lines.len());
    assert!(first.iter().all(|revision| *revision == first[0]), "{revisions:?}");
    assert!(second.iter().all(|revision| *revision == second[0] && *revision > first[0]), "{revisions:?}");
}

/// UCS and the log know it by the same id; who was refused has one too.
#[test]
fn every_request_has_an_id_in_the_access_log() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            match request.head.contains("/profiles/broken") {
                true => return conn.write("nonsense\r\n\r\n"),
                false => conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            }
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--access-log", "--workers", "1"]);
    let lines = ["GET /profiles/1", "GET /profiles/broken", "GET /server/status", "GET /nowhere", "GET /a%00"];
    let statuses = [200, 502, 200, 404, 400];
    for (line, status) in lines.iter().zip(statuses) {
        for headers in [&[][..], &[("X-Request-Id", "mine")], &[("X-Request-Id", "not one")]] {
            assert_eq!(request(gateway.data, line, headers, b"").status, status, "{line}");
        }
    }
    eventually("all are logged", || gateway.access_lines().len() == 3 * lines.len());
    let logged: Vec<Value> = gateway.access_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let received = upstream.received_text();
    for (number, line) in logged.iter().enumerate() {
        let id = line["request_id"].as_str().unwrap();
        match number % 3 {
            1 => assert_eq!(id, "mine", "{line}"),
            _ => assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}"),
        }
        assert_eq!(received.contains(&format!("X-Request-Id: {id}\r\n")), number < 9 || number % 3 == 1, "{line}");
    }
}

#[test]
fn a_client_that_goes_without_an_answer_has_no_status_in_the_access_log() {
    let upstream = Scripted::start(|conn| while conn.read_request().is_some() {});
    let gateway = Gateway::bare(upstream.address, &["--access-log"]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[], b""));
    eventually("it is with UCS", || upstream.received_text().contains("/profiles/1"));
    client.reset();
    eventually("it is logged", || gateway.access_lines().len() == 1);
    let line: Value = serde_json::from_str(&gateway.access_lines()[0]).unwrap();
    assert_eq!((&line["outcome"], &line["status"]), (&"client_gone".into(), &0.into()), "{line}");
}

#[test]
fn the_access_log_tells_the_truth_of_what_failed_or_that_it_does_not_know() {
    let upstream = Scripted::answering("nonsense\r\n\r\n");
    let gateway = Gateway::bare(upstream.address, &["--access-log", "--workers", "1"]);
    let revision = admin::mode(&gateway)["revision"].clone();
    assert!(revision.as_u64().is_some_and(|revision| revision > 0), "{revision}");
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: ucs\r\n");
    let rows = [
        // It cannot be read.
        ("DELETE /a b HTTP/1.1\r\n\r\n".to_owned(), 400, json!(["-", "-", null])),
        // UCS fails.
        (head("POST /%70rofiles") + "Content-Length: 0\r\n\r\n", 502, json!(["POST", "/profiles", revision])),
        // It is admitted, and its body fails.
        (
            head("POST /profiles") + "Transfer-Encoding: chunked\r\n\r\nz\r\n",
            400,
            json!(["POST", "/profiles", revision]),
        ),
        // No mode decides.
        (head("PUT /nowhere") + "\r\n", 404, json!(["PUT", "/nowhere", null])),
        // The mode refuses it.
        (
            head("POST /metadata/profiles/extensions") + "Content-Length: 0\r\n\r\n",
            503,
            json!(["POST", "/metadata/profiles/extensions", revision]),
        ),
    ];
    for (number, (bytes, status, facts)) in rows.iter().enumerate() {
        let mut client = Connection::open(gateway.data);
        client.send(bytes);
        assert_eq!(client.read_reply().status, *status, "{bytes}");
        eventually("it is logged", || gateway.access_lines().len() == number + 1);
        let line: Value = serde_json::from_str(&gateway.access_lines()[number]).unwrap();
        assert_eq!(json!([line["method"], line["path"], line["revision"]]), *facts, "{bytes}: {line}");
    }
}

#[test]
fn a_refused_request_has_a_log_line_and_a_flood_of_them_a_few() {
    const FLOOD: u64 = 300;
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let lines = |message: &str| {
        let log = gateway.log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["message"] == message).collect::<Vec<_>>()
    };
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 200);
    let traced = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    assert_eq!(request(gateway.data, "POST /metadata/profiles/extensions?secret=1", &traced, b"{}").status, 503);
    eventually("the refusal is logged", || !lines("request refused").is_empty());
    let [line] = &lines("request refused")[..] else {
        panic!("one line, and none for what was forwarded: {}", gateway.log())
    };
    for (name, value) in [
        ("reason", json!("mode")),
        ("status", json!(503)),
        ("method", json!("POST")),
        ("path", json!("/metadata/profiles/extensions")),
        ("operation", json!("Create Profile Extension Schema")),
        ("client", json!("127.0.0.1")),
        ("trace_id", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("span_id", json!("00f067aa0ba902b7")),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    let mut connection = Connection::open(gateway.data);
    for _ in 0..FLOOD {
        connection.send(http::compose(gateway.data, "GET /nowhere", &[], b""));
        assert_eq!(connection.read_reply().status, 404);
    }
    let left_out = || {
        lines("refused requests without a line of their own")
            .iter()
            .map(|line| line["requests"].as_u64().unwrap())
            .sum::<u64>()
    };
    eventually("each refusal has a line or is counted", || {
        lines("request refused").len() as u64 + left_out() == FLOOD + 1
    });
    assert!(left_out() > 0, "{}", gateway.log());
}

#[test]
fn with_an_access_log_a_refused_request_is_logged_there_alone() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--access-log"]);
    assert_eq!(request(gateway.data, "GET /nowhere", &[], b"").status, 404);
    eventually("the access log has it", || gateway.access_lines().len() == 1);
    assert!(!gateway.log().contains("request refused"), "{}", gateway.log());
}
