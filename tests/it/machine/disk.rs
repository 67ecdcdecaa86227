//! Disks that are full, read-only, slow or broken: requests go on, a flip that cannot be kept does not happen, and what
//! an operator was told is what the next start finds.

use std::time::Duration;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use super::shim::{EIO, ENOSPC, EROFS, Machine};
use super::{ALONE, ready};
use crate::support::{Connection, Gateway, Reply, Ucs, Upload, admin, eventually, request};

/// A UCS without a mode of its own, so that every refusal is the gateway's.
fn modeless() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

/// The answer says that maintenance cannot be kept and production goes on.
#[track_caller]
fn not_durable(reply: &Reply) {
    assert_eq!((reply.status, &reply.json()["reason"]), (507, &json!("not_durable")), "{}", reply.text());
    let record = &reply.json()["record"];
    assert_eq!((&record["mode"], &record["phase"]), (&json!("production"), &json!("settled")), "{record}");
}

fn to(mode: &str) -> Value {
    json!({"mode": mode})
}

/// Production is open, and maintenance is not.
#[track_caller]
fn is_open(gateway: &Gateway) {
    assert_eq!(request(gateway.data, "POST /profiles", &[], b"{}").refusal(), None);
    assert_eq!(request(gateway.data, "POST /metadata/identification-keys", &[], b"{}").refusal(), Some("mode"));
}

/// The next start finds this mode and nothing to complain of.
#[track_caller]
fn finds(gateway: &Gateway, mode: &str) {
    eventually("it has settled", || ready(gateway)["phase"] == "settled");
    let seen = ready(gateway);
    assert_eq!((&seen["mode"], &seen["alarm"]), (&json!(mode), &json!(null)), "{seen}");
}

/// Breaks a disk on which a gateway runs in production, then kills it: nobody was told of another mode.
fn a_disk_that_breaks(set: impl Fn(&Machine, i64), error: i64) {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    set(&machine, error);
    not_durable(&admin::set_mode(&gateway, &to("maintenance")));
    is_open(&gateway);
    assert_eq!(admin::metric(&gateway, "ucs_gateway_flips_total{outcome=\"not_durable\"}"), 1.0);
    set(&machine, 0);
    gateway.kill();
    let gateway = machine.start(ucs.address, &ALONE);
    finds(&gateway, "production");
    assert_eq!(admin::set_mode(&gateway, &to("maintenance")).status, 200, "mended, it is kept");
    gateway.kill();
    finds(&machine.start(ucs.address, &ALONE), "maintenance");
}

#[test]
fn a_full_disk_refuses_flips_and_nothing_else() {
    a_disk_that_breaks(Machine::writes_fail, ENOSPC);
}

#[test]
fn a_read_only_disk_refuses_flips_and_nothing_else() {
    a_disk_that_breaks(Machine::writes_fail, EROFS);
}

#[test]
fn a_sync_that_fails_refuses_flips_and_nothing_else() {
    a_disk_that_breaks(Machine::syncs_fail, EIO);
}

#[test]
fn a_last_sync_that_fails_refuses_flips_and_nothing_else() {
    a_disk_that_breaks(Machine::syncs_of_the_directory_fail, EIO);
}

/// The disk breaks in the drain, and the gateway is killed before anything could be saved again. Whoever was told that
/// the old mode is in force must find it, even if the new record had its name already.
fn a_disk_that_breaks_in_a_drain(set: impl Fn(&Machine, i64), error: i64) {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&to("maintenance")));
    eventually("the flip began", || ready(&gateway)["phase"] == "switching");
    set(&machine, error);
    assert_eq!(upload.finish().status, 201);
    not_durable(&asker.read_reply());
    is_open(&gateway);
    assert!(ready(&gateway)["alarm"].as_str().is_some_and(|alarm| alarm.contains("not saved")), "{}", ready(&gateway));
    gateway.kill();
    set(&machine, 0);
    finds(&machine.start(ucs.address, &ALONE), "production");
}

#[test]
fn a_disk_that_breaks_in_a_drain_takes_the_flip_back() {
    a_disk_that_breaks_in_a_drain(Machine::writes_fail, EROFS);
    a_disk_that_breaks_in_a_drain(Machine::writes_fail, ENOSPC);
    a_disk_that_breaks_in_a_drain(Machine::syncs_fail, EIO);
}

#[test]
fn a_last_sync_that_fails_in_a_drain_takes_the_flip_back() {
    a_disk_that_breaks_in_a_drain(Machine::syncs_of_the_directory_fail, EIO);
}

/// A change that needs no drain is one save. The new record has its name already when the last sync fails.
#[test]
fn a_last_sync_that_fails_leaves_no_reason_or_end_that_nobody_was_told_of() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "told"})).status, 200);
    machine.syncs_of_the_directory_fail(EIO);
    let refused = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "not told", "expires_in": "1s"}));
    assert_eq!(refused.status, 507, "{}", refused.text());
    machine.syncs_of_the_directory_fail(0);
    gateway.kill();
    let gateway = machine.start(ucs.address, &ALONE);
    finds(&gateway, "maintenance");
    let now = admin::mode(&gateway);
    assert_eq!((&now["reason"], &now["expires"]), (&json!("told"), &json!(null)), "{now}");
}

/// The new record has its name, and the old one cannot be put back: the operator is told that the disk may disagree with
/// the gateway, until it agrees again.
#[test]
fn a_disk_that_may_hold_what_was_not_done_is_an_alarm_until_it_does_not() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "told"})).status, 200);
    let on_disk =
        || -> Value { serde_json::from_slice(&std::fs::read(machine.state().join("mode.json")).unwrap()).unwrap() };
    machine.turns_read_only_at_a_sync_of_the_directory();
    let refused = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "not told", "expires_in": "1h"}));
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!((&on_disk()["reason"], &admin::mode(&gateway)["reason"]), (&json!("not told"), &json!("told")));
    let alarm = ready(&gateway)["alarm"].clone();
    assert!(
        alarm.as_str().is_some_and(|alarm| alarm.contains("the disk may hold a mode that is not in force")),
        "{alarm}"
    );
    machine.syncs_of_the_directory_fail(0);
    eventually("the disk agrees", || ready(&gateway)["alarm"].is_null());
    assert_eq!((&on_disk()["reason"], &on_disk()["expires"]), (&json!("told"), &json!(null)));
    gateway.kill();
    let gateway = machine.start(ucs.address, &ALONE);
    finds(&gateway, "maintenance");
    assert_eq!(admin::mode(&gateway)["reason"], "told");
    assert_eq!(admin::set_mode(&gateway, &to("production")).status, 200);
    let history = admin::call(&gateway, "GET /mode/history", None).text();
    assert!(!history.contains("not told"), "{history}");
}

/// Ended with 1, and said why.
#[track_caller]
fn does_not_start(machine: &Machine, ucs: &Ucs, flags: &[&str], told: &str) {
    let (status, log) = machine.try_start(ucs.address, flags).err().expect("it does not start");
    let log = log.join("\n");
    assert!(log.contains(machine.state().to_str().unwrap()) && log.contains(told), "{log}");
    assert_eq!(status.code(), Some(1), "{log}");
}

/// A gateway that cannot keep its mode does not open.
#[test]
fn on_a_disk_that_keeps_nothing_it_does_not_start() {
    let (ucs, machine) = (modeless(), Machine::new());
    for (error, told) in [(ENOSPC, "No space left"), (EROFS, "Read-only")] {
        machine.writes_fail(error);
        does_not_start(&machine, &ucs, &ALONE, told);
        machine.writes_fail(0);
    }
    machine.syncs_fail(EIO);
    does_not_start(&machine, &ucs, &ALONE, "Input/output error");
    machine.syncs_fail(0);
    finds(&machine.start(ucs.address, &ALONE), "production");
}

/// Nor does one that cannot read it, and it touches nothing.
#[test]
fn a_mode_that_cannot_be_read_does_not_start() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(admin::set_mode(&gateway, &to("maintenance")).status, 200);
    gateway.kill();
    let record = std::fs::read(machine.state().join("mode.json")).unwrap();
    // The token of the API stands in the same directory and would be read first.
    let access = machine.state().with_file_name("access.yaml");
    std::fs::write(&access, "version: 1\nprincipals:\n  - {name: me, unix_uid: 0, permissions: ['mode:read']}\n")
        .unwrap();
    machine.reads_fail(EIO);
    let named = [&ALONE[..], &["--access", access.to_str().unwrap()]].concat();
    does_not_start(&machine, &ucs, &named, "mode.json: Input/output error");
    machine.reads_fail(0);
    assert_eq!(std::fs::read(machine.state().join("mode.json")).unwrap(), record);
    finds(&machine.start(ucs.address, &ALONE), "maintenance");
}

/// A start that finds damage and can neither set it aside nor keep a record of its own.
#[test]
fn a_torn_record_on_a_read_only_disk_does_not_start() {
    let (ucs, machine) = (modeless(), Machine::new());
    machine.start(ucs.address, &ALONE).kill();
    std::fs::write(machine.state().join("mode.json"), "{\"mode\": \"prod").unwrap();
    machine.writes_fail(EROFS);
    does_not_start(&machine, &ucs, &ALONE, "Read-only");
    machine.writes_fail(0);
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(ready(&gateway)["mode"], "maintenance", "what cannot be read never opens");
}

/// The journal shows that `mode.json` is not the newest.
#[test]
fn an_old_copy_of_the_record_is_an_alarm() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    let copy = std::fs::read(machine.state().join("mode.json")).unwrap();
    assert_eq!(admin::set_mode(&gateway, &to("maintenance")).status, 200);
    let revision = ready(&gateway)["revision"].as_u64().unwrap();
    gateway.kill();
    std::fs::write(machine.state().join("mode.json"), copy).unwrap();
    let gateway = machine.start(ucs.address, &ALONE);
    let seen = ready(&gateway);
    assert!(seen["alarm"].as_str().is_some_and(|alarm| alarm.contains("older than the journal")), "{seen}");
    assert!(seen["revision"].as_u64().unwrap() > revision, "{seen} after {revision}");
}

/// While a sync hangs, requests and probes are served, and the flip is neither told nor in force before it is kept.
#[test]
fn a_disk_that_hangs_holds_up_the_flip_and_nothing_else() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    let revision = ready(&gateway)["revision"].clone();
    machine.syncs_take(Duration::from_secs(3600));
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&to("maintenance")));
    for _ in 0..20 {
        let reply = request(gateway.data, "GET /profiles/absent", &[], b"");
        assert_eq!((reply.status, reply.refusal()), (404, None));
        assert_eq!((&ready(&gateway)["mode"], &ready(&gateway)["revision"]), (&json!("production"), &revision));
        assert_eq!(admin::call(&gateway, "GET /mode/history", None).status, 200);
    }
    assert!(asker.is_silent_for(Duration::from_millis(50)));
    machine.syncs_take(Duration::ZERO);
    let settled = asker.read_reply();
    assert_eq!((settled.status, &settled.json()["mode"]), (200, &json!("maintenance")), "{}", settled.text());
}

/// A limit of one principal: here, by changes that wait for the disk.
#[test]
fn each_principal_has_so_many_changes_under_way_and_no_more() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    machine.syncs_take(Duration::from_secs(3600));
    let begin = |_| {
        let mut asker = Connection::open(gateway.admin);
        admin::begin(&mut asker, &gateway, "PUT /mode", Some(&to("maintenance")));
        asker
    };
    let mut askers: Vec<Connection> = (0..17).map(begin).collect();
    let is_told = |asker: &mut Connection| !asker.is_silent_for(Duration::from_millis(1));
    eventually("one is told", || askers.iter_mut().any(is_told));
    let refused = askers.iter_mut().position(is_told).unwrap();
    let refused = askers.swap_remove(refused).read_reply();
    assert_eq!((refused.status, &refused.json()["reason"]), (429, &json!("too_many_changes")), "{}", refused.text());
    assert!(askers.iter_mut().all(|asker| asker.is_silent_for(Duration::from_millis(1))));
    machine.syncs_take(Duration::ZERO);
    let status = askers.iter_mut().map(|asker| asker.read_reply().status).collect::<Vec<_>>();
    assert!(status.contains(&200) && !status.contains(&429), "{status:?}");
}

#[test]
fn a_kill_while_the_disk_hangs_loses_nothing() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(admin::set_mode(&gateway, &to("maintenance")).status, 200);
    machine.syncs_take(Duration::from_secs(3600));
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&to("production")));
    assert!(asker.is_silent_for(Duration::from_millis(200)));
    gateway.kill();
    machine.syncs_take(Duration::ZERO);
    finds(&machine.start(ucs.address, &ALONE), "maintenance");
}
