//! `/mode`: the record and what else is known now, changes that are well formed and those that are not, the history and
//! the preview. How flips run is the subject of `flips`.

use serde_json::{Value, json};

use super::bearer;
use crate::support::{Gateway, Ucs, Upload, admin, eventually, request};

/// Members of the record, as the documentation shows them.
const RECORD: [&str; 21] = [
    "format",
    "revision",
    "mode",
    "phase",
    "from",
    "deadline",
    "since",
    "actor",
    "reason",
    "message",
    "cause",
    "expires",
    "back_at",
    "drain",
    "abandoned",
    "drain_timeout_ms",
    "on_timeout",
    "force",
    "scheduled",
    "attempt",
    "journal_head",
];

#[test]
fn the_record_stands_flat_with_what_is_known_now() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    eventually("the schema is known", || admin::mode(&gateway)["schema"] == "defined");
    let upload = Upload::begin(&gateway, &ucs);
    let mode = admin::mode(&gateway);
    let members: Vec<_> = mode.as_object().unwrap().keys().map(String::as_str).collect();
    for name in RECORD.iter().chain(&["in_flight", "schema", "upstream", "local", "alarm"]) {
        assert!(members.contains(name), "{name} is missing in {mode}");
    }
    // "report" comes with the first flip.
    assert_eq!(members.len(), RECORD.len() + 5, "{mode}");
    assert_eq!(
        (&mode["mode"], &mode["phase"], &mode["alarm"]),
        (&json!("production"), &json!("settled"), &Value::Null)
    );
    assert_eq!(mode["in_flight"], json!({"production": 1, "maintenance": 0, "both": 0}));
    assert_eq!(upload.finish().status, 201);
    eventually("nothing is in flight", || admin::mode(&gateway)["in_flight"]["production"] == 0);
}

#[test]
fn what_is_not_probed_is_unknown() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    assert_eq!(admin::mode(&gateway)["schema"], "unknown");
}

#[test]
fn a_change_is_kept_as_it_was_asked_for() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let change = json!({"mode": "MAINTENANCE", "reason": "Größe ändern – \"neu\"", "drain_timeout": "90s",
        "on_timeout": "cut", "expires_in": "2h", "force": false});
    let reply = admin::set_mode(&gateway, &change);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let settled = reply.json();
    assert_eq!(settled["reason"], change["reason"]);
    assert_eq!(settled["actor"], json!({"kind": "operator", "name": "admin"}));
    assert_eq!((&settled["mode"], &settled["drain"]), (&json!("maintenance"), &json!("complete")));
    let time = |name: &str| settled[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let lasts = time("expires").duration_since(time("since"));
    assert!((7195..=7205).contains(&lasts.as_secs()), "two hours from the asking: {settled}");
    // The report belongs to the answer; all else is what everybody sees from now on.
    let mut shown = admin::mode(&gateway);
    shown["report"] = settled["report"].clone();
    assert_eq!(shown, settled);
}

#[test]
fn a_change_that_is_not_understood_is_told_what_to_write() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let before = admin::mode(&gateway);
    let long = format!(r#"{{"mode":"maintenance","reason":"{}"}}"#, "x".repeat(501));
    for (body, says) in [
        ("", &["JSON object", r#"{"mode": "maintenance"}"#][..]),
        (r#"["maintenance"]"#, &["JSON object", r#"{"mode": "maintenance"}"#]),
        ("{}", &["mode"]),
        (r#"{"mode":"off"}"#, &["mode", "off", "\"production\" or \"maintenance\""]),
        (r#"{"mode":null}"#, &["mode"]),
        (r#"{"mode":"maintenance""#, &["is not JSON", "line 1"]),
        (r#"{"mode":"maintenance","mode":"production"}"#, &["duplicate", "mode"]),
        (r#"{"mode":"maintenance","drain":"5s"}"#, &["`drain`", "drain_timeout", "expires_in", "if_revision"]),
        (r#"{"mode":"maintenance","if_revision":"7"}"#, &["if_revision", "string"]),
        (r#"{"mode":"maintenance","if_revision":1.5}"#, &["if_revision", "1.5"]),
        (r#"{"mode":"maintenance","if_revision":-1}"#, &["if_revision", "-1"]),
        (r#"{"mode":"maintenance","drain_timeout":"5"}"#, &["drain_timeout", "500ms, 5s, 2m, 1h"]),
        (r#"{"mode":"maintenance","drain_timeout":5}"#, &["drain_timeout", "string"]),
        (r#"{"mode":"maintenance","drain_timeout":"25h"}"#, &["drain_timeout", "at most 24h"]),
        (r#"{"mode":"maintenance","on_timeout":"wait"}"#, &["on_timeout", "wait", "revert", "cut", "commit"]),
        (r#"{"mode":"maintenance","expires_in":"999ms"}"#, &["expires_in", "at least 1s"]),
        (r#"{"mode":"maintenance","expires_in":"99999d"}"#, &["expires_in", "ten years"]),
        (r#"{"mode":"maintenance","back_at":"15:00"}"#, &["back_at", "2026-03-01T22:00:00Z", "never"]),
        (r#"{"mode":"maintenance","back_at":"2020-01-01T00:00:00Z"}"#, &["back_at", "this time has passed"]),
        (r#"{"mode":"maintenance","at":"02:00"}"#, &["at", "2026-03-01T22:00:00Z", "never"]),
        (r#"{"mode":"maintenance","at":"2020-01-01T00:00:00Z"}"#, &["at", "this time has passed"]),
        (r#"{"mode":"maintenance","message":"two\nlines"}"#, &["message", "control character"]),
        (r#"{"mode":"maintenance","force":"yes"}"#, &["force", "boolean"]),
        (r#"{"mode":"maintenance","reason":"two\nlines"}"#, &["reason", "control character"]),
        (&long, &["reason", "500"]),
    ] {
        let headers = [("Authorization", &*bearer(&gateway.token())), ("Content-Type", "application/json")];
        let reply = request(gateway.admin, "PUT /mode", &headers, body.as_bytes());
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        let answer = reply.json();
        assert_eq!(answer["reason"], "bad_body", "{body}");
        let detail = answer["detail"].as_str().unwrap();
        for word in says {
            assert!(detail.contains(word), "{body}: {word:?} is not in {detail:?}");
        }
    }
    assert_eq!(admin::mode(&gateway), before);
}

#[test]
fn a_query_that_is_not_understood_is_told_what_to_write() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    for (target, says) in [
        ("/mode/history?limit=0", &["limit", "1 to 1000"][..]),
        ("/mode/history?limit=1001", &["limit", "1 to 1000"]),
        ("/mode/history?max=5", &["max", "limit"]),
        ("/mode/preview", &["mode", "production or maintenance"]),
        ("/mode/preview?mode=off", &["mode", "production or maintenance"]),
        ("/explain?method=GET", &["path", "?method=GET&path="]),
        ("/explain?method=G%20T&path=/", &["method", "not an HTTP method"]),
        ("/explain?path=%zz", &["%zz", "%25"]),
    ] {
        let reply = admin::call(&gateway, &format!("GET {target}"), None);
        assert_eq!((reply.status, &reply.json()["reason"]), (400, &json!("bad_query")), "{target}");
        for word in says {
            assert!(reply.text().contains(word), "{target}: {word:?} is not in {}", reply.text());
        }
    }
}

#[test]
fn a_stale_change_is_answered_with_the_record_in_force() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let seen = admin::mode(&gateway)["revision"].as_u64().unwrap();
    let seen_by_others = seen as f64;
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "if_revision": seen_by_others})).status, 200);
    let late = admin::set_mode(&gateway, &json!({"mode": "production", "if_revision": seen}));
    assert_eq!((late.status, &late.json()["reason"]), (409, &json!("stale")), "{}", late.text());
    let mut in_force = admin::mode(&gateway);
    assert_eq!(in_force["mode"], "maintenance");
    for beside in ["in_flight", "schema", "upstream", "local", "alarm"] {
        in_force.as_object_mut().unwrap().remove(beside);
    }
    assert_eq!(late.json()["record"], in_force);
}

#[test]
fn the_history_is_every_record_newest_first() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    for (turn, mode) in ["maintenance", "production", "maintenance"].into_iter().enumerate() {
        let change = json!({"mode": mode, "reason": format!("turn {turn}")});
        assert_eq!(admin::set_mode(&gateway, &change).status, 200);
    }
    let history = |query: &str| {
        let reply = admin::call(&gateway, &format!("GET /mode/history{query}"), None);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["entries"].as_array().unwrap().clone()
    };
    let entries = history("");
    let records: Vec<_> =
        entries.iter().map(|entry| if entry["record"].is_object() { &entry["record"] } else { entry }).collect();
    let revisions: Vec<_> = records.iter().map(|record| record["revision"].as_u64().unwrap()).collect();
    let newest = admin::mode(&gateway)["revision"].as_u64().unwrap();
    let all: Vec<_> = (1..=newest).rev().collect();
    assert_eq!(revisions, all, "every revision once");
    let told = |record: &Value| format!("{} {} {}", record["mode"], record["phase"], record["reason"]);
    let newest: Vec<_> = records.iter().take(3).map(|record| told(record)).collect();
    assert_eq!(
        newest,
        [
            r#""maintenance" "settled" "turn 2""#,
            r#""maintenance" "switching" "turn 2""#,
            r#""production" "settled" "turn 1""#
        ]
    );
    assert_eq!(history("?limit=2"), entries[..2]);
}

#[test]
fn a_preview_names_what_runs_and_what_came_lately() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let preview = |mode: &str| {
        let reply = admin::call(&gateway, &format!("GET /mode/preview?mode={mode}"), None);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let upload = Upload::begin(&gateway, &ucs);
    for _ in 0..3 {
        assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 200);
        assert_ne!(request(gateway.data, "GET /profiles/1", &[], b"").status, 503);
    }
    // Rates need two looks at the counts, a second apart.
    eventually("rates are known", || preview("maintenance")["window_seconds"].as_u64().unwrap() > 0);
    let shown = preview("Maintenance");
    assert_eq!(shown["waits_for"], 1, "{shown}");
    let current = &shown["current"];
    assert_eq!((&current["mode"], &current["phase"]), (&json!("production"), &json!("settled")));
    let operation = |name: &str| {
        let operations = shown["would_refuse"].as_array().unwrap();
        operations.iter().find(|operation| operation["operation"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(operation("Create Customer Profile")["in_flight"], 1, "{shown}");
    assert_eq!(operation("Query Customer Profile")["in_flight"], 0, "{shown}");
    let sum: f64 =
        shown["would_refuse"].as_array().unwrap().iter().map(|one| one["per_minute"].as_f64().unwrap()).sum();
    assert!((sum - shown["per_minute"].as_f64().unwrap()).abs() < 0.11, "{shown}");
    assert_eq!(shown["would_refuse"].as_array().unwrap().len(), 2, "what both modes admit is not refused: {shown}");
    let back = preview("production");
    assert_eq!((&back["waits_for"], &back["would_refuse"]), (&json!(0), &json!([])), "{back}");
    assert_eq!(admin::mode(&gateway)["mode"], "production", "a preview changes nothing");
    assert_eq!(upload.finish().status, 201);
}

#[test]
fn a_rehearsal_says_what_a_flip_would_meet_and_changes_nothing() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let rehearse = |mode: &str| admin::set_mode(&gateway, &json!({"mode": mode, "rehearse": true}));
    let idle = rehearse("maintenance").json();
    assert_eq!((&idle["rehearsal"]["drained"], &idle["rehearsal"]["would_change"]), (&json!(true), &json!(true)));
    let upload = Upload::begin(&gateway, &ucs);
    let before = admin::mode(&gateway);
    let busy = rehearse("maintenance");
    assert_eq!(busy.status, 200, "{}", busy.text());
    let rehearsal = &busy.json()["rehearsal"];
    assert_eq!((&rehearsal["drained"], &rehearsal["waits_for"]), (&json!(false), &json!(1)), "{rehearsal}");
    let running = json!([{"operation": "Create Customer Profile", "class": "profile", "count": 1}]);
    assert_eq!(rehearsal["running"], running);
    // What production alone admits is admitted as before, and the record is the same.
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 404);
    assert_eq!(upload.finish().status, 201);
    assert_eq!(admin::mode(&gateway)["revision"], before["revision"]);
    assert_eq!(admin::metric(&gateway, "ucs_gateway_requests_total{class=\"profile\",outcome=\"refused_mode\"}"), 0.0);
    let same = rehearse("production").json();
    assert_eq!(same["rehearsal"]["would_change"], false);
    // It is checked like the flip itself.
    let stale = admin::set_mode(&gateway, &json!({"mode": "maintenance", "rehearse": true, "if_revision": 99}));
    assert_eq!((stale.status, stale.json()["reason"].as_str()), (409, Some("stale")));
    let at = json!({"mode": "maintenance", "rehearse": true, "at": "2999-01-01T00:00:00Z"});
    assert_eq!(admin::set_mode(&gateway, &at).status, 400);
}

#[test]
fn the_history_keeps_the_report_of_each_drain() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let upload = Upload::begin_held(&gateway, &ucs);
    let late = admin::set_mode(&gateway, &json!({"mode": "maintenance", "drain_timeout": "50ms"}));
    assert_eq!(late.status, 504, "{}", late.text());
    assert_eq!(upload.finish_held(&ucs).status, 201);
    eventually("nothing is in flight", || admin::mode(&gateway)["in_flight"]["production"] == 0);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "later"})).status, 200);
    let history = admin::call(&gateway, "GET /mode/history", None).json();
    let entries: Vec<_> = history["entries"].as_array().unwrap().iter().collect();
    let report = |kind: &str| &entries.iter().find(|entry| entry["kind"] == kind).unwrap()["record"]["report"];
    let create = json!([{"operation": "Create Customer Profile", "class": "profile", "count": 1}]);
    assert_eq!((&report("reverted")["waited_for"], &report("reverted")["still_running"]), (&create, &create));
    assert!(report("reverted")["drain_ms"].as_u64().unwrap() >= 50);
    assert_eq!((&report("settled")["waited_for"], &report("switching")["waited_for"]), (&json!([]), &Value::Null));
    assert_eq!(report("amended"), report("settled"), "it is that of the flip that brought the mode");
}
