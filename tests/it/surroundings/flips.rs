//! A flip that UCS, a client or a disk spoils: the old mode is in force at once, and what is over stays over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use super::script::{Takes, Ucs};
use super::{QUICK, alarm, alarm_ends, flip, is_settled, refused_with};
use crate::support::{Connection, Gateway, TempDir, admin, eventually, eventually_in, http, request};

/// A request that UCS has and does not answer.
fn begin(gateway: &Gateway, ucs: &Ucs, line: &str, body: &str) -> Connection {
    let before = ucs.times(line).len();
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, line, &[], body.as_bytes()));
    eventually("UCS has it", || ucs.times(line).len() > before);
    client
}

/// The request that keeps a drain from ending.
const PROFILE: &str = "GET /profiles/1";

#[test]
fn at_the_deadline_the_old_mode_is_in_force_however_ucs_hangs() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    // Two flips that touched UCS: what they did belongs to them.
    for mode in ["maintenance", "production"] {
        assert_eq!(flip(&gateway, mode).status, 200);
    }
    ucs.with(|says| says.hangs_at = Some("/"));
    let client = begin(&gateway, &ucs, PROFILE, "");
    let late = admin::set_mode(&gateway, &json!({"mode": "maintenance", "drain_timeout": "300ms"}));
    refused_with(&late, 504, "drain_timeout");
    is_settled(&gateway, "production");
    assert!(!alarm(&gateway).contains("set back"), "UCS was not touched: {}", alarm(&gateway));
    let _other = begin(&gateway, &ucs, "GET /profiles/2", "");
    drop(client);
    ucs.with(|says| says.hangs_at = None);
}

/// What UCS is told afterwards holds nobody back, neither requests nor the next flip.
#[test]
fn a_flip_that_a_crash_left_is_taken_back_before_ucs_is() {
    let (dir, ucs) = (TempDir::new(), Ucs::start("production"));
    let flags = [&QUICK[..], &["--schema-probe", "off"]].concat();
    let gateway = Gateway::start_in(dir.path(), ucs.upstream.address, &flags);
    ucs.polled_again();
    ucs.with(|says| says.hangs_at = Some("/server/mode"));
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("UCS is told", || ucs.wishes() == ["maintenance"]);
    gateway.kill();
    ucs.with(|says| says.hangs_at = Some("/server/"));
    let gateway = Gateway::start_in(dir.path(), ucs.upstream.address, &flags);
    eventually("the old mode is in force", || admin::mode(&gateway)["phase"] == "settled");
    is_settled(&gateway, "production");
    assert_eq!(admin::mode(&gateway)["cause"], "recovered");
    assert!(alarm(&gateway).contains("set back"), "until UCS is there: {}", alarm(&gateway));
    assert_eq!(request(gateway.data, PROFILE, &[], b"").refusal(), None);
    ucs.with(|says| says.hangs_at = None);
    alarm_ends(&gateway);
    ucs.polled_again();
    // What the killed one asked for takes effect late, although UCS was seen in step before: it is set back, not followed.
    ucs.with(|says| says.mode = "maintenance".to_owned());
    eventually("UCS is set back", || ucs.mode() == "production");
    ucs.polled_again();
    ucs.polled_again();
    is_settled(&gateway, "production");
}

#[test]
fn a_set_back_under_way_holds_up_no_flip() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    ucs.with(|says| (says.mode, says.hangs_at) = ("production".to_owned(), Some("/server/mode")));
    eventually("it is being set back", || ucs.wishes().len() == 2);
    let settled = flip(&gateway, "production");
    assert_eq!(settled.status, 200, "UCS is there: {}", settled.text());
    ucs.with(|says| says.hangs_at = None);
}

const KEYS: &str = "POST /metadata/identification-keys";

/// In maintenance until a second from now, with an operation under way that keeps it from being left.
fn ends_in_a_second(gateway: &Gateway, ucs: &Ucs) -> Connection {
    assert_eq!(flip(gateway, "maintenance").status, 200);
    ucs.with(|says| says.hangs_at = Some("identification-keys"));
    let client = begin(gateway, ucs, KEYS, "{}");
    assert_eq!(admin::set_mode(gateway, &json!({"mode": "maintenance", "expires_in": "1s"})).status, 200);
    client
}

/// The flips that were reverted at their deadline.
const FAILED: &str = "ucs_gateway_flips_total{outcome=\"drain_timeout\"}";

/// In maintenance again after its end was tried for the first time.
fn cannot_end_once(ucs: &Ucs) -> (Gateway, Connection) {
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--drain-timeout", "200ms"]].concat());
    let client = ends_in_a_second(&gateway, ucs);
    eventually("it cannot be left", || admin::metric(&gateway, FAILED) == 1.0);
    eventually("maintenance is back", || admin::mode(&gateway)["phase"] == "settled");
    (gateway, client)
}

#[test]
fn an_end_that_was_taken_back_stays_away() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let _client = ends_in_a_second(&gateway, &ucs);
    eventually("it ends", || admin::mode(&gateway)["phase"] == "switching");
    let back = flip(&gateway, "maintenance");
    assert_eq!((back.status, &back.json()["expires"]), (200, &Value::Null), "{}", back.text());
    ucs.with(|says| says.hangs_at = None);
    is_settled(&gateway, "maintenance");
    assert_eq!(admin::mode(&gateway)["expires"], Value::Null);

    // Unless the wish gives another one.
    let _client = ends_in_a_second(&gateway, &ucs);
    eventually("it ends", || admin::mode(&gateway)["phase"] == "switching");
    let back = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1h"}));
    assert!(back.json()["expires"].is_string(), "{}", back.text());
    ucs.with(|says| says.hangs_at = None);
}

/// The cancel came while UCS was being set, and UCS then refuses: the cancel decides.
#[test]
fn an_end_that_was_taken_back_stays_away_although_ucs_refuses() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    ucs.with(|says| says.hangs_at = Some("/server/mode"));
    let ending = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1s"}));
    assert_eq!(ending.status, 200, "{}", ending.text());
    eventually("UCS is asked for production", || ucs.wishes().last().is_some_and(|mode| mode == "production"));
    let mut canceller = Connection::open(gateway.admin);
    admin::begin(&mut canceller, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    // A second change is refused as soon as the cancel has been accepted.
    eventually("the cancel is accepted", || admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status == 409);
    ucs.with(|says| (says.takes, says.hangs_at) = (Takes::Answers(500), None));
    let back = canceller.read_reply();
    let record = back.json();
    assert_eq!(
        (back.status, &record["cause"], &record["expires"]),
        (200, &json!("cancelled"), &Value::Null),
        "{record}"
    );
    is_settled(&gateway, "maintenance");
}

/// What a flip to maintenance asked of UCS takes effect when production is in force again.
#[test]
fn a_late_effect_of_the_flip_before_is_set_back() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    ucs.polled_again();
    ucs.with(|says| says.takes = Takes::Lies);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    ucs.with(|says| says.takes = Takes::Obeys);
    assert_eq!(flip(&gateway, "production").status, 200);
    ucs.polled_again();
    ucs.with(|says| says.mode = "maintenance".to_owned());
    eventually("UCS is set back", || ucs.mode() == "production");
    ucs.polled_again();
    ucs.polled_again();
    is_settled(&gateway, "production");
}

#[test]
fn an_end_can_be_taken_away() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    // Again where the machine was so slow that the end may have come first.
    let (began, ending, endless) = loop {
        let began = Instant::now();
        let ending = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "2s"})).json();
        let endless = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "never"}));
        if began.elapsed() < Duration::from_secs(2) {
            break (began, ending, endless);
        }
    };
    assert!(ending["expires"].is_string(), "{ending}");
    assert_eq!((endless.status, &endless.json()["expires"]), (200, &Value::Null), "{}", endless.text());
    assert!(endless.json()["revision"].as_u64() > ending["revision"].as_u64(), "{}", endless.text());
    let again = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "never"})).json();
    assert_eq!(again["revision"], endless.json()["revision"], "there is none to take away");
    eventually("the end has passed", || began.elapsed() > Duration::from_secs(5));
    is_settled(&gateway, "maintenance");
}

/// Half a minute, as the second attempt comes after that.
#[test]
fn an_end_that_cannot_be_reached_is_an_alarm_until_it_is_taken_away() {
    let ucs = Ucs::start("production");
    let (gateway, _client) = cannot_end_once(&ucs);
    assert!(admin::mode(&gateway)["alarm"].is_null(), "once may be bad luck");
    eventually_in(Duration::from_secs(90), "the second time is an alarm", || !admin::mode(&gateway)["alarm"].is_null());
    assert!(alarm(&gateway).contains("switching back failed"), "{}", alarm(&gateway));
    assert_eq!(admin::metric(&gateway, FAILED), 2.0);
    let endless = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "never"}));
    assert_eq!((endless.status, &endless.json()["alarm"]), (200, &Value::Null), "{}", endless.text());
    ucs.with(|says| says.hangs_at = None);
}

/// What else changes in the record must not bring the next attempt forward.
#[test]
fn an_end_that_cannot_be_reached_is_not_tried_sooner_because_of_another_change() {
    let ucs = Ucs::start("production");
    let (gateway, _client) = cannot_end_once(&ucs);
    for number in 0..5 {
        let reworded = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": format!("note {number}")}));
        assert_eq!(reworded.status, 200, "{}", reworded.text());
        let later = json!({"mode": "production", "at": format!("2999-01-01T00:00:0{number}Z")});
        assert_eq!(admin::set_mode(&gateway, &later).status, 202);
    }
    let began = Instant::now();
    eventually("another attempt would have failed", || began.elapsed() > Duration::from_secs(1));
    assert_eq!(admin::metric(&gateway, FAILED), 1.0);
    // But another end is another matter.
    let sooner = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1s"}));
    assert_eq!(sooner.status, 200, "{}", sooner.text());
    eventually("the new end is tried at its time", || admin::metric(&gateway, FAILED) == 2.0);
    ucs.with(|says| says.hangs_at = None);
}

#[test]
fn an_end_counts_from_settling() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    ucs.with(|says| says.hangs_at = Some("/profiles/1"));
    let mut client = begin(&gateway, &ucs, PROFILE, "");
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance", "expires_in": "2s"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    assert!(asker.is_silent_for(Duration::from_secs(2)), "it waits for what runs");
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(client.read_reply().status, 200);
    let settled = asker.read_reply().json();
    let time = |name: &str| settled[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expires").duration_since(time("since")).as_secs(), 2, "{settled}");
}

/// Given up by their clients one after the other, the last one shortly before.
#[test]
fn a_drain_that_waits_for_graces_alone_is_waited_for_beyond_its_deadline() {
    let ucs = crate::support::Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "2s"]);
    ucs.control().set_holding(true);
    let began = Instant::now();
    for count in 1..=3 {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, PROFILE, &[], b""));
        ucs.in_flight_reaches(count);
        client.reset();
        eventually("the gateway gave it up", || admin::mode(&gateway)["in_flight"]["production"] == 0);
    }
    let mut asker = Connection::open(gateway.admin);
    let change = json!({"mode": "maintenance", "drain_timeout": "300ms"});
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&change));
    eventually("the flip began", || admin::mode(&gateway)["mode"] == "maintenance");
    let within_the_grace = began.elapsed() < Duration::from_secs(2);
    let settled = asker.read_reply();
    assert_eq!((settled.status, &settled.json()["report"]["still_running"]), (200, &json!([])), "{}", settled.text());
    // A slow machine may have begun the flip after the first graces.
    assert!(!within_the_grace || settled.json()["drain"] == "assumed", "{}", settled.text());
    assert!(!within_the_grace || settled.json()["report"]["abandoned"][0]["count"] == 3, "{}", settled.text());
    let history = admin::call(&gateway, "GET /mode/history", None).json();
    let records = history["entries"].as_array().unwrap().iter().map(|entry| &entry["record"]);
    let record = records.into_iter().find(|record| record["phase"] == "switching").expect("the flip's own record");
    let time = |name: &str| record[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let promised = time("deadline").duration_since(time("since"));
    assert_eq!(promised.as_millis(), 2300, "drain timeout and grace: {record}");
}

/// The same for what a killed gateway may have left at UCS.
#[test]
fn a_drain_that_waits_for_the_grace_after_a_crash_alone_is_waited_for() {
    let ucs = crate::support::Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    let dir = TempDir::new();
    let flags = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];
    let flags = [&flags[..], &["--orphan-grace", "2s"]].concat();
    Gateway::start_in(dir.path(), ucs.address, &flags).kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance", "drain_timeout": "100ms"}));
    assert_eq!((settled.status, &settled.json()["drain"]), (200, &json!("assumed")), "{}", settled.text());
}
