//! Control while a flip is under way: at every step a cancel, a stop, a request for the same mode, a reload and a look at the
//! mode are taken up at once, whatever UCS, a disk or a file does meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::machine::shim::Machine;
use crate::support::{Connection, Gateway, Reply, TempDir, admin, eventually, http, request};
use crate::surroundings::script::Ucs;

/// Looks at UCS often, so that no test waits for it.
const QUICK: [&str; 6] = ["--upstream-poll", "100ms", "--orphan-grace", "50ms", "--schema-probe-interval", "100ms"];

/// What "at once" may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

const PROFILE: &str = "GET /profiles/1";

/// A request that UCS has and does not answer, as long as it hangs there.
fn held(gateway: &Gateway, ucs: &Ucs) -> Connection {
    ucs.with(|says| says.hangs_at = Some("/profiles"));
    let before = ucs.times(PROFILE).len();
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, PROFILE, &[], b""));
    eventually("UCS has it", || ucs.times(PROFILE).len() > before);
    client
}

/// A change whose reply comes later.
fn begin(gateway: &Gateway, change: &Value) -> Connection {
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, gateway, "PUT /mode", Some(change));
    asker
}

fn is_switching(gateway: &Gateway) -> bool {
    admin::mode(gateway)["phase"] == "switching"
}

#[track_caller]
fn at_once(began: Instant, what: &str) {
    assert!(began.elapsed() < AT_ONCE, "{what} took {:?}", began.elapsed());
}

#[track_caller]
fn is(reply: &Reply, status: u16, reason: &str) {
    assert_eq!((reply.status, &reply.json()["reason"]), (status, &json!(reason)), "{}", reply.text());
}

/// A flip to maintenance that hangs in UCS's own step.
fn hanging_in_ucs(gateway: &Gateway, ucs: &Ucs) -> Connection {
    ucs.with(|says| says.hangs_at = Some("/server/mode"));
    let asker = begin(gateway, &json!({"mode": "maintenance"}));
    eventually("UCS is told", || ucs.wishes().last().is_some_and(|mode| mode == "maintenance"));
    asker
}

#[test]
fn a_cancel_is_in_force_at_once_although_ucs_hangs_and_ucs_is_set_back_afterwards() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let mut asker = hanging_in_ucs(&gateway, &ucs);
    let began = Instant::now();
    let back = admin::set_mode(&gateway, &json!({"mode": "production"}));
    at_once(began, "the cancel");
    assert_eq!((back.status, &back.json()["cause"]), (200, &json!("cancelled")), "{}", back.text());
    assert_eq!(request(gateway.data, PROFILE, &[], b"").refusal(), None, "production is open");
    is(&asker.read_reply(), 409, "cancelled");
    at_once(began, "the reply to the cancelled one");
    // What hung takes effect late: it is the gateway's own, so it is set back and never followed.
    ucs.with(|says| (says.mode, says.hangs_at) = ("maintenance".to_owned(), None));
    eventually("UCS is set back", || ucs.mode() == "production");
    ucs.polled_again();
    assert_eq!(admin::mode(&gateway)["mode"], "production");
}

#[test]
fn the_mode_is_shown_and_a_reload_is_refused_at_once_while_ucs_hangs() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let mut asker = hanging_in_ucs(&gateway, &ucs);
    let began = Instant::now();
    assert!(is_switching(&gateway));
    is(&admin::call(&gateway, "POST /routes/reload", None), 409, "switching");
    at_once(began, "both");
    gateway.signal("HUP");
    let reloads = || admin::metric(&gateway, "ucs_gateway_reload_total{outcome=\"ok\"}");
    assert_eq!(reloads(), 0.0);
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(asker.read_reply().status, 200);
    eventually("SIGHUP is carried out after the flip", || reloads() == 1.0);
}

/// The requester is told, and the next start finds the old mode, settled.
#[track_caller]
fn a_stop_takes_it_back(gateway: Gateway, mut asker: Connection, ucs: &Ucs, again: impl FnOnce() -> Gateway) {
    let began = Instant::now();
    gateway.signal("TERM");
    is(&asker.read_reply(), 503, "shutting_down");
    at_once(began, "the reply");
    ucs.with(|says| says.hangs_at = None);
    assert!(gateway.terminate(Duration::from_secs(20)).success());
    let record = admin::mode(&again());
    let found = (&record["mode"], &record["phase"], &record["cause"]);
    assert_eq!(found, (&json!("production"), &json!("settled"), &json!("shutting_down")), "{record}");
}

#[test]
fn a_stop_in_a_drain_takes_the_flip_back_before_the_requests_end() {
    let (ucs, dir) = (Ucs::start("production"), TempDir::new());
    let start = || Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
    let gateway = start();
    let _client = held(&gateway, &ucs);
    let asker = begin(&gateway, &json!({"mode": "maintenance"}));
    eventually("the flip began", || is_switching(&gateway));
    a_stop_takes_it_back(gateway, asker, &ucs, start);
}

#[test]
fn a_stop_takes_a_flip_back_that_hangs_in_ucs() {
    for at in ["/server/mode", "/server/status"] {
        let (ucs, dir) = (Ucs::start("production"), TempDir::new());
        let start = || Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
        let gateway = start();
        ucs.polled_again();
        ucs.with(|says| says.hangs_at = Some(at));
        let asker = begin(&gateway, &json!({"mode": "maintenance"}));
        eventually("the flip began", || is_switching(&gateway));
        a_stop_takes_it_back(gateway, asker, &ucs, start);
    }
}

#[test]
fn a_stop_and_a_cancel_wait_for_the_save_under_way_and_for_nothing_else() {
    let ucs = crate::support::Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    let alone = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];
    let machine = Machine::new();
    let gateway = machine.start(ucs.address, &alone);
    machine.syncs_take(Duration::from_secs(60));
    let mut asker = begin(&gateway, &json!({"mode": "maintenance"}));
    eventually("it is being saved", || gateway.log().matches("mode change requested").count() == 1);
    let mut canceller = begin(&gateway, &json!({"mode": "production"}));
    eventually("the cancel is there", || gateway.log().matches("mode change requested").count() == 2);
    assert!(!is_switching(&gateway), "nothing is published before it is durable");
    machine.syncs_take(Duration::ZERO);
    is(&asker.read_reply(), 409, "cancelled");
    let back = canceller.read_reply();
    assert_eq!((back.status, &back.json()["mode"]), (200, &json!("production")), "{}", back.text());

    machine.syncs_take(Duration::from_secs(60));
    let mut asker = begin(&gateway, &json!({"mode": "maintenance"}));
    eventually("it is being saved", || gateway.log().matches("mode change requested").count() == 3);
    gateway.signal("TERM");
    eventually("it stops", || gateway.log().contains("shutting down"));
    machine.syncs_take(Duration::ZERO);
    is(&asker.read_reply(), 503, "shutting_down");
    assert!(gateway.terminate(Duration::from_secs(20)).success());
    let record = admin::mode(&machine.start(ucs.address, &alone));
    assert_eq!((&record["mode"], &record["phase"]), (&json!("production"), &json!("settled")), "{record}");
}

/// Begins a flip and joins it with a second request for its target.
fn joined(gateway: &Gateway, ucs: &Ucs, change: &Value) -> (Connection, [Connection; 2]) {
    let client = held(gateway, ucs);
    let first = begin(gateway, change);
    eventually("the flip began", || is_switching(gateway));
    let asked = || gateway.log().matches("mode change requested").count();
    let before = asked();
    let second = begin(gateway, &json!({"mode": "maintenance"}));
    eventually("the second request is there", || asked() > before);
    // Control takes requests in their order.
    is(&admin::set_mode(gateway, &json!({"mode": "production", "if_revision": 1_000_000})), 409, "stale");
    (client, [first, second])
}

#[test]
fn a_request_for_the_target_gets_the_result_and_the_report_of_the_flip() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let (mut client, askers) = joined(&gateway, &ucs, &json!({"mode": "maintenance", "drain_timeout": "1s"}));
    for mut asker in askers {
        let late = asker.read_reply();
        is(&late, 504, "drain_timeout");
        assert_eq!(late.json()["report"]["still_running"][0]["count"], 1, "{}", late.text());
    }
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(client.read_reply().status, 200);
    let (mut client, mut askers) = joined(&gateway, &ucs, &json!({"mode": "maintenance"}));
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(client.read_reply().status, 200);
    let [first, second] = askers.each_mut().map(|asker| asker.read_reply());
    assert_eq!((first.status, second.status), (200, 200), "{} {}", first.text(), second.text());
    assert_eq!(first.json()["revision"], second.json()["revision"]);
    assert_eq!(first.json()["report"], second.json()["report"]);
    assert_eq!(second.json()["report"]["waited_for"][0]["count"], 1, "{}", second.text());
}

#[test]
fn the_deadline_covers_drain_and_ucs_and_is_kept_however_ucs_hangs() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--set-mode-timeout", "3s"]].concat());
    let client = held(&gateway, &ucs);
    ucs.with(|says| says.hangs_at = Some("/"));
    let change = json!({"mode": "maintenance", "drain_timeout": "1s", "on_timeout": "commit"});
    let mut asker = begin(&gateway, &change);
    eventually("the flip began", || is_switching(&gateway));
    let record = admin::mode(&gateway);
    let time = |record: &Value, name: &str| record[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let deadline = time(&record, "deadline");
    let promised = deadline.duration_since(time(&record, "since"));
    assert_eq!(promised.as_millis(), 4050, "drain timeout, grace and UCS's step: {record}");
    let settled = asker.read_reply();
    assert_eq!(settled.status, 200, "{}", settled.text());
    let late = time(&settled.json(), "since").duration_since(deadline);
    assert!(late.as_millis() < 1000, "{late:?} after the deadline");
    assert!(admin::mode(&gateway)["alarm"].is_string(), "UCS is behind");
    ucs.with(|says| says.hangs_at = None);
    drop(client);
}

#[test]
fn a_route_file_that_hangs_holds_up_nothing() {
    let (ucs, dir) = (Ucs::start("production"), TempDir::new());
    let routes = dir.file("routes.yaml", include_str!("../../routes.yaml"));
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--routes", routes.to_str().unwrap()]].concat());
    std::fs::remove_file(&routes).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&routes).status().unwrap().success());
    gateway.signal("HUP");
    let mut reload = Connection::open(gateway.admin);
    admin::begin(&mut reload, &gateway, "POST /routes/reload", None);
    for mode in ["maintenance", "production"] {
        let began = Instant::now();
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
        at_once(began, "a flip");
        assert_eq!(ucs.mode(), mode);
    }
    let began = Instant::now();
    assert!(gateway.terminate(Duration::from_secs(20)).success());
    assert!(began.elapsed() < Duration::from_secs(5), "the stop took {:?}", began.elapsed());
}

#[test]
fn a_flip_whose_end_is_not_waited_for_is_accepted_once_it_has_begun() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let mut client = held(&gateway, &ucs);
    let change = json!({"mode": "maintenance", "wait": false});
    let begun = admin::set_mode(&gateway, &change);
    assert_eq!((begun.status, &begun.json()["phase"]), (202, &json!("switching")), "{}", begun.text());
    assert_eq!(begun.json()["report"]["changed"], true);
    // A second one joins it, a stale one does not, and the end is that of any flip.
    assert_eq!(admin::set_mode(&gateway, &change).status, 202);
    is(&admin::set_mode(&gateway, &json!({"mode": "maintenance", "wait": false, "if_revision": 1})), 409, "stale");
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(client.read_reply().status, 200);
    eventually("it has settled", || admin::mode(&gateway)["phase"] == "settled");
    let again = admin::set_mode(&gateway, &change);
    assert_eq!((again.status, &again.json()["report"]["changed"]), (200, &json!(false)), "{}", again.text());
}
