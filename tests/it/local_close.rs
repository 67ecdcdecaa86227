//! `mode close|open` and `PUT /local`: one gateway is closed alone, and the record stays as it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::machine::shim::{EIO, Machine};
use crate::support::tool::{Run, run};
use crate::support::{Connection, Events, Gateway, PATIENCE, Reply, TempDir, Ucs, admin, eventually, request};

const ALONE: [&str; 6] = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];
const PRODUCTION: &str = "GET /profiles/1";
const MAINTENANCE: &str = "POST /metadata/identification-keys";
const BOTH: &str = "GET /metadata/identification-keys";

fn ucs() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

fn set_local(gateway: &Gateway, body: &Value) -> Reply {
    admin::call(gateway, "PUT /local", Some(body))
}

fn cli(gateway: &Gateway, arguments: &[&str]) -> Run {
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    run(&[&["mode", "--admin", &address, "--state-dir", state], arguments].concat())
}

#[track_caller]
fn is_closed(gateway: &Gateway) {
    for line in [PRODUCTION, MAINTENANCE] {
        let refused = request(gateway.data, line, &[], b"{}");
        assert_eq!((refused.status, refused.refusal()), (503, Some("local_close")), "{line}: {}", refused.text());
    }
    assert_eq!(request(gateway.data, BOTH, &[], b"").status, 200, "what both modes admit goes on");
    assert_eq!(request(gateway.admin, "GET /readyz", &[], b"").status, 200);
}

#[track_caller]
fn serves(gateway: &Gateway, line: &str) {
    assert_eq!(request(gateway.data, line, &[], b"{}").refusal(), None, "{line}");
}

#[test]
fn a_close_closes_both_modes_here_and_leaves_the_record() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let before = admin::mode(&gateway);
    assert_eq!(before["local"], json!(null));
    let closed = set_local(&gateway, &json!({"closed": true, "reason": "the disk of UCS fails"}));
    assert_eq!(closed.status, 200, "{}", closed.text());
    is_closed(&gateway);
    let mode = admin::mode(&gateway);
    assert_eq!(closed.json()["local"], mode["local"]);
    let local = &mode["local"];
    assert_eq!((&local["cause"], &local["reason"]), (&json!("local_close"), &json!("the disk of UCS fails")));
    assert_eq!((&local["actor"]["name"], local["since"].is_string()), (&json!("admin"), true));
    assert_eq!((&mode["revision"], &mode["mode"]), (&before["revision"], &before["mode"]));
    assert_eq!(admin::metric(&gateway, "ucs_gateway_local_closed"), 1.0);
    assert_eq!(
        admin::metric(&gateway, "ucs_gateway_requests_total{class=\"profile\",outcome=\"refused_local_close\"}"),
        1.0
    );
    let again = set_local(&gateway, &json!({"closed": true})).json();
    assert_eq!(again["local"], mode["local"]);

    assert_eq!(set_local(&gateway, &json!({"closed": false, "reason": "mended"})).json()["local"], json!(null));
    serves(&gateway, PRODUCTION);
    assert_eq!(request(gateway.data, MAINTENANCE, &[], b"{}").refusal(), Some("mode"));
    assert_eq!(admin::metric(&gateway, "ucs_gateway_local_closed"), 0.0);
    let entries = admin::call(&gateway, "GET /mode/history", None).json()["entries"].clone();
    let seen: Vec<_> =
        (0..3).map(|at| (entries[at]["kind"].as_str().unwrap(), &entries[at]["local"]["reason"])).collect();
    assert_eq!(
        seen,
        [("opened", &json!("mended")), ("closed", &json!("the disk of UCS fails")), ("started", &json!(null))]
    );
}

#[test]
fn a_closed_gateway_flips_and_stays_closed_over_flips_stops_and_kills() {
    let (ucs, dir) = (ucs(), TempDir::new());
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    assert_eq!(set_local(&gateway, &json!({"closed": true})).status, 200);
    for mode in ["maintenance", "production", "maintenance"] {
        let flipped = admin::set_mode(&gateway, &json!({"mode": mode}));
        assert_eq!((flipped.status, &flipped.json()["mode"]), (200, &json!(mode)), "{}", flipped.text());
        is_closed(&gateway);
    }
    gateway.signal("TERM");
    assert!(gateway.exited(PATIENCE).success());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    is_closed(&gateway);
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    is_closed(&gateway);
    assert_eq!(set_local(&gateway, &json!({"closed": false})).status, 200);
    serves(&gateway, MAINTENANCE);
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    serves(&gateway, MAINTENANCE);
    assert_eq!(admin::mode(&gateway)["local"], json!(null));
}

#[test]
fn a_close_during_a_flip_outlasts_it_and_cuts_nothing() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
    ucs.in_flight_reaches(1);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    let mut closer = Connection::open(gateway.admin);
    admin::begin(&mut closer, &gateway, "PUT /local", Some(&json!({"closed": true})));
    ucs.control().set_holding(false);
    assert_ne!(client.read_reply().status, 503);
    assert_eq!(asker.read_reply().json()["mode"], "maintenance");
    assert_eq!(closer.read_reply().status, 200);
    is_closed(&gateway);
}

/// The new file has its name already when the last sync fails.
#[test]
fn an_end_that_is_reported_as_not_saved_is_not_found_by_the_next_start() {
    let (ucs, machine) = (ucs(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(set_local(&gateway, &json!({"closed": true})).status, 200);
    machine.syncs_of_the_directory_fail(EIO);
    assert_eq!(set_local(&gateway, &json!({"closed": false})).status, 507);
    is_closed(&gateway);
    gateway.kill();
    machine.syncs_of_the_directory_fail(0);
    is_closed(&machine.start(ucs.address, &ALONE));
}

/// Two operators: one opens, and while that is being saved the other one closes.
#[test]
fn a_close_that_comes_while_an_end_is_saved_leaves_no_gap() {
    let (ucs, machine) = (ucs(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(set_local(&gateway, &json!({"closed": true})).status, 200);
    let asked = || gateway.log().matches("local close requested").count();
    let (stop, open) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Connection::open(gateway.data);
                while !stop.load(Ordering::Relaxed) {
                    client.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
                    let is_closed = client.read_reply().refusal() == Some("local_close");
                    open.fetch_add(usize::from(!is_closed), Ordering::Relaxed);
                }
            });
        }
        for _ in 0..20 {
            machine.syncs_take(PATIENCE);
            let before = asked();
            let both = [false, true].map(|closed| {
                let mut asker = Connection::open(gateway.admin);
                admin::begin(&mut asker, &gateway, "PUT /local", Some(&json!({"closed": closed})));
                eventually("it is there", || asked() == before + 1 + usize::from(closed));
                asker
            });
            machine.syncs_take(Duration::ZERO);
            both.into_iter().for_each(|mut asker| assert_eq!(asker.read_reply().status, 200));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(open.into_inner(), 0, "requests passed in between");
}

#[test]
fn a_file_that_cannot_be_read_closes_and_is_kept() {
    let ucs = ucs();
    for torn in ["", "{\"format\":1,\"changes\":[{\"ti", "{\"format\":7,\"changes\":[]}"] {
        let dir = TempDir::new();
        Gateway::start_in(dir.path(), ucs.address, &ALONE).kill();
        std::fs::write(dir.path().join("local.json"), torn).unwrap();
        for _ in 0..2 {
            let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
            is_closed(&gateway);
            gateway.kill();
        }
        let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        let reason = admin::mode(&gateway)["local"]["reason"].as_str().unwrap().to_owned();
        let aside = reason.rsplit(' ').next().unwrap();
        assert_eq!(std::fs::read_to_string(aside).unwrap(), torn, "{reason}");
        assert_eq!(set_local(&gateway, &json!({"closed": false})).status, 200);
        serves(&gateway, PRODUCTION);
    }
}

#[test]
fn a_close_that_cannot_be_saved_closes_all_the_same_and_says_so() {
    let (ucs, dir) = (ucs(), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    // The name of the new file is taken by a folder.
    let blocks = dir.path().join("local.json.new");
    std::fs::create_dir(&blocks).unwrap();
    let closed = set_local(&gateway, &json!({"closed": true}));
    assert_eq!((closed.status, &closed.json()["reason"]), (507, &json!("not_durable")), "{}", closed.text());
    is_closed(&gateway);
    let alarm = admin::mode(&gateway)["alarm"].clone();
    assert!(alarm.as_str().unwrap().contains("the local close is not saved"), "{alarm}");
    std::fs::remove_dir(&blocks).unwrap();
    assert_eq!(set_local(&gateway, &json!({"closed": true})).json()["alarm"], json!(null));
    std::fs::create_dir(&blocks).unwrap();
    assert_eq!(set_local(&gateway, &json!({"closed": false})).status, 507);
    is_closed(&gateway);
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    is_closed(&gateway);
}

#[test]
fn the_command_line_closes_opens_and_shows_it_and_followers_see_it() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    let mut events = Events::open(&gateway);
    let closed = cli(&gateway, &["close", "--reason", "rack 3"]);
    assert_eq!(closed.code, Some(0), "{closed:?}");
    for text in [closed.stdout, cli(&gateway, &["get"]).stdout] {
        let line = text.lines().find(|line| line.contains("CLOSED")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("at this gateway alone since") && line.ends_with("by admin: rack 3"), "{text}");
    }
    events.until(|event| event.name == "record" && event.data["local"]["reason"] == "rack 3");
    is_closed(&gateway);
    assert_eq!(cli(&gateway, &["open"]).code, Some(0));
    serves(&gateway, PRODUCTION);
    let history = cli(&gateway, &["history"]).stdout;
    let lines: Vec<_> = history.lines().collect();
    assert!(lines[0].contains("opened") && lines[1].contains("closed") && lines[1].ends_with("rack 3"), "{history}");
}

#[test]
fn a_body_that_is_not_understood_and_a_reader_change_nothing() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    for body in [json!([true]), json!({}), json!({"closed": "yes"}), json!({"closed": true, "mode": "production"})] {
        let refused = set_local(&gateway, &body);
        assert_eq!((refused.status, &refused.json()["reason"]), (400, &json!("bad_body")), "{body}");
    }
    assert_eq!(
        request(gateway.admin, "PUT /local", &[("Content-Type", "application/json")], b"{\"closed\":true}").status,
        401
    );
    assert_eq!(admin::call(&gateway, "GET /local", None).status, 405);
    serves(&gateway, PRODUCTION);
}
