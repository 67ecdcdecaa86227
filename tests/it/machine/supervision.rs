//! Parts of the gateway that die or hang for real, one at a time: the process ends with exit code 1 as soon as one is
//! dead, and what was acknowledged is what the next start finds.

use std::time::Duration;

use serde_json::json;
use ucs_gateway::demo::StandInOptions;

use super::shim::Machine;
use super::{ALONE, ready};
use crate::support::{Connection, Gateway, PATIENCE, Ucs, Upload, admin, eventually, http, request};

/// The thread of control and of the admin plane.
const MAIN: &str = "ucs-gateway";

fn modeless() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

/// Puts a gateway into maintenance, breaks something, and expects its end, whose log names `part`. The next start is to
/// find maintenance.
fn ends_when(machine: &Machine, part: &str, breaks: impl FnOnce(&Gateway)) {
    let ucs = modeless();
    let flags = [&ALONE[..], &["--workers", "2"]].concat();
    let mut gateway = machine.start(ucs.address, &flags);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    breaks(&gateway);
    assert_eq!(gateway.exited(PATIENCE).code(), Some(1), "{}", gateway.log());
    eventually("the log names it", || gateway.log().contains(part));
    machine.mend_threads();
    let gateway = machine.start(ucs.address, &flags);
    eventually("it has settled", || ready(&gateway)["phase"] == "settled");
    let seen = ready(&gateway);
    assert_eq!((&seen["mode"], &seen["alarm"]), (&json!("maintenance"), &json!(null)), "{seen}");
}

#[test]
fn a_worker_that_dies_ends_the_process() {
    let machine = Machine::new();
    ends_when(&machine, "worker-1 ended unexpectedly", |_| machine.kill_thread("worker-1"));
}

/// Without it no deadline of the worker would hold, and its requests go on.
#[test]
fn a_worker_whose_sweep_dies_ends_the_process() {
    let machine = Machine::new();
    ends_when(&machine, "worker-0 ended unexpectedly: its sweep failed", |_| machine.end_time_of_thread("worker-0"));
}

#[test]
fn a_main_thread_that_dies_ends_the_process_although_workers_go_on() {
    let machine = Machine::new();
    ends_when(&machine, "the main thread ended with a panic", |_| machine.kill_thread(MAIN));
}

/// A change is the first thing for which control asks the clock. Its asker finds the connection closed.
#[test]
fn a_change_line_that_dies_ends_the_process() {
    let machine = Machine::new();
    ends_when(&machine, "control ended unexpectedly", |gateway| {
        machine.end_time_of_thread(MAIN);
        let credential = format!("Bearer {}", gateway.token());
        let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
        let mut asker = Connection::open(gateway.data);
        asker.send(http::compose(gateway.data, "POST /server/mode", &headers, br#"{"mode":"production"}"#));
    });
}

/// Who can say nothing any more says nothing of that, either.
#[test]
fn a_log_writer_that_dies_ends_the_process() {
    let machine = Machine::new();
    ends_when(&machine, "", |gateway| {
        machine.kill_writing_thread("log-stderr");
        gateway.signal("HUP");
    });
    let flags = [&ALONE[..], &["--access-log"]].concat();
    let ucs = modeless();
    let mut gateway = machine.start(ucs.address, &flags);
    machine.kill_writing_thread("log-stdout");
    assert_eq!(request(gateway.data, "GET /absent", &[], b"").status, 404);
    assert_eq!(gateway.exited(PATIENCE).code(), Some(1), "{}", gateway.log());
    eventually("the log names it", || gateway.log().contains("log-stdout ended unexpectedly"));
}

/// The other worker still has a request, for which a stop would wait an hour.
#[test]
fn a_worker_that_dies_in_a_stop_ends_it() {
    let (ucs, machine) = (modeless(), Machine::new());
    let flags = [&ALONE[..], &["--workers", "2", "--stop-timeout", "1h"]].concat();
    let mut gateway = machine.start(ucs.address, &flags);
    let _first = Upload::begin(&gateway, &ucs);
    let _second = Upload::begin(&gateway, &ucs);
    gateway.signal("TERM");
    eventually("it stops", || request(gateway.admin, "GET /readyz", &[], b"").status == 503);
    machine.kill_thread("worker-0");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(1), "{}", gateway.log());
}

#[test]
fn a_worker_that_hangs_is_not_alive() {
    let (ucs, machine) = (modeless(), Machine::new());
    let gateway = machine.start(ucs.address, &[&ALONE[..], &["--workers", "2"]].concat());
    let live = || request(gateway.admin, "GET /livez", &[], b"");
    assert_eq!((live().status, live().json()), (200, json!({"live": true})));
    machine.hang_thread("worker-1");
    eventually("it is noticed", || live().status == 503);
    assert_eq!(live().json(), json!({"live": false, "silent": ["worker-1"]}));
    machine.mend_threads();
    eventually("it is alive again", || live().status == 200);
}

#[test]
fn a_worker_that_hangs_before_it_has_begun_is_not_alive() {
    let (ucs, machine) = (modeless(), Machine::new());
    machine.hang_thread("worker-1");
    let gateway = machine.start(ucs.address, &[&ALONE[..], &["--workers", "2"]].concat());
    let live = || request(gateway.admin, "GET /livez", &[], b"");
    eventually("it is noticed", || live().status == 503);
    assert_eq!(live().json()["silent"], json!(["worker-1"]));
}

/// A machine that stood still makes nobody dead.
#[test]
fn a_pause_of_the_process_leaves_it_alive() {
    let ucs = modeless();
    let gateway = Gateway::start(ucs.address, &ALONE);
    eventually("it is alive", || request(gateway.admin, "GET /livez", &[], b"").status == 200);
    gateway.signal("STOP");
    // Longer than a worker may be silent: that is the pause, and nothing is waited for.
    std::thread::sleep(Duration::from_secs(3));
    gateway.signal("CONT");
    assert_eq!(request(gateway.admin, "GET /livez", &[], b"").status, 200);
}
