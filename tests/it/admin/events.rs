//! `GET /mode/events`: what a follower is told, in which order, and how it ends.

use serde_json::{Value, json};

use crate::support::{Connection, Events, Gateway, PATIENCE, Ucs, Upload, admin, request};

#[test]
fn a_follower_sees_the_record_the_drain_and_the_refusals() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let mut events = Events::open(&gateway);
    let first = events.next().unwrap();
    let now = admin::mode(&gateway);
    assert_eq!((first.name.as_str(), &first.data), ("record", &now));
    assert_eq!(first.id, Some(now["revision"].to_string()));

    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance", "reason": "seen"})));
    let switching = events.next().unwrap();
    assert_eq!((switching.name.as_str(), &switching.data["phase"]), ("record", &json!("switching")));
    assert_eq!((&switching.data["mode"], &switching.data["from"]), (&json!("maintenance"), &json!("production")));
    let drain = events.next().unwrap();
    assert_eq!((drain.name.as_str(), &drain.data["waiting_for"]), ("drain", &json!(1)), "{drain:?}");
    let creates = json!([{"operation": "Create Customer Profile", "class": "profile", "count": 1}]);
    assert_eq!((&drain.data["running"], &drain.data["revision"]), (&creates, &switching.data["revision"]));
    assert_eq!(drain.data["deadline"], switching.data["deadline"]);
    assert_eq!(
        members(&drain.data),
        ["deadline", "drain_deadline", "from", "mode", "revision", "running", "waiting_for"]
    );

    for _ in 0..2 {
        assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("switching"));
    }
    // Two refusals may be told in one event or in two.
    let refused = events.until(|event| event.name == "refused" && event.data["total"] == 2);
    assert!([1, 2].contains(&refused.data["more"].as_u64().unwrap()), "{refused:?}");
    assert_eq!(members(&refused.data), ["more", "total"]);

    assert_eq!(upload.finish().status, 201);
    let settled = events.until(|event| event.name == "record");
    assert_eq!((&settled.data["phase"], &settled.data["reason"]), (&json!("settled"), &json!("seen")));
    let answer = asker.read_reply();
    assert_eq!(answer.json()["revision"], settled.data["revision"]);
    assert_eq!(settled.id, Some(settled.data["revision"].to_string()));
}

/// The names of a document's members, sorted.
fn members(document: &Value) -> Vec<&str> {
    let mut names: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_stream_ends_in_order_when_the_gateway_stops() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let mut events = Events::open(&gateway);
    assert_eq!(events.next().unwrap().name, "record");
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
    assert!(events.next().is_none());
}

#[test]
fn a_follower_that_never_reads_holds_nobody_up() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let idle = Events::open(&gateway);
    for mode in ["maintenance", "production"].repeat(5) {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
    }
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
    drop(idle);
}
