//! Calls as such: methods, paths and bodies that no call takes, and the fields that every response carries.

use std::net::TcpStream;

use serde_json::json;

use super::bearer;
use crate::support::{Connection, Gateway, PATIENCE, Ucs, Upload, admin, eventually, request};

#[test]
fn a_wrong_method_or_path_is_named() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    for (line, status, allow) in [
        ("POST /mode", 405, Some("GET, HEAD, PUT")),
        ("GET /routes/reload", 405, Some("POST")),
        ("DELETE /livez", 405, Some("GET, HEAD")),
        ("GET /nothing", 404, None),
        ("HEAD /mode", 200, None),
    ] {
        let mut connection = Connection::open(gateway.admin);
        admin::begin(&mut connection, &gateway, line, None);
        let reply = if line.starts_with("HEAD") { connection.read_reply_to_head() } else { connection.read_reply() };
        assert_eq!((reply.status, reply.header("allow")), (status, allow), "{line}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{line}");
        let media = if status == 200 { "application/json" } else { "application/problem+json" };
        assert_eq!(reply.header("content-type"), Some(media), "{line}");
    }
}

/// Its connection was accepted before the stop, and has sent nothing yet: a probe during an upgrade.
#[test]
fn a_first_request_during_a_stop_has_its_response() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let mut early = Connection::open(gateway.admin);
    // Connections are accepted in their order.
    assert_eq!(request(gateway.admin, "GET /livez", &[], b"").status, 200);
    gateway.signal("TERM");
    eventually("the listener to be closed", || TcpStream::connect(gateway.admin).is_err());
    admin::begin(&mut early, &gateway, "GET /livez", None);
    assert_eq!(early.read_reply().status, 200);
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
}

#[test]
fn a_body_that_no_call_takes_is_refused() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let bearer = bearer(&gateway.token());
    for (line, media, body, status) in [
        ("PUT /mode", "text/plain", r#"{"mode":"maintenance"}"#.to_owned(), 415),
        ("PUT /mode", "application/json", " ".repeat(70_000), 413),
        ("POST /routes/reload", "application/json", r#"{"file":"x"}"#.to_owned(), 400),
        ("POST /routes/reload", "application/json", "{}".to_owned(), 200),
    ] {
        let headers = [("Authorization", &*bearer), ("Content-Type", media)];
        let reply = request(gateway.admin, line, &headers, body.as_bytes());
        assert_eq!(reply.status, status, "{line} with {} bytes of {media}: {}", body.len(), reply.text());
    }
    assert_eq!(admin::mode(&gateway)["mode"], "production");
}

#[test]
fn a_change_goes_on_after_its_client_has_disconnected() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let upload = Upload::begin(&gateway, &ucs);
    let mut client = Connection::open(gateway.admin);
    admin::begin(&mut client, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    client.reset();
    // The gateway has seen the end of that connection once it has served a later one on the same thread.
    assert_eq!(admin::mode(&gateway)["phase"], "switching");
    assert_eq!(upload.finish().status, 201);
    eventually("the flip settles", || {
        let mode = admin::mode(&gateway);
        mode["mode"] == "maintenance" && mode["phase"] == "settled"
    });
}
