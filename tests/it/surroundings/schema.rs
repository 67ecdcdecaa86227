//! One wrong look closes nothing: a missing schema counts only when UCS is known to be up, and says so twice.

use std::time::{Duration, Instant};

use serde_json::json;

use super::script::{Takes, Ucs};
use super::{QUICK, alarm, is_settled};
use crate::support::{Gateway, TempDir, admin, eventually};

const PROBE: &str = "GET /metadata/profiles";

fn knows(gateway: &Gateway, expected: &str) {
    eventually(&format!("the schema is known to be {expected}"), || admin::mode(gateway)["schema"] == expected);
}

#[test]
fn a_ucs_that_answers_the_same_to_everything_while_it_starts_closes_nothing() {
    for all in [(404, ""), (200, "[]"), (200, "{}")] {
        let ucs = Ucs::start("production");
        let gateway = Gateway::start(ucs.upstream.address, &QUICK);
        knows(&gateway, "defined");
        ucs.polled_again();
        let revision = admin::mode(&gateway)["revision"].clone();
        ucs.with(|says| says.all = Some(all));
        // More than a UCS without a status would be given.
        ucs.asked_again(PROBE, 15);
        knows(&gateway, "unknown");
        is_settled(&gateway, "production");
        ucs.with(|says| says.all = None);
        knows(&gateway, "defined");
        assert_eq!(admin::mode(&gateway)["revision"], revision, "{all:?}");
    }
}

#[test]
fn one_wrong_look_closes_nothing_and_two_do() {
    for wrong in [(404, ""), (200, "[]"), (200, "{}")] {
        let ucs = Ucs::start("production");
        let gateway = Gateway::start(ucs.upstream.address, &QUICK);
        knows(&gateway, "defined");
        let right = ucs.with(|says| says.schema[0]);
        for _ in 0..3 {
            ucs.with(|says| says.schema = vec![right, wrong]);
            ucs.asked_again(PROBE, 3);
            knows(&gateway, "defined");
            is_settled(&gateway, "production");
        }
        ucs.with(|says| says.schema = vec![wrong]);
        eventually("it is closed", || admin::mode(&gateway)["mode"] == "maintenance");
        assert_eq!(admin::mode(&gateway)["cause"], "no_profile_schema", "{wrong:?}");
    }
}

/// It has no status, so another operation shows that it is up.
#[test]
fn a_ucs_without_a_status_that_knows_no_other_operation_closes_nothing() {
    let ucs = Ucs::start("production");
    ucs.with(|says| says.status = Some((404, "")));
    // Set Server Mode is missing too: UCS has no mode of its own.
    ucs.with(|says| says.takes = Takes::Answers(404));
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--initial-mode", "production"]].concat());
    knows(&gateway, "defined");
    ucs.with(|says| says.all = Some((404, "")));
    // Each is followed by the status and the other operation; a UCS without a status is given twelve polls.
    ucs.asked_again(PROBE, 20);
    is_settled(&gateway, "production");
    knows(&gateway, "unknown");
    ucs.with(|says| (says.all, says.schema) = (None, vec![(404, "")]));
    eventually("it is closed", || admin::mode(&gateway)["mode"] == "maintenance");
    assert_eq!(admin::mode(&gateway)["cause"], "no_profile_schema");
}

fn table(dir: &TempDir, base_path: &str) -> String {
    let text =
        include_str!("../../../routes.yaml").replacen("base_path: \"\"", &format!("base_path: {base_path:?}"), 1);
    dir.file("routes.yaml", &text).to_str().unwrap().to_owned()
}

fn reload(gateway: &Gateway) {
    let reloaded = admin::call(gateway, "POST /routes/reload", None);
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
}

#[test]
fn a_slip_in_the_base_path_of_a_reload_closes_nothing() {
    let dir = TempDir::new();
    let routes = table(&dir, "");
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--routes", &routes]].concat());
    knows(&gateway, "defined");
    ucs.polled_again();
    // Of this path nothing but the status answers.
    table(&dir, "/slip");
    reload(&gateway);
    knows(&gateway, "unknown");
    ucs.asked_again("GET /slip/metadata/profiles", 15);
    is_settled(&gateway, "production");
    assert_eq!(admin::mode(&gateway)["schema"], "unknown");
    table(&dir, "");
    reload(&gateway);
    knows(&gateway, "defined");
}

#[test]
fn a_probe_that_spans_a_reload_says_nothing_of_the_new_path() {
    let dir = TempDir::new();
    let routes = table(&dir, "");
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--routes", &routes]].concat());
    knows(&gateway, "defined");
    ucs.with(|says| says.hangs_at = Some("GET /metadata/profiles"));
    ucs.asked_again(PROBE, 1);
    table(&dir, "/slip");
    reload(&gateway);
    ucs.with(|says| says.hangs_at = None);
    ucs.asked_again("GET /slip/metadata/profiles", 15);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["schema"]), (&json!("production"), &json!("unknown")), "{record}");
    let remembered = std::fs::read_to_string(gateway.state_dir().join("schema-path-answered")).unwrap();
    assert_eq!(remembered, "/metadata/profiles");
}

/// An operator must know that the automatic switch is out of order, and why.
#[test]
fn probes_that_tell_nothing_for_ten_intervals_are_an_alarm() {
    let ucs = Ucs::start("production");
    ucs.with(|says| says.schema = vec![(500, "")]);
    let began = Instant::now();
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    eventually("an alarm says so", || alarm(&gateway).contains("schema_unclear"));
    assert!(began.elapsed() >= Duration::from_secs(1), "not before ten intervals are over: {:?}", began.elapsed());
    assert!(alarm(&gateway).contains("status 500"), "{}", alarm(&gateway));
    is_settled(&gateway, "production");
    ucs.with(|says| says.schema = vec![(200, "[{}]")]);
    super::alarm_ends(&gateway);
}

/// Nothing opens by itself; the alarm says what an operator may do now, and ends when one confirms.
#[test]
fn a_schema_that_is_back_reopens_nothing_and_is_told() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    knows(&gateway, "defined");
    ucs.with(|says| says.schema = vec![(200, "[]")]);
    eventually("it is closed", || admin::mode(&gateway)["mode"] == "maintenance");
    eventually("an operator is called", || alarm(&gateway).contains("create one, then set production"));
    ucs.with(|says| says.schema = vec![(200, "[{}]")]);
    eventually("it is told", || alarm(&gateway).contains("profile schema is back: set production"));
    ucs.polled_again();
    is_settled(&gateway, "maintenance");
    assert_eq!(super::flip(&gateway, "maintenance").status, 200);
    assert_eq!((alarm(&gateway), &admin::mode(&gateway)["actor"]["kind"]), (String::new(), &json!("operator")));
}

/// Whoever sees both says which came first: UCS closed itself because its schema was gone.
#[test]
fn a_ucs_that_closed_itself_for_want_of_a_schema_is_followed_for_that_cause() {
    let ucs = Ucs::start("production");
    // No probe but the one that the closing itself triggers.
    let rarely = ["--upstream-poll", "300ms", "--orphan-grace", "50ms", "--schema-probe-interval", "1h"];
    let gateway = Gateway::start(ucs.upstream.address, &rarely);
    knows(&gateway, "defined");
    ucs.polled_again();
    ucs.with(|says| (says.mode, says.schema) = ("maintenance".to_owned(), vec![(404, "")]));
    eventually("it is followed", || admin::mode(&gateway)["mode"] == "maintenance");
    let record = admin::mode(&gateway);
    assert_eq!(
        (&record["actor"]["kind"], &record["cause"]),
        (&json!("automatic"), &json!("no_profile_schema")),
        "{record}"
    );
}
