//! `mode set --rehearse` in a fleet: what a flip would meet at every member, and that nothing changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::failures::status;
use super::rig::Fleet;
use crate::cli::mode;
use crate::support::{Connection, admin, eventually};

fn rehearsed(fleet: &Fleet, limit: &str) -> Value {
    let reply = fleet.change(0, json!({"mode": "maintenance", "rehearse": true, "drain_timeout": limit}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["rehearsal"]["fleet"].clone()
}

fn member<'r>(rehearsed: &'r Value, node: &str) -> &'r Value {
    rehearsed["members"].as_array().unwrap().iter().find(|member| member["node"] == node).unwrap()
}

#[test]
fn a_rehearsal_asks_every_member_and_refuses_no_request() {
    let Some(fleet) = Fleet::start(3) else { return };
    let before = admin::mode(fleet.gateway(0))["revision"].clone();
    let mut held = Connection::open(fleet.gateway(1).data);
    held.send("PUT /profiles/7 HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{");
    eventually("it is in flight", || admin::mode(fleet.gateway(1))["in_flight"]["production"] == 1);
    // At this member there is always a request in flight.
    fleet.members[2].ucs.control().set_delay(Duration::from_millis(200));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = StopOnDrop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_ne!(status(fleet.gateway(2), "production"), 503);
                }
            });
        }
        // On a busy machine a reply may come too late for a rehearsal.
        let mut busy = Value::Null;
        eventually("all have replied", || {
            busy = rehearsed(&fleet, "1s");
            busy["missing"] == json!([])
        });
        let (idle, waiting) = (member(&busy, "g0"), member(&busy, "g1"));
        assert_eq!((&busy["would_settle"], &idle["drained"]), (&json!(false), &json!(true)), "{busy}");
        let seen = (&waiting["drained"], &waiting["waits_for"][0]["class"]);
        assert_eq!(seen, (&json!(false), &json!("profile")), "{busy}");
        held.send("}");
        assert_eq!(held.read_reply().status, 404);
        let quiet = rehearsed(&fleet, "30s");
        assert_eq!((&quiet["would_settle"], &member(&quiet, "g2")["drained"]), (&json!(true), &json!(true)), "{quiet}");
    });
    assert_eq!(admin::mode(fleet.gateway(0))["revision"], before);
    // A reply that came too late is deleted after the next rehearsal.
    eventually("nothing stays in the store", || {
        rehearsed(&fleet, "1s");
        fleet.cluster.nodes[0].must_ctl(&["get", "fleet/rehears", "--prefix", "--keys-only"]).trim().is_empty()
    });
}

#[test]
fn a_rehearsal_names_the_members_that_do_not_reply() {
    let Some(mut fleet) = Fleet::start(3) else { return };
    fleet.take(2).kill();
    let text = mode(fleet.gateway(0), &["set", "maintenance", "--rehearse", "--drain-timeout", "1s"]).stdout;
    assert!(text.contains("the fleet would not settle it") && text.contains("g2            did not reply"), "{text}");
    fleet.run(2);
    fleet.agree("production");
    // A member that is closed by an operator would acknowledge, and stay closed.
    fleet.settles(0, "maintenance");
    assert_eq!(admin::call(fleet.gateway(1), "PUT /local", Some(&json!({"closed": true}))).status, 200);
    let text = mode(fleet.gateway(0), &["set", "production", "--rehearse"]).stdout;
    let closed = text.lines().find(|line| line.trim_start().starts_with("g1")).unwrap_or_default();
    assert!(text.contains("the fleet would settle it") && closed.ends_with("and stay closed: local_close"), "{text}");
    // Without the store there is nothing to say.
    fleet.cluster.nodes[0].kill();
    let reply = fleet.change(0, json!({"mode": "production", "rehearse": true, "drain_timeout": "1s"}));
    assert_eq!((reply.status, &reply.json()["reason"]), (503, &json!("store_unavailable")), "{}", reply.text());
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
