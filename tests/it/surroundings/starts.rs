//! Who leads when both, or one of them, start anew: what somebody asked for is kept and UCS is set to it; only what nobody
//! asked for gives way to UCS.

use serde_json::json;
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use super::script::{Takes, Ucs};
use super::{QUICK, alarm, alarm_ends, flip, is_settled};
use crate::support::{Connection, Gateway, TempDir, admin, eventually, http, nobody_listens};

fn closed_at_its_start() -> StandInOptions {
    StandInOptions { initial_mode: Mode::Maintenance, ..StandInOptions::new() }
}

#[test]
fn after_a_restart_of_both_the_acknowledged_mode_is_kept() {
    let (dir, ucs) = (TempDir::new(), crate::support::Ucs::start(closed_at_its_start()));
    let gateway = Gateway::start_in(dir.path(), ucs.address, &QUICK);
    assert_eq!(flip(&gateway, "production").status, 200);
    let revision = admin::mode(&gateway)["revision"].clone();
    let polls = ucs.asked("GET", "/server/status").len();
    eventually("it is polled", || ucs.asked("GET", "/server/status").len() >= polls + 3);
    assert!(gateway.terminate(crate::support::PATIENCE).success());
    ucs.control().restart();
    assert_eq!(ucs.control().mode(), Mode::Maintenance);
    let gateway = Gateway::start_in(dir.path(), ucs.address, &QUICK);
    eventually("UCS is set to it", || ucs.control().mode() == Mode::Production);
    let polls = ucs.asked("GET", "/server/status").len();
    eventually("it is polled", || ucs.asked("GET", "/server/status").len() >= polls + 4);
    is_settled(&gateway, "production");
    assert_eq!(admin::mode(&gateway)["revision"], revision);
    alarm_ends(&gateway);
}

#[test]
fn a_ucs_that_moved_by_itself_while_the_gateway_was_away_is_followed() {
    let (dir, ucs) = (TempDir::new(), Ucs::start("production"));
    let gateway = Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    ucs.polled_again();
    gateway.kill();
    ucs.with(|says| says.mode = "maintenance".to_owned());
    let gateway = Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    eventually("it is the same incarnation, which had agreed", || admin::mode(&gateway)["mode"] == "maintenance");
    assert_eq!(admin::mode(&gateway)["actor"]["kind"], "upstream");
    assert!(ucs.wishes().is_empty(), "{:?}", ucs.wishes());
}

#[test]
fn an_initial_mode_that_somebody_gave_is_carried_to_ucs() {
    let ucs = crate::support::Ucs::start(closed_at_its_start());
    let gateway = Gateway::start(ucs.address, &[&QUICK[..], &["--initial-mode", "production"]].concat());
    eventually("UCS is set to it", || ucs.control().mode() == Mode::Production);
    is_settled(&gateway, "production");
    assert_eq!(admin::mode(&gateway)["cause"], "first_start");
}

#[test]
fn production_that_was_forced_while_ucs_was_away_is_carried_to_it() {
    let address = nobody_listens();
    let ucs = crate::support::Ucs::start_at(address, closed_at_its_start());
    let gateway = Gateway::start(address, &QUICK);
    is_settled(&gateway, "maintenance");
    drop(ucs);
    let forced = admin::set_mode(&gateway, &json!({"mode": "production", "force": true}));
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert!(alarm(&gateway).contains("not known to be in production"), "{}", alarm(&gateway));
    let back = crate::support::Ucs::start_at(address, closed_at_its_start());
    eventually("UCS is set to it", || back.control().mode() == Mode::Production);
    alarm_ends(&gateway);
    is_settled(&gateway, "production");
}

#[test]
fn what_nobody_asked_for_gives_way_to_the_first_mode_of_ucs() {
    for mode in [Mode::Maintenance, Mode::Production] {
        let address = nobody_listens();
        let gateway = Gateway::start(address, &QUICK);
        is_settled(&gateway, "production");
        let late =
            crate::support::Ucs::start_at(address, StandInOptions { initial_mode: mode, ..StandInOptions::new() });
        eventually("it is taken", || {
            let record = admin::mode(&gateway);
            record["mode"] == mode.as_str() && record["phase"] == "settled"
        });
        eventually("it is polled", || late.asked("GET", "/server/status").len() >= 4);
        assert_eq!((late.control().mode(), late.asked("POST", "/server/mode").len()), (mode, 0));
        let record = admin::mode(&gateway);
        let cause = if mode == Mode::Maintenance { "first_seen" } else { "first_start" };
        assert_eq!((&record["mode"], &record["cause"]), (&json!(mode), &json!(cause)), "{record}");
    }
}

#[test]
fn what_somebody_confirmed_gives_way_to_nobody() {
    let address = nobody_listens();
    let gateway = Gateway::start(address, &QUICK);
    let confirmed = admin::set_mode(&gateway, &json!({"mode": "production", "reason": "we are open"}));
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let late = crate::support::Ucs::start_at(address, closed_at_its_start());
    eventually("UCS is set to it", || late.control().mode() == Mode::Production);
    is_settled(&gateway, "production");
}

#[test]
fn a_ucs_that_will_not_be_opened_is_followed_with_an_alarm() {
    for takes in [Takes::Answers(403), Takes::Lies] {
        let ucs = Ucs::start("maintenance");
        ucs.with(|says| says.takes = takes);
        let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--initial-mode", "production"]].concat());
        eventually("it is followed", || admin::mode(&gateway)["mode"] == "maintenance");
        assert_eq!(ucs.wishes(), ["production", "production"], "{takes:?}: not at the first refusal");
        assert_eq!(admin::mode(&gateway)["actor"]["kind"], "upstream");
        ucs.polled_again();
        assert!(alarm(&gateway).contains("followed"), "{takes:?}: {}", alarm(&gateway));
        ucs.with(|says| says.takes = Takes::Obeys);
        assert_eq!(flip(&gateway, "production").status, 200);
        alarm_ends(&gateway);
    }
}

/// The stop leaves the flip to the next start, which takes it back: its target is no mode to set UCS to.
#[test]
fn a_stop_in_the_grace_of_a_start_sets_ucs_to_no_mode() {
    let (dir, ucs) = (TempDir::new(), Ucs::start("production"));
    let start = |grace| {
        Gateway::start_in(dir.path(), ucs.upstream.address, &[&QUICK[..2], &["--orphan-grace", grace]].concat())
    };
    let gateway = start("1s");
    ucs.polled_again();
    ucs.with(|says| says.hangs_at = Some("/profiles"));
    let held = |gateway: &Gateway, line: &str| {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[], b""));
        eventually("UCS has it", || !ucs.times(line).is_empty());
        client
    };
    let _production = held(&gateway, "GET /profiles/1");
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    gateway.kill();

    let mut gateway = start("1h");
    ucs.with(|says| says.hangs_at = Some("/metadata/identification-keys"));
    let _both = held(&gateway, "GET /metadata/identification-keys");
    gateway.signal("TERM");
    eventually("it stops", || gateway.log().contains("shutting down"));
    ucs.polled_again();
    assert!(ucs.wishes().is_empty(), "{:?}", ucs.wishes());
    ucs.with(|says| says.hangs_at = None);
    assert!(gateway.exited(crate::support::PATIENCE).success());
    let gateway = start("1ms");
    eventually("it is taken back", || admin::mode(&gateway)["phase"] == "settled");
    is_settled(&gateway, "production");
    assert_eq!(admin::mode(&gateway)["cause"], "recovered");
}

#[test]
fn the_alarm_of_a_start_ends_when_an_operator_confirms_the_mode_in_force() {
    let (dir, ucs) = (TempDir::new(), Ucs::start("maintenance"));
    let start = || Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    assert!(start().terminate(crate::support::PATIENCE).success());
    std::fs::write(dir.path().join("mode.json"), "{").unwrap();
    let gateway = start();
    assert!(alarm(&gateway).contains("is not a mode record"), "{}", alarm(&gateway));
    let revision = admin::mode(&gateway)["revision"].clone();
    let confirmed = flip(&gateway, "maintenance").json();
    assert_eq!((&confirmed["revision"], alarm(&gateway)), (&revision, String::new()), "{confirmed}");
}

/// The record bears an operator's name, but it was the gateway that changed it.
#[test]
fn the_alarm_of_a_start_outlasts_what_the_gateway_does_by_itself() {
    let (dir, ucs) = (TempDir::new(), Ucs::start("production"));
    ucs.with(|says| says.schema = vec![(500, "")]);
    let start = || Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    let gateway = start();
    let forced = json!({"mode": "production", "force": true, "reason": "we know"});
    assert_eq!(admin::set_mode(&gateway, &forced).status, 200);
    gateway.kill();
    let journal = dir.path().join("journal.jsonl");
    let edited = std::fs::read_to_string(&journal).unwrap().replace("we know", "we guess");
    std::fs::write(&journal, edited).unwrap();
    let gateway = start();
    assert!(alarm(&gateway).contains("was changed"), "{}", alarm(&gateway));
    ucs.with(|says| says.schema = vec![(200, "[{}]")]);
    eventually("force has ended", || admin::mode(&gateway)["force"] == false);
    assert!(alarm(&gateway).contains("was changed"), "{}", alarm(&gateway));
    assert_eq!(flip(&gateway, "production").status, 200);
    alarm_ends(&gateway);
}
