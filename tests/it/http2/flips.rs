//! A flip, a cut and a stop see streams as they see connections of HTTP/1.1.

use serde_json::json;
use ucs_gateway::demo::StandInOptions;

use super::start;
use crate::support::h2::{CANCEL, END_STREAM, End, NO_ERROR};
use crate::support::{Connection, Gateway, H2, PATIENCE, Ucs, admin, eventually};

fn ucs() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

fn gateway(ucs: &Ucs, extra: &[&str]) -> Gateway {
    start(ucs.address, &[&["--orphan-grace", "100ms"], extra].concat())
}

fn begin_flip(gateway: &Gateway, change: &serde_json::Value) -> Connection {
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, gateway, "PUT /mode", Some(change));
    eventually("the flip began", || admin::mode(gateway)["phase"] == "switching");
    asker
}

/// A Create Customer Profile whose body lacks its last byte.
fn begin_upload(client: &mut H2, ucs: &Ucs) -> u32 {
    let before = ucs.in_flight();
    let stream = client.upload("POST /profiles", &[("content-length", "22")]);
    client.data(stream, "{\"FirstName\": \"Grace\"", 0);
    ucs.in_flight_reaches(before + 1);
    stream
}

#[test]
fn a_flip_waits_for_a_stream_and_refuses_the_others_meanwhile() {
    let ucs = ucs();
    let gateway = gateway(&ucs, &[]);
    let mut client = H2::open(gateway.data);
    let upload = begin_upload(&mut client, &ucs);
    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    let refused = client.ask("POST /profiles", &[]);
    assert_eq!((refused.status, refused.refusal()), (503, Some("switching")));
    assert_eq!(client.ask("GET /metadata/profiles", &[]).status, 200, "open in both modes");
    client.data(upload, "}", END_STREAM);
    assert_eq!(client.reply(upload).status, 201);
    let flipped = asker.read_reply();
    assert_eq!((flipped.status, flipped.json()["drain"].as_str()), (200, Some("complete")), "{}", flipped.text());
    let refused = client.ask("POST /profiles", &[]);
    assert_eq!((refused.status, refused.refusal()), (503, Some("mode")));
    assert!(refused.header("retry-after").is_some() && refused.text().contains("maintenance"), "{refused:?}");
}

#[test]
fn a_cut_ends_the_forbidden_streams_alone() {
    let ucs = ucs();
    let gateway = gateway(&ucs, &[]);
    let mut client = H2::open(gateway.data);
    ucs.control().set_holding(true);
    let read = client.request("GET /metadata/profiles", &[]);
    let create = client.upload("POST /profiles", &[]);
    client.data(create, "{}", END_STREAM);
    ucs.in_flight_reaches(2);
    let mut asker =
        begin_flip(&gateway, &json!({"mode": "maintenance", "drain_timeout": "200ms", "on_timeout": "cut"}));
    let cut = client.reply(create);
    assert_eq!((cut.status, cut.refusal()), (503, Some("cut")));
    assert_eq!(asker.read_reply().json()["drain"].as_str(), Some("assumed"));
    ucs.control().set_holding(false);
    assert_eq!(client.reply(read).status, 200);
}

#[test]
fn a_cut_in_the_middle_of_a_response_resets_its_stream_alone() {
    let upstream = crate::support::Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            if request.head.starts_with("GET /profiles") {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                conn.wait_for_the_end();
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = start(upstream.address, &["--orphan-grace", "100ms"]);
    let mut client = H2::open(gateway.data);
    let download = client.request("GET /profiles/1", &[]);
    assert_eq!(client.status(download), 200);
    let change = json!({"mode": "maintenance", "drain_timeout": "200ms", "on_timeout": "cut"});
    let mut asker = begin_flip(&gateway, &change);
    assert_eq!(client.end_of(download), End::Reset(CANCEL));
    assert_eq!(asker.read_reply().json()["drain"].as_str(), Some("assumed"));
    assert_eq!(client.ask("GET /metadata/profiles", &[]).text(), "ok");
}

#[test]
fn a_mutating_request_goes_on_when_its_stream_is_reset() {
    let ucs = ucs();
    let gateway = gateway(&ucs, &[]);
    let mut client = H2::open(gateway.data);
    ucs.control().set_holding(true);
    let create = client.upload("POST /profiles", &[]);
    client.data(create, "{\"FirstName\": \"Grace\"}", END_STREAM);
    let read = client.request("GET /metadata/profiles", &[]);
    ucs.in_flight_reaches(2);
    for stream in [create, read] {
        client.frame(crate::support::h2::RST_STREAM, 0, stream, CANCEL.to_be_bytes());
    }
    eventually("the one that changes nothing is dropped", || {
        admin::metric(&gateway, "ucs_gateway_in_flight{set=\"both\"}") == 0.0
    });
    assert_eq!(admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}"), 1.0);
    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    ucs.control().set_holding(false);
    let flipped = asker.read_reply();
    assert_eq!((flipped.status, flipped.json()["drain"].as_str()), (200, Some("complete")), "{}", flipped.text());
    assert_eq!(ucs.asked("POST", "/profiles").len(), 1);
    assert_eq!(client.ask("GET /metadata/profiles", &[]).status, 200, "the connection lives");
}

#[test]
fn a_drain_waits_for_no_client_of_a_stream() {
    let ucs = ucs();
    let gateway = gateway(&ucs, &["--drain-client-timeout", "200ms"]);
    let mut client = H2::open(gateway.data);
    let upload = begin_upload(&mut client, &ucs);
    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    let reply = client.reply(upload);
    assert_eq!((reply.status, reply.refusal()), (503, Some("drain_client_timeout")));
    assert_eq!(asker.read_reply().json()["drain"].as_str(), Some("assumed"));
}

#[test]
fn a_stop_says_goaway_and_answers_the_streams_up_to_its_last() {
    let ucs = ucs();
    let gateway = gateway(&ucs, &["--stop-timeout", "30s"]);
    let (mut busy, mut idle) = (H2::open(gateway.data), H2::open(gateway.data));
    assert_eq!(idle.ask("GET /metadata/profiles", &[]).status, 200);
    let upload = begin_upload(&mut busy, &ucs);
    gateway.signal("TERM");
    // First the last stream is left open, so that requests on their way are served.
    let goaway = busy.goaway();
    assert_eq!((goaway.number(), goaway.goaway_code()), (0x7fff_ffff, NO_ERROR));
    let last = busy.goaway();
    assert_eq!((last.number(), last.goaway_code()), (upload, NO_ERROR));
    busy.data(upload, "}", END_STREAM);
    assert_eq!(busy.reply(upload).status, 201);
    for client in [&mut busy, &mut idle] {
        client.read_to_end();
    }
    assert!(gateway.terminate(PATIENCE).success());
}

#[test]
fn a_client_that_connects_while_the_gateway_lingers_has_a_response() {
    let ucs = ucs();
    let gateway = gateway(&ucs, &["--stop-linger", "30s", "--stop-timeout", "1m"]);
    let mut early = H2::open(gateway.data);
    assert_eq!(early.ask("GET /metadata/profiles", &[]).status, 200);
    gateway.signal("TERM");
    early.goaway();
    early.read_to_end();
    let mut late = H2::open(gateway.data);
    late.ping();
    assert_eq!(late.ask("GET /metadata/profiles", &[]).status, 200);
    late.goaway();
    late.read_to_end();
    // A second one ends the wait.
    assert!(gateway.terminate(PATIENCE).success());
}
