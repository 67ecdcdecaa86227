//! Clocks that jump: only `expires_in` goes by the wall clock. Drains, deadlines and graces do not.

use std::time::{Duration, Instant};

use serde_json::json;

use super::shim::Machine;
use super::{ALONE, ready};
use crate::support::{Connection, PATIENCE, Ucs, Upload, admin, eventually, request};

const HOUR: i64 = 3600;

/// Neither forwards nor backwards does a jump end a drain or a request, and the mode that is told is still right.
#[test]
fn a_jump_moves_no_deadline() {
    for jump in [24 * HOUR, -24 * HOUR] {
        let (ucs, machine) = (Ucs::usual(), Machine::new());
        let gateway = machine.start(ucs.address, &ALONE);
        let upload = Upload::begin(&gateway, &ucs);
        let mut asker = Connection::open(gateway.admin);
        admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance", "drain_timeout": "1h"})));
        eventually("the flip began", || ready(&gateway)["phase"] == "switching");
        machine.clock_is_ahead(jump);
        assert!(asker.is_silent_for(Duration::from_millis(300)), "the drain goes on after a jump by {jump} s");
        assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 200);
        assert_eq!(upload.finish().status, 201);
        let settled = asker.read_reply();
        assert_eq!((settled.status, &settled.json()["drain"]), (200, &json!("complete")), "{}", settled.text());
        let drain_ms = settled.json()["report"]["drain_ms"].as_u64().unwrap();
        assert!((300..60_000).contains(&drain_ms), "{drain_ms}");
        let jumped: i64 =
            admin::mode(&gateway)["since"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        let off = jumped - jiff::Timestamp::now().as_second();
        assert!((jump - 60..=jump + 60).contains(&off), "the clock really jumped: {off} s");
        gateway.kill();
        // The record is of another day than the clock.
        machine.clock_is_ahead(0);
        let gateway = machine.start(ucs.address, &ALONE);
        assert_eq!((&ready(&gateway)["mode"], &ready(&gateway)["alarm"]), (&json!("maintenance"), &json!(null)));
        let back = admin::set_mode(&gateway, &json!({"mode": "production"}));
        assert_eq!(back.status, 200, "{}", back.text());
    }
}

/// As documented: a jump over the end of a mode is seen within half a minute; one back before it lets the mode go on.
#[test]
fn an_expiry_goes_by_the_clock_as_it_is() {
    let (ucs, machine) = (Ucs::usual(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    let wish = json!({"mode": "maintenance", "expires_in": "5s"});
    assert_eq!(admin::set_mode(&gateway, &wish).status, 200);
    machine.clock_is_ahead(-2 * HOUR);
    // Well over its five seconds by every other clock.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(ready(&gateway)["mode"], "maintenance", "by the clock it is not over");
    let jumped = Instant::now();
    machine.clock_is_ahead(2 * HOUR);
    while ready(&gateway)["mode"] != "production" {
        assert!(jumped.elapsed() < Duration::from_secs(30) + PATIENCE, "the jump was not seen: {}", ready(&gateway));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(admin::mode(&gateway)["actor"]["kind"], "expiry");
}

/// A mode that ended while the gateway was down ends when it is back.
#[test]
fn an_end_that_passed_while_it_was_down_is_seen_at_start() {
    let (ucs, machine) = (Ucs::usual(), Machine::new());
    let gateway = machine.start(ucs.address, &ALONE);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1h"})).status, 200);
    gateway.kill();
    machine.clock_is_ahead(2 * HOUR);
    let gateway = machine.start(ucs.address, &ALONE);
    eventually("the mode has ended", || ready(&gateway)["mode"] == "production");
    assert_eq!(admin::mode(&gateway)["actor"]["kind"], "expiry");
}
