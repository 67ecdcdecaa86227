//! What an operator tells clients: the message, the promise of a time, and when to come again.

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::{Connection, Gateway, Reply, TempDir, Ucs, admin, eventually, request, tool};

fn ucs() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

#[track_caller]
fn refused(gateway: &Gateway, line: &str) -> Reply {
    let reply = request(gateway.data, line, &[], b"");
    assert_eq!(reply.status, 503, "{}", reply.text());
    reply
}

fn retry_after(reply: &Reply) -> u64 {
    reply.header("retry-after").unwrap().parse().unwrap()
}

#[test]
fn clients_get_the_message_and_the_times_and_a_retry_that_is_not_too_late() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let change = json!({"mode": "maintenance", "reason": "ticket 4711", "message": "Back after the migration – \"soon\"",
        "back_at": "2999-01-01T06:00:00+01:00", "expires_in": "30d"});
    let settled = admin::set_mode(&gateway, &change).json();
    let reply = refused(&gateway, "GET /profiles/1");
    let told = reply.json();
    assert_eq!((&told["message"], &told["back_at"]), (&change["message"], &json!("2999-01-01T05:00:00Z")));
    assert_eq!((&told["expires"], told["expires"].is_string()), (&settled["expires"], true));
    assert!(!reply.text().contains("4711"), "the reason is for the history: {}", reply.text());
    assert_eq!(retry_after(&reply), 30, "a month would hold up clients that obey");

    let changed = json!({"mode": "maintenance", "message": "Sooner", "back_at": "2998-01-01T00:00:00Z"});
    assert_eq!(admin::set_mode(&gateway, &changed).json()["reason"], "ticket 4711");
    let told = refused(&gateway, "GET /profiles/1").json();
    assert_eq!((&told["message"], &told["back_at"]), (&changed["message"], &changed["back_at"]));
    assert_eq!(told["expires"], settled["expires"]);
    let nothing = json!({"mode": "maintenance", "message": "", "back_at": "never", "expires_in": "never"});
    let shown = admin::set_mode(&gateway, &nothing).json();
    assert_eq!((&shown["message"], &shown["back_at"], &shown["expires"]), (&json!(null), &json!(null), &json!(null)));
    let told = refused(&gateway, "GET /profiles/1").json();
    assert!(["message", "back_at", "expires"].iter().all(|name| told.get(name).is_none()), "{told}");
}

#[test]
fn a_promise_reopens_nothing_and_its_time_may_not_be_over() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let past = admin::set_mode(&gateway, &json!({"mode": "maintenance", "back_at": "2020-01-01T00:00:00Z"}));
    assert_eq!((past.status, &past.json()["reason"]), (400, &json!("bad_body")), "{}", past.text());
    let soon = jiff::Timestamp::now() + std::time::Duration::from_millis(300);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance", "back_at": soon.to_string()})).json();
    eventually("the time has come", || jiff::Timestamp::now() > soon + std::time::Duration::from_millis(200));
    assert_eq!(admin::mode(&gateway)["revision"], settled["revision"]);
    assert_eq!(refused(&gateway, "GET /profiles/1").json()["back_at"], settled["back_at"]);
}

#[test]
fn a_retry_comes_soon_while_switching_and_no_later_than_the_flag_says() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &["--max-retry-after", "70s"]);
    assert_eq!(retry_after(&refused(&gateway, "DELETE /metadata/profiles/extensions/x")), 70);
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
    ucs.in_flight_reaches(1);
    let mut asker = Connection::open(gateway.admin);
    let change = json!({"mode": "maintenance", "message": "one moment", "expires_in": "60s", "drain_timeout": "1h"});
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&change));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    let reply = refused(&gateway, "GET /profiles/1");
    assert_eq!((retry_after(&reply), &reply.json()["message"]), (5, &json!("one moment")), "{}", reply.text());
    assert!(reply.json().get("expires").is_none(), "it counts from settling: {}", reply.text());
    ucs.control().set_holding(false);
    assert_eq!(asker.read_reply().status, 200);
    assert!((1..=60).contains(&retry_after(&refused(&gateway, "GET /profiles/1"))), "it ends sooner");
}

#[test]
fn a_flip_that_is_taken_back_tells_clients_again_what_they_were_told() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let told = json!({"mode": "maintenance", "message": "until noon", "back_at": "2999-01-01T12:00:00Z"});
    assert_eq!(admin::set_mode(&gateway, &told).status, 200);
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send("POST /metadata/identification-keys HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{}");
    ucs.in_flight_reaches(1);
    let late = admin::set_mode(&gateway, &json!({"mode": "production", "drain_timeout": "50ms"}));
    assert_eq!(late.status, 504, "{}", late.text());
    let mode = admin::mode(&gateway);
    assert_eq!((&mode["message"], &mode["back_at"]), (&told["message"], &told["back_at"]));
}

#[test]
fn templates_have_them_too() {
    let (ucs, dir) = (ucs(), TempDir::new());
    let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml")).unwrap();
    let answers = "answers:\n  mode:\n    content_type: application/json\n    body: '{\"m\": \"{message}\", \"b\": \
                   \"{back_at}\", \"e\": \"{expires}\"}'\n";
    let routes = dir.path().join("routes.yaml");
    std::fs::write(&routes, shipped + "\n" + answers).unwrap();
    let gateway = Gateway::bare(ucs.address, &["--routes", routes.to_str().unwrap()]);
    let told = json!({"mode": "maintenance", "message": "a \"word\"", "back_at": "2999-01-01T12:00:00Z"});
    assert_eq!(admin::set_mode(&gateway, &told).status, 200);
    let reply = refused(&gateway, "GET /profiles/1").json();
    assert_eq!(reply, json!({"m": told["message"], "b": told["back_at"], "e": ""}));
}

#[test]
fn the_command_line_says_them() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    let mode =
        |arguments: &[&str]| tool::run(&[&["mode", "--admin", &address, "--state-dir", state], arguments].concat());
    let set = mode(&["set", "maintenance", "--message", "until noon", "--back-at", "12:00"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let record: Value = admin::mode(&gateway);
    let back: jiff::Timestamp = record["back_at"].as_str().unwrap().parse().unwrap();
    let ahead = back.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((0..=25 * 3600).contains(&ahead) && back.as_second() % 60 == 0, "the next noon: {record}");
    let shown = mode(&["get"]).stdout;
    assert!(shown.contains("message       \"until noon\" (for clients)\n") && shown.contains(" 12:00:00 "), "{shown}");
    assert_eq!(mode(&["set", "maintenance", "--message", "", "--back-at", "never"]).code, Some(0));
    assert_eq!((&admin::mode(&gateway)["message"], &admin::mode(&gateway)["back_at"]), (&json!(null), &json!(null)));
    let wrong = mode(&["set", "maintenance", "--back-at", "25:00"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
