//! Control while a flip is under way: at every step a cancel, a stop, a request for the same mode, a reload and a look at the
//! mode are taken up at once, whatever UCS, a disk or a file does meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::machine::shim::Machine;
use crate::support::{Connection, Gateway, PATIENCE, Reply, TempDir, admin, eventually, http, request};
use crate::surroundings::script::Ucs;

/// Looks at UCS often, so that no test waits for it; and what a hanging UCS or a stop may take is far beyond any patience, so
/// that whatever happens does so without waiting for these.
const QUICK: [&str; 10] = [
    "--upstream-poll",
    "100ms",
    "--orphan-grace",
    "50ms",
    "--schema-probe-interval",
    "100ms",
    "--set-mode-timeout",
    "110s",
    "--stop-timeout",
    "1h",
];

/// A cancel is taken up within 100 ms; its save and the reply come on top.
const AT_ONCE: Duration = Duration::from_millis(500);

const PROFILE: &str = "GET /profiles/1";
const SCHEMA: &str = "POST /metadata/identification-keys";

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
fn is(reply: &Reply, status: u16, reason: &str) {
    assert_eq!((reply.status, &reply.json()["reason"]), (status, &json!(reason)), "{}", reply.text());
}

/// A flip to production that hangs in UCS's own step.
fn hanging_in_ucs(gateway: &Gateway, ucs: &Ucs) -> Connection {
    ucs.with(|says| says.hangs_at = Some("/server/mode"));
    let before = ucs.wishes().len();
    let asker = begin(gateway, &json!({"mode": "production"}));
    eventually("UCS is told", || ucs.wishes()[before..].contains(&"production".to_owned()));
    asker
}

#[test]
fn a_cancel_is_in_force_at_once_although_ucs_hangs_and_ucs_is_set_back_afterwards() {
    let ucs = Ucs::start("maintenance");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let first = Instant::now();
    // Again where the machine was slow.
    loop {
        let mut asker = hanging_in_ucs(&gateway, &ucs);
        let began = Instant::now();
        let back = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
        let cancelled = asker.read_reply();
        let took = began.elapsed();
        assert_eq!((back.status, &back.json()["cause"]), (200, &json!("cancelled")), "{}", back.text());
        is(&cancelled, 409, "cancelled");
        assert_eq!(request(gateway.data, SCHEMA, &[], b"{}").refusal(), None, "maintenance is open");
        if took < AT_ONCE {
            break;
        }
        assert!(first.elapsed() < PATIENCE, "never at once; the last one took {took:?}");
    }
    // What hung takes effect late: it is the gateway's own, so it is set back.
    ucs.with(|says| (says.mode, says.hangs_at) = ("production".to_owned(), None));
    eventually("UCS is set back", || ucs.mode() == "maintenance");
    ucs.polled_again();
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["cause"]), (&json!("maintenance"), &json!("cancelled")), "{record}");
}

#[test]
fn the_mode_is_shown_and_a_reload_is_refused_while_ucs_hangs() {
    let ucs = Ucs::start("maintenance");
    let gateway = Gateway::start(ucs.upstream.address, &QUICK);
    let mut asker = hanging_in_ucs(&gateway, &ucs);
    assert!(is_switching(&gateway));
    is(&admin::call(&gateway, "POST /routes/reload", None), 409, "switching");
    gateway.signal("HUP");
    let reloads = || admin::metric(&gateway, "ucs_gateway_reload_total{outcome=\"ok\"}");
    assert_eq!(reloads(), 0.0);
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(asker.read_reply().status, 200);
    eventually("SIGHUP is carried out after the flip", || reloads() == 1.0);
}

/// The requester is told while UCS hangs, and the next start finds the old mode, settled.
#[track_caller]
fn a_stop_takes_it_back(gateway: Gateway, mut asker: Connection, ucs: &Ucs, again: impl FnOnce() -> Gateway) {
    let old = admin::mode(&gateway)["from"].clone();
    gateway.signal("TERM");
    is(&asker.read_reply(), 503, "shutting_down");
    ucs.with(|says| says.hangs_at = None);
    assert!(gateway.terminate(PATIENCE).success());
    let record = admin::mode(&again());
    let found = (&record["mode"], &record["phase"], &record["cause"]);
    assert_eq!(found, (&old, &json!("settled"), &json!("shutting_down")), "{record}");
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
        let (ucs, dir) = (Ucs::start("maintenance"), TempDir::new());
        let start = || Gateway::start_in(dir.path(), ucs.upstream.address, &QUICK);
        let gateway = start();
        ucs.polled_again();
        ucs.with(|says| says.hangs_at = Some(at));
        let asker = begin(&gateway, &json!({"mode": "production"}));
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
    assert!(gateway.terminate(PATIENCE).success());
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
    let (mut client, askers) = joined(&gateway, &ucs, &json!({"mode": "maintenance", "drain_timeout": "5s"}));
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

/// The joining request would itself have given up after its own drain timeout, the grace, UCS's step and half a minute.
#[test]
fn a_request_that_joins_waits_as_long_as_the_flip_that_it_joined() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..6], &["--set-mode-timeout", "1s"]].concat());
    let mut client = held(&gateway, &ucs);
    let mut first = begin(&gateway, &json!({"mode": "maintenance", "drain_timeout": "10m"}));
    eventually("the flip began", || is_switching(&gateway));
    let mut second = begin(&gateway, &json!({"mode": "maintenance", "drain_timeout": "0s"}));
    assert!(second.is_silent_for(Duration::from_secs(33)), "{}", second.read_reply().text());
    ucs.with(|says| says.hangs_at = None);
    assert_eq!(client.read_reply().status, 200);
    let [first, second] = [first.read_reply(), second.read_reply()];
    assert_eq!((first.status, second.status), (200, 200), "{} {}", first.text(), second.text());
    assert_eq!(first.json()["revision"], second.json()["revision"]);
}

#[test]
fn the_deadline_covers_drain_and_ucs_and_is_kept_however_ucs_hangs() {
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..6], &["--set-mode-timeout", "3s"]].concat());
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
    // By the gateway's own clock, which a busy machine lets run on: but less than one call to UCS may take.
    let late = time(&settled.json(), "since").duration_since(deadline);
    assert!(late.as_secs() < 8, "{late:?} after the deadline");
    assert!(admin::mode(&gateway)["alarm"].is_string(), "UCS is behind");
    ucs.with(|says| says.hangs_at = None);
    drop(client);
}

#[test]
fn a_route_file_that_hangs_holds_up_nothing() {
    let (ucs, dir) = (Ucs::start("production"), TempDir::new());
    let routes = dir.file("routes.yaml", include_str!("../../routes.yaml"));
    let (machine, flags) = (Machine::new(), [&QUICK[..], &["--routes", routes.to_str().unwrap()]].concat());
    let gateway = machine.start(ucs.upstream.address, &flags);
    machine.opening_hangs(&routes);
    gateway.signal("HUP");
    // Again where the machine was so slow that the file was given up first, after half a minute.
    let flips_beside_the_file = || {
        let mut reload = Connection::open(gateway.admin);
        admin::begin(&mut reload, &gateway, "POST /routes/reload", None);
        for mode in ["maintenance", "production"] {
            assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
            assert_eq!(ucs.mode(), mode);
        }
        reload.is_silent_for(Duration::from_millis(1))
    };
    assert!((0..3).any(|_| flips_beside_the_file()), "a flip waited for the file");
    assert!(gateway.terminate(PATIENCE).success());
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
