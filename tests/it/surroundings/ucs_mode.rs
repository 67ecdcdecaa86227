//! A UCS that has reported a mode has one, whatever it says later: production settles only when UCS is seen to be there,
//! maintenance always, with an alarm until UCS is there too.

use std::time::Duration;

use serde_json::json;
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use super::script::{Takes, Ucs};
use super::{QUICK, alarm, alarm_ends, flip, is_settled, refused_with};
use crate::support::{Gateway, admin, eventually, nobody_listens, request};

fn start(ucs: &Ucs, extra: &[&str]) -> Gateway {
    Gateway::start(ucs.upstream.address, &[&QUICK[..], extra].concat())
}

/// 404 is the documented answer of a UCS without a profile schema: the gateway must not go on without it.
#[test]
fn a_404_to_production_is_a_refusal_for_want_of_a_schema() {
    let ucs = Ucs::start("maintenance");
    ucs.with(|says| says.takes = Takes::Answers(404));
    let gateway = start(&ucs, &["--schema-probe", "off"]);
    is_settled(&gateway, "maintenance");
    for _ in 0..2 {
        let refused = refused_with(&flip(&gateway, "production"), 409, "no_profile_schema");
        assert_eq!(refused["record"]["mode"], "maintenance");
        is_settled(&gateway, "maintenance");
    }
    let credential = format!("Bearer {}", gateway.token());
    let client = [("Authorization", &*credential)];
    let client = request(gateway.data, "POST /server/mode", &client, br#"{"mode":"production"}"#);
    assert_eq!((client.status, client.refusal()), (404, Some("no_profile_schema")), "{client:?}");

    let forced = admin::set_mode(&gateway, &json!({"mode": "production", "force": true}));
    assert_eq!(forced.status, 200, "whoever forces knows better: {}", forced.text());
    assert!(alarm(&gateway).contains("not in production"), "{}", alarm(&gateway));
    ucs.polled_again();
    is_settled(&gateway, "production");
    assert!(!alarm(&gateway).is_empty(), "as long as UCS is not there");

    ucs.with(|says| says.takes = Takes::Obeys);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    assert_eq!(flip(&gateway, "production").status, 200, "UCS is asked again, not taken for one without a mode");
    assert_eq!(ucs.mode(), "production");
    alarm_ends(&gateway);
}

/// The alarm must not send the operator back to what UCS has just refused.
#[test]
fn a_404_to_production_beside_a_schema_that_is_seen_is_told_as_it_is() {
    let ucs = Ucs::start("maintenance");
    ucs.with(|says| says.takes = Takes::Answers(404));
    let gateway = start(&ucs, &[]);
    eventually("the schema is seen", || admin::mode(&gateway)["schema"] == "defined");
    refused_with(&flip(&gateway, "production"), 409, "no_profile_schema");
    ucs.asked_again("GET /metadata/profiles", 3);
    let told = alarm(&gateway);
    assert!(told.starts_with("no_profile_schema: UCS refused production with 404"), "{told}");
    assert!(told.contains("although the probe finds one") && !told.contains("is back"), "{told}");
    ucs.with(|says| (says.takes, says.started) = (Takes::Obeys, "tuesday".to_owned()));
    eventually("another UCS", || alarm(&gateway).contains("profile schema is back: set production"));
    assert_eq!(flip(&gateway, "production").status, 200);
    alarm_ends(&gateway);
}

/// It may need a moment longer than the gateway looks: nobody is called before it has been asked again.
#[test]
fn a_ucs_that_says_200_and_does_not_move_is_an_alarm_at_the_second_time() {
    let ucs = Ucs::start("production");
    let gateway = start(&ucs, &[]);
    ucs.polled_again();
    ucs.with(|says| says.takes = Takes::LiesAndHangs);
    let settled = flip(&gateway, "maintenance");
    assert_eq!((settled.status, &settled.json()["upstream"]["state"]), (200, &json!("behind")), "{}", settled.text());
    eventually("it is asked again", || ucs.wishes().len() == 2);
    assert_eq!((&settled.json()["alarm"], alarm(&gateway).as_str()), (&json!(null), ""));
    ucs.with(|says| says.hangs_at = None);
    eventually("an alarm", || alarm(&gateway).contains("UCS is not in maintenance"));
    ucs.with(|says| says.takes = Takes::Obeys);
    alarm_ends(&gateway);
    assert_eq!(ucs.mode(), "maintenance");
}

/// What a status says that does not tell the mode of a UCS that has one.
const NO_MODE: [(u16, &str); 5] =
    [(404, ""), (501, ""), (200, "<html>sign in</html>"), (200, "{\"version\":\"8.1\"}"), (200, "{\"mode\":\"idle\"}")];

#[test]
fn a_status_that_tells_no_mode_spares_ucs_no_flip_to_maintenance() {
    for status in NO_MODE {
        let ucs = Ucs::start("production");
        let gateway = start(&ucs, &[]);
        ucs.polled_again();
        ucs.with(|says| says.status = Some(status));
        let settled = flip(&gateway, "maintenance");
        assert_eq!(settled.status, 200, "{status:?}: {}", settled.text());
        assert_eq!(ucs.wishes().first().map(String::as_str), Some("maintenance"), "{status:?}");
        assert!(alarm(&gateway).contains("not known to be in maintenance"), "{status:?}: {}", alarm(&gateway));
        ucs.with(|says| says.status = None);
        alarm_ends(&gateway);
        assert_eq!(ucs.mode(), "maintenance", "{status:?}");
    }
}

#[test]
fn a_status_that_tells_no_mode_does_not_pass_for_production() {
    for status in NO_MODE {
        let ucs = Ucs::start("maintenance");
        let gateway = start(&ucs, &[]);
        ucs.polled_again();
        ucs.with(|says| (says.status, says.takes) = (Some(status), Takes::Answers(404)));
        let refused = refused_with(&flip(&gateway, "production"), 502, "upstream_refused");
        assert_eq!(refused["record"]["cause"], "upstream_refused");
        is_settled(&gateway, "maintenance");
        ucs.with(|says| (says.status, says.takes) = (None, Takes::Obeys));
        alarm_ends(&gateway);
        assert_eq!(flip(&gateway, "production").status, 200, "{status:?}");
        assert_eq!(ucs.mode(), "production", "{status:?}");
    }
}

#[test]
fn a_200_of_a_ucs_that_does_not_move_is_not_believed() {
    let ucs = Ucs::start("maintenance");
    let gateway = start(&ucs, &[]);
    ucs.with(|says| says.takes = Takes::Lies);
    let refused = refused_with(&flip(&gateway, "production"), 502, "upstream_refused");
    assert!(refused["detail"].as_str().unwrap().contains("reports maintenance"), "{refused}");
    is_settled(&gateway, "maintenance");

    ucs.with(|says| says.takes = Takes::Obeys);
    assert_eq!(flip(&gateway, "production").status, 200);
    ucs.with(|says| says.takes = Takes::Lies);
    let before = ucs.wishes().len();
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    eventually("an alarm", || alarm(&gateway).contains("reports production"));
    eventually("it is set again and again", || ucs.wishes().len() >= before + 4);
    let times = ucs.times("POST /server/mode").split_off(before);
    // The flip, then as soon as it is seen, then a second and two later, however often its status is read. UCS may see one
    // of them late, and after a long delay the waits begin anew.
    let last_two = times[3] - times[1];
    assert!(last_two >= Duration::from_millis(1500), "{last_two:?}");
    is_settled(&gateway, "maintenance");
    ucs.with(|says| says.takes = Takes::Obeys);
    eventually("UCS is set", || ucs.mode() == "maintenance");
    alarm_ends(&gateway);
}

#[test]
fn where_ucs_refuses_connections_maintenance_is_to_be_had_and_production_is_not() {
    let address = nobody_listens();
    let ucs = crate::support::Ucs::start_at(address, StandInOptions::new());
    let gateway = Gateway::start(address, &QUICK);
    let polls = || ucs.asked("GET", "/server/status").len();
    eventually("it is polled", || polls() >= 3);
    drop(ucs);
    let settled = flip(&gateway, "maintenance");
    assert_eq!((settled.status, &settled.json()["drain"]), (200, &json!("complete")), "{}", settled.text());
    assert!(alarm(&gateway).contains("cannot connect"), "{}", alarm(&gateway));
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("mode"));
    refused_with(&flip(&gateway, "production"), 502, "upstream_refused");
    is_settled(&gateway, "maintenance");
    let back = crate::support::Ucs::start_at(address, StandInOptions::new());
    eventually("UCS is set as soon as it answers", || back.control().mode() == Mode::Maintenance);
    alarm_ends(&gateway);
    assert_eq!(flip(&gateway, "production").status, 200);
}

#[test]
fn a_ucs_that_wants_a_login_has_a_mode_that_the_gateway_may_not_see() {
    for status in [401, 403] {
        let ucs = Ucs::start("production");
        ucs.with(|says| says.all = Some((status, "")));
        let gateway = start(&ucs, &[]);
        eventually("an alarm says what is missing", || alarm(&gateway).contains("--upstream-credentials"));
        let settled = flip(&gateway, "maintenance");
        assert_eq!(settled.status, 200, "{}", settled.text());
        assert_eq!(ucs.wishes(), ["maintenance"], "it is told all the same");
        let refused = refused_with(&flip(&gateway, "production"), 502, "upstream_refused");
        assert!(refused["detail"].as_str().unwrap().contains(&status.to_string()), "{refused}");
        is_settled(&gateway, "maintenance");
        assert!(alarm(&gateway).contains("--upstream-credentials"), "{}", alarm(&gateway));
        ucs.with(|says| says.all = None);
        eventually("UCS is set as soon as it lets the gateway in", || ucs.mode() == "maintenance");
        alarm_ends(&gateway);
    }
}

/// Only the absence of both calls says that there is no mode, and it is looked at again.
#[test]
fn a_ucs_without_both_calls_has_no_mode_until_it_reports_one() {
    let ucs = Ucs::start("production");
    ucs.with(|says| (says.status, says.takes) = (Some((404, "")), Takes::Answers(404)));
    let gateway = start(&ucs, &[]);
    for mode in ["maintenance", "production", "maintenance"] {
        assert_eq!(flip(&gateway, mode).status, 200);
        assert!(alarm(&gateway).is_empty(), "{}", alarm(&gateway));
    }
    ucs.with(|says| (says.status, says.takes) = (None, Takes::Obeys));
    eventually("the one that has come is set", || ucs.mode() == "maintenance");
    ucs.with(|says| (says.status, says.takes) = (Some((404, "")), Takes::Answers(404)));
    refused_with(&flip(&gateway, "production"), 502, "upstream_refused");
}

/// What UCS has not been seen to do is not forgotten by a restart.
#[test]
fn a_ucs_that_was_behind_is_behind_after_a_restart_too() {
    let (dir, ucs) = (crate::support::TempDir::new(), Ucs::start("production"));
    let gateway = Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    ucs.polled_again();
    ucs.with(|says| says.all = Some((500, "out\u{1b}[31m of\nmemory")));
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    let upstream = |gateway: &Gateway| admin::mode(gateway)["upstream"].clone();
    let words = upstream(&gateway)["detail"].as_str().unwrap_or_default().to_owned();
    assert!(words.contains("status 500 (out[31m ofmemory)"), "UCS's own words, cleaned: {words}");
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    ucs.polled_again();
    assert_eq!((&upstream(&gateway)["state"], &upstream(&gateway)["mode"]), (&json!("behind"), &json!("unknown")));
    assert!(alarm(&gateway).contains("not known to be in maintenance"), "{}", alarm(&gateway));
    ucs.with(|says| says.all = None);
    alarm_ends(&gateway);
    assert_eq!((&upstream(&gateway)["state"], &upstream(&gateway)["detail"]), (&json!("in_step"), &json!(null)));
    let metric = |state: &str| admin::metric(&gateway, &format!("ucs_gateway_upstream_state{{state=\"{state}\"}}"));
    assert_eq!((metric("in_step"), metric("behind")), (1.0, 0.0));
}
