//! Flips at a time to come: durable before they are acknowledged, shown everywhere, cancelled, missed and failed.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::tool::{Run, run};
use crate::support::{Connection, Gateway, PATIENCE, TempDir, Ucs, admin, eventually, request};

const ALONE: [&str; 6] = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];

fn ucs() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

fn ahead(time: Duration) -> String {
    (Timestamp::now() + time).to_string()
}

#[track_caller]
fn schedule(gateway: &Gateway, mode: &str, at: &str) -> Value {
    let wanted = json!({"mode": mode, "at": at, "reason": "night work", "expires_in": "1h", "drain_timeout": "300ms"});
    let reply = admin::set_mode(gateway, &wanted);
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()
}

fn cli(gateway: &Gateway, arguments: &[&str]) -> Run {
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    run(&[&["mode", "--admin", &address, "--state-dir", state], arguments].concat())
}

fn history(gateway: &Gateway) -> Vec<Value> {
    let entries = admin::call(gateway, "GET /mode/history", None).json()["entries"].clone();
    entries.as_array().unwrap().clone()
}

/// Changes the time of the scheduled flip in the file: as if so much time had passed while no gateway ran.
fn set_back(dir: &TempDir, by: Duration) {
    let path = dir.path().join("mode.json");
    let mut record: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    record["scheduled"]["at"] = json!((Timestamp::now() - by).to_string());
    std::fs::write(path, record.to_string()).unwrap();
}

#[test]
fn a_scheduled_flip_is_shown_and_runs_at_its_time_in_the_name_of_its_asker() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let at = ahead(Duration::from_secs(3600));
    let shown = schedule(&gateway, "maintenance", &at);
    assert_eq!(
        (&shown["mode"], &shown["phase"], &shown["reason"]),
        (&json!("production"), &json!("settled"), &json!(null))
    );
    let scheduled = json!({"at": at, "mode": "maintenance", "actor": {"kind": "operator", "name": "admin"},
        "reason": "night work", "message": null, "back_at": null, "expires_in": "1h", "drain_timeout": "300ms",
        "on_timeout": null, "force": false});
    assert_eq!(admin::mode(&gateway)["scheduled"], scheduled);
    let seconds = at.parse::<Timestamp>().unwrap().as_second() as f64;
    assert_eq!(admin::metric(&gateway, "ucs_gateway_mode_scheduled_timestamp_seconds"), seconds);
    let text = cli(&gateway, &["get"]).stdout;
    let line = format!("scheduled     maintenance at {} (in ", shown_time(&at));
    assert!(text.contains(&line) && text.contains(" by admin: night work\n"), "{text}");
    assert_eq!(history(&gateway)[0]["kind"], "scheduled");
    let text = cli(&gateway, &["history"]).stdout;
    assert!(text.contains(&format!("scheduled: maintenance at {}: night work\n", shown_time(&at))), "{text}");

    let at = ahead(Duration::from_secs(2));
    schedule(&gateway, "maintenance", &at);
    eventually("it runs", || admin::mode(&gateway)["mode"] == "maintenance");
    assert!(Timestamp::now() >= at.parse().unwrap());
    eventually("it settles", || admin::mode(&gateway)["phase"] == "settled");
    let mode = admin::mode(&gateway);
    assert_eq!((&mode["actor"]["kind"], &mode["actor"]["name"]), (&json!("operator"), &json!("admin")));
    assert_eq!((&mode["cause"], &mode["reason"]), (&json!("scheduled"), &json!("night work")));
    assert_eq!((&mode["scheduled"], &mode["alarm"]), (&json!(null), &json!(null)));
    assert!(mode["expires"].is_string(), "{mode}");
}

#[test]
fn a_scheduled_flip_is_replaced_and_cancelled() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let first = ahead(Duration::from_secs(5));
    schedule(&gateway, "maintenance", &first);
    let at = ahead(Duration::from_secs(3600));
    schedule(&gateway, "maintenance", &at);
    assert_eq!(admin::mode(&gateway)["scheduled"]["at"], at);
    let set = cli(&gateway, &["set", "maintenance", "--at", "never"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let record = admin::mode(&gateway);
    assert_eq!((&record["scheduled"], &record["mode"]), (&json!(null), &json!("production")));
    assert_eq!(history(&gateway)[0]["kind"], "unscheduled");
    let first: Timestamp = first.parse().unwrap();
    eventually("the time of the first one has passed", || Timestamp::now() > first + Duration::from_millis(500));
    assert_eq!(admin::mode(&gateway)["revision"], record["revision"], "the first one is gone too");
    let set = cli(&gateway, &["set", "maintenance", "--at", "02:00", "--message", "until three"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let next: Timestamp = admin::mode(&gateway)["scheduled"]["at"].as_str().unwrap().parse().unwrap();
    assert!((0..=25 * 3600).contains(&next.duration_since(Timestamp::now()).as_secs()), "{next}");
    let line = format!("scheduled     maintenance at {} (in ", shown_time(&next.to_string()));
    assert!(set.stdout.contains(&line), "{set:?}");
}

/// A time as the command line shows it, in the zone of this machine.
fn shown_time(at: &str) -> String {
    let at: Timestamp = at.parse().unwrap();
    at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

#[test]
fn a_scheduled_flip_survives_kills_and_other_flips() {
    let (ucs, dir) = (ucs(), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let at = ahead(Duration::from_secs(10));
    schedule(&gateway, "maintenance", &at);
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &[&ALONE[..], &["--orphan-grace", "10ms"]].concat());
    for mode in ["maintenance", "production"] {
        let flipped = admin::set_mode(&gateway, &json!({"mode": mode}));
        assert_eq!((flipped.status, &flipped.json()["scheduled"]["at"]), (200, &json!(at)), "{}", flipped.text());
    }
    eventually("it runs", || {
        let mode = admin::mode(&gateway);
        mode["mode"] == "maintenance" && mode["cause"] == "scheduled"
    });
}

#[test]
fn a_time_that_passed_while_no_gateway_ran_is_kept_if_it_was_just_now_and_missed_otherwise() {
    let ucs = ucs();
    for (late, is_missed) in [(60, false), (3600, true)] {
        let dir = TempDir::new();
        let mut gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        schedule(&gateway, "maintenance", &ahead(Duration::from_secs(7200)));
        gateway.signal("TERM");
        assert!(gateway.exited(PATIENCE).success());
        set_back(&dir, Duration::from_secs(late));
        let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        eventually("it is looked at", || admin::mode(&gateway)["scheduled"].is_null());
        eventually("it is settled", || admin::mode(&gateway)["phase"] == "settled");
        let mode = admin::mode(&gateway);
        if !is_missed {
            assert_eq!((&mode["mode"], &mode["alarm"]), (&json!("maintenance"), &json!(null)));
            continue;
        }
        assert_eq!((&mode["mode"], &mode["cause"]), (&json!("production"), &json!("schedule_missed")));
        assert!(mode["alarm"].as_str().unwrap().contains("was missed"), "{mode}");
        assert_eq!(history(&gateway)[0]["record"]["cause"], "schedule_missed");
        assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), None);
        let seen = admin::set_mode(&gateway, &json!({"mode": "production", "reason": "seen"})).json();
        assert!(seen["alarm"].is_null(), "an operator has looked: {seen}");
    }
}

/// It has left the record of what is to come, and nobody is told of a stop in the night.
#[test]
fn a_scheduled_flip_that_a_stop_or_a_kill_interrupts_is_made_by_the_next_gateway() {
    for is_killed in [false, true] {
        let (ucs, dir) = (ucs(), TempDir::new());
        let flags = [&ALONE[..], &["--orphan-grace", "10ms"]].concat();
        let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
        ucs.control().set_holding(true);
        let mut client = Connection::open(gateway.data);
        client.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{}");
        ucs.in_flight_reaches(1);
        let at = ahead(Duration::from_secs(2));
        let wanted = json!({"mode": "maintenance", "at": at, "reason": "night work", "expires_in": "1h"});
        assert_eq!(admin::set_mode(&gateway, &wanted).status, 202);
        eventually("it begins", || admin::mode(&gateway)["phase"] == "switching");
        assert_eq!(admin::mode(&gateway)["scheduled"], json!(null));
        if is_killed {
            gateway.kill();
        } else {
            gateway.signal("TERM");
            eventually("it stops", || gateway.log().contains("shutting down"));
            ucs.control().set_holding(false);
            assert!(gateway.terminate(PATIENCE).success());
        }
        ucs.control().set_holding(false);
        let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
        eventually("it is made", || {
            let mode = admin::mode(&gateway);
            mode["cause"] == "scheduled" && mode["phase"] == "settled"
        });
        let mode = admin::mode(&gateway);
        assert_eq!((&mode["mode"], &mode["reason"]), (&json!("maintenance"), &json!("night work")), "{mode}");
        assert_eq!((&mode["scheduled"], &mode["alarm"]), (&json!(null), &json!(null)), "{mode}");
        assert!(mode["expires"].is_string() && mode.get("from_scheduled").is_none(), "{mode}");
    }
}

#[test]
fn a_scheduled_flip_that_fails_is_an_alarm_and_is_not_tried_again() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{}");
    ucs.in_flight_reaches(1);
    schedule(&gateway, "maintenance", &ahead(Duration::from_secs(2)));
    eventually("it fails", || !admin::mode(&gateway)["alarm"].is_null());
    let mode = admin::mode(&gateway);
    assert!(
        mode["alarm"]
            .as_str()
            .unwrap()
            .contains("failed: requests were still running at the drain timeout; production is in force again"),
        "{mode}"
    );
    assert_eq!((&mode["mode"], &mode["cause"]), (&json!("production"), &json!("drain_timeout")));
    assert_eq!(mode["scheduled"], json!(null));
    let kinds: Vec<_> = history(&gateway).iter().take(3).map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["reverted", "switching", "scheduled"]);
    ucs.control().set_holding(false);
    assert_eq!(client.read_reply().status, 201);
    assert_eq!(admin::mode(&gateway)["revision"], mode["revision"]);
    assert!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).json()["alarm"].is_null());
}

#[test]
fn while_a_flip_is_under_way_none_is_scheduled_and_one_is_taken_away_at_its_end() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    schedule(&gateway, "production", &ahead(Duration::from_secs(3600)));
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
    ucs.in_flight_reaches(1);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    for mode in ["production", "maintenance"] {
        let late = admin::set_mode(&gateway, &json!({"mode": mode, "at": ahead(Duration::from_secs(60))}));
        assert_eq!((late.status, &late.json()["reason"]), (409, &json!("switching")), "{}", late.text());
    }
    let mut taker = Connection::open(gateway.admin);
    admin::begin(&mut taker, &gateway, "PUT /mode", Some(&json!({"mode": "production", "at": "never"})));
    assert!(taker.is_silent_for(Duration::from_millis(100)), "it waits for the flip");
    ucs.control().set_holding(false);
    assert_eq!(asker.read_reply().json()["mode"], "maintenance", "it was not cancelled");
    let taken = taker.read_reply();
    assert_eq!((taken.status, &taken.json()["scheduled"]), (200, &json!(null)), "{}", taken.text());
    assert_eq!((&taken.json()["mode"], &taken.json()["phase"]), (&json!("maintenance"), &json!("settled")));
}
