//! The failures that a flip of a fleet must survive, of gateways and of operators, each as it was met elsewhere: docs/fleet.md
//! has the table. Those of the store are in `store_failures`.

use std::time::Duration;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use super::rig::{Fleet, GRACE, shown};
use crate::support::{Connection, Gateway, PATIENCE, Reply, Upload, admin, eventually, request};

/// The status of a request of one mode at a member; 503 is a refusal.
pub fn status(gateway: &Gateway, mode: &str) -> u16 {
    let line = if mode == "production" { "PUT /profiles/1" } else { "DELETE /metadata/profiles/extensions/absent" };
    request(gateway.data, line, &[("Content-Type", "application/json")], b"{}").status
}

/// A flip that is asked for, and not yet answered.
pub fn ask(fleet: &Fleet, number: usize, change: &Value) -> Connection {
    let mut asked = Connection::open(fleet.gateway(number).admin);
    admin::begin(&mut asked, fleet.gateway(number), "PUT /mode", Some(change));
    asked
}

#[track_caller]
pub fn is_switching(fleet: &Fleet, number: usize) {
    eventually("it is switching", || admin::mode(fleet.gateway(number))["phase"] == "switching");
}

/// 504, because these members have not confirmed.
#[track_caller]
pub fn misses(reply: &Reply, nodes: &[&str]) {
    assert_eq!(reply.status, 504, "{}", reply.text());
    let problem = reply.json();
    assert_eq!((&problem["reason"], &problem["record"]["missing"]), (&json!("member_missing"), &json!(nodes)));
}

#[test]
fn a_member_that_stands_still_beyond_its_lease_keeps_a_flip_from_settling() {
    let Some(fleet) = Fleet::start(3) else { return };
    fleet.gateway(2).signal("STOP");
    eventually("its lease has ended", || {
        let view = fleet.view(0);
        view["members"].as_array().unwrap().iter().any(|member| member["node"] == "g2" && member["alive"] == false)
    });
    misses(&fleet.change(0, json!({"mode": "maintenance", "drain_timeout": "1s"})), &["g2"]);
    fleet.gateway(2).signal("CONT");
    fleet.agree("production");
    // Also in the middle of a flip: what it wakes up to.
    fleet.gateway(2).signal("STOP");
    let mut asked = ask(&fleet, 0, &json!({"mode": "maintenance", "drain_timeout": "30s"}));
    is_switching(&fleet, 1);
    assert_eq!(fleet.state(1, 2), "missing");
    fleet.gateway(2).signal("CONT");
    assert_eq!(asked.read_reply().status, 200);
    assert_eq!(status(fleet.gateway(2), "production"), 503, "settled: also at the one that stood still");
}

#[test]
fn the_asker_dies_in_the_middle_and_another_member_ends_the_flip() {
    let Some(mut fleet) = Fleet::start(3) else { return };
    let upload = Upload::begin(fleet.gateway(1), &fleet.members[1].ucs);
    drop(ask(&fleet, 0, &json!({"mode": "maintenance", "drain_timeout": "60s"})));
    is_switching(&fleet, 2);
    fleet.take(0).kill();
    fleet.run(0);
    assert_eq!(upload.finish().status, 201);
    fleet.agree("maintenance");
    assert_eq!(status(fleet.gateway(0), "production"), 503);
}

/// Members before a UCS with a mode of its own each.
fn of_ucs_with_modes(members: usize, mode: &str, flags: &[&str]) -> Option<Fleet> {
    let mut fleet = Fleet::prepare((1, 0), &[])?;
    for _ in 0..members {
        fleet.add_before(StandInOptions::new(), flags);
    }
    fleet.must(&["init", "--mode", mode]);
    (0..members).for_each(|number| fleet.run(number));
    fleet.agree(mode);
    Some(fleet)
}

#[test]
fn a_member_whose_ucs_does_not_take_production_is_closed_alone_until_it_does() {
    let flags = ["--upstream-poll", "100ms", "--set-mode-timeout", "1s"];
    let Some(fleet) = of_ucs_with_modes(2, "maintenance", &flags) else { return };
    let slow = fleet.members[1].ucs.control();
    eventually("UCS is in maintenance", || slow.mode() == Mode::Maintenance);
    slow.set_holding_switches(true);
    let settled = fleet.settles(0, "production");
    assert_eq!(settled["mode"], "production");
    eventually("it is seen", || fleet.state(0, 1) == "narrowed");
    assert_eq!(admin::mode(fleet.gateway(1))["closed"], "upstream_behind");
    for mode in ["production", "maintenance"] {
        assert_eq!(status(fleet.gateway(1), mode), 503, "{mode}");
    }
    assert_ne!(status(fleet.gateway(0), "production"), 503);
    slow.set_holding_switches(false);
    eventually("it opens once its UCS has followed", || status(fleet.gateway(1), "production") != 503);
    assert_eq!((slow.mode(), status(fleet.gateway(1), "maintenance")), (Mode::Production, 503));
}

#[test]
fn a_flip_that_is_cancelled_sets_each_ucs_back_without_waiting_for_the_next_look() {
    let Some(mut fleet) = of_ucs_with_modes(3, "production", &["--upstream-poll", "10m"]) else { return };
    // The flip has to wait for a member that is gone, while UCS of the others is in the new mode.
    fleet.take(2).kill();
    let mut asked = ask(&fleet, 0, &json!({"mode": "maintenance", "drain_timeout": "60s"}));
    let all_in = |mode| fleet.members[..2].iter().all(|member| member.ucs.control().mode() == mode);
    eventually("UCS of both is in maintenance", || all_in(Mode::Maintenance));
    assert_eq!(fleet.flip(1, "production").status, 200);
    assert_eq!(asked.read_reply().status, 409);
    eventually("UCS of both is set back", || all_in(Mode::Production));
}

#[test]
fn every_ucs_with_a_mode_is_in_it_once_a_flip_has_settled() {
    let Some(fleet) = of_ucs_with_modes(3, "production", &["--upstream-poll", "10m"]) else { return };
    for (asked, mode) in [(0, Mode::Maintenance), (1, Mode::Production), (2, Mode::Maintenance)] {
        let settled = fleet.settles(asked, mode.as_str());
        assert!(fleet.members.iter().all(|member| member.ucs.control().mode() == mode), "{settled}");
        fleet.agree(mode.as_str());
    }
}

#[test]
fn two_askers_at_once_have_one_winner_and_both_are_told_the_truth() {
    let Some(fleet) = Fleet::start(3) else { return };
    for _ in 0..5 {
        let wanted = ["maintenance", "production"];
        let mut asked = [0, 1].map(|number| ask(&fleet, number, &json!({"mode": wanted[number]})));
        let replies = asked.each_mut().map(Connection::read_reply);
        let history = admin::call(fleet.gateway(2), "GET /mode/history", None).json();
        for (reply, mode) in replies.iter().zip(wanted).filter(|(reply, _)| reply.status == 200) {
            let told = reply.json();
            let entries = history["entries"].as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["record"]["revision"] == told["revision"]).unwrap();
            assert_eq!((&entry["record"]["mode"], &entry["record"]["phase"]), (&json!(mode), &json!("settled")));
        }
        assert!(replies.iter().any(|reply| reply.status == 200), "{:?}", replies.map(|reply| reply.text()));
        eventually("they agree", || {
            ["maintenance", "production"].iter().any(|mode| {
                let all: Vec<_> = (0..3).map(|number| shown(fleet.gateway(number), mode)).collect();
                all[0].is_some() && all.iter().all(|one| *one == all[0])
            })
        });
    }
}

#[test]
fn a_member_confirms_only_after_its_drain() {
    let Some(fleet) = Fleet::start(2) else { return };
    let upload = Upload::begin(fleet.gateway(1), &fleet.members[1].ucs);
    let mut asked = ask(&fleet, 0, &json!({"mode": "maintenance"}));
    is_switching(&fleet, 0);
    eventually("the other one has confirmed", || fleet.state(0, 0) == "acknowledged");
    assert_eq!(fleet.state(0, 1), "missing");
    assert_eq!(status(fleet.gateway(1), "production"), 503, "it is published there");
    assert_eq!(upload.finish().status, 201);
    assert_eq!(asked.read_reply().status, 200);
    eventually("it has confirmed too, and is alive", || fleet.state(0, 1) == "acknowledged");
}

#[test]
fn requests_in_every_stage_are_drained_at_every_member() {
    let Some(fleet) = Fleet::start(2) else { return };
    let (gateway, ucs) = (fleet.gateway(1), &fleet.members[1].ucs);
    ucs.control().set_holding(true);
    let mut clients: Vec<Connection> = Vec::new();
    for line in ["GET /profiles/1", "PUT /profiles/2", "DELETE /profiles/3", "GET /interactions/4"] {
        let mut client = Connection::open(gateway.data);
        client.send(format!("{line} HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{{}}"));
        clients.push(client);
    }
    ucs.in_flight_reaches(4);
    // A client that has left: its change goes on at UCS.
    drop(clients.remove(1));
    let mut asked = ask(&fleet, 0, &json!({"mode": "maintenance"}));
    is_switching(&fleet, 0);
    eventually("the other one has confirmed", || fleet.state(0, 0) == "acknowledged");
    assert_eq!(fleet.state(0, 1), "missing");
    ucs.control().set_holding(false);
    let settled = asked.read_reply();
    assert_eq!((settled.status, &settled.json()["drain"]), (200, &json!("complete")), "{}", settled.text());
    assert_eq!(ucs.in_flight(), 0, "settled means that UCS is done");
}

#[test]
fn a_name_belongs_to_one_state_directory() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    let claimant = fleet.add(&[]);
    fleet.members[claimant].name = "g0".to_owned();
    fleet.run(claimant);
    let ready = |fleet: &Fleet| request(fleet.gateway(claimant).admin, "GET /readyz", &[], b"").status;
    assert_eq!(ready(&fleet), 503);
    eventually("it says what to do", || {
        let reply = request(fleet.gateway(claimant).admin, "GET /readyz", &[], b"").json();
        reply["alarm"].as_str().is_some_and(|alarm| alarm.contains("fleet forget"))
    });
    assert_eq!(status(fleet.gateway(claimant), "production"), 503);
    // A request for a change there is refused at once, and is not made later either.
    let refused = fleet.flip(claimant, "production").json();
    let told = refused["detail"].as_str().is_some_and(|detail| detail.contains("belongs to another state directory"));
    assert!(refused["reason"] == "store_unavailable" && told, "{refused}");
    fleet.settles(0, "maintenance");
    assert_eq!(status(fleet.gateway(claimant), "maintenance"), 503);
    // Once the owner has left cleanly, the name is free.
    assert!(fleet.take(0).terminate(PATIENCE).success());
    eventually("it joins", || ready(&fleet) == 200);
    fleet.settles(1, "production");
    eventually("it serves", || status(fleet.gateway(claimant), "production") != 503);
}

#[test]
fn a_forgotten_member_that_returns_joins_anew() {
    let Some(mut fleet) = Fleet::start(3) else { return };
    fleet.take(2).kill();
    misses(&fleet.change(0, json!({"mode": "maintenance", "drain_timeout": "1s"})), &["g2"]);
    fleet.must(&["forget", "g2", "--stopped", "--orphan-grace", GRACE]);
    let record = fleet.settles(0, "maintenance");
    assert_eq!(record["drain"], "assumed");
    assert!(record["abandoned"].to_string().contains("g2"), "{record}");
    fleet.run(2);
    fleet.agree("maintenance");
    assert_eq!(status(fleet.gateway(2), "production"), 503);
    fleet.settles(2, "production");
    assert_eq!(fleet.settles(0, "maintenance")["drain"], "complete", "all that it left has ended by now");
}

#[test]
fn a_member_that_was_forgotten_although_it_runs_closes_and_joins_anew() {
    let Some(fleet) = Fleet::start(2) else { return };
    fleet.must(&["forget", "g1", "--stopped", "--orphan-grace", GRACE]);
    fleet.settles(0, "maintenance");
    eventually("it has joined anew, and shows the mode", || shown(fleet.gateway(1), "maintenance").is_some());
    fleet.agree("maintenance");
    assert_eq!(status(fleet.gateway(1), "production"), 503);
}

#[test]
fn an_expiry_flips_back_once() {
    let Some(fleet) = Fleet::start(3) else { return };
    let reply = fleet.change(1, json!({"mode": "maintenance", "expires_in": "1s"}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    fleet.agree("production");
    let history = admin::call(fleet.gateway(0), "GET /mode/history", None).json();
    let after = reply.json()["revision"].as_u64().unwrap();
    let entries = history["entries"].as_array().unwrap();
    let later = entries.iter().filter(|entry| entry["record"]["revision"].as_u64().unwrap() > after);
    assert_eq!(later.count(), 2, "one flip: {history}");
}

#[test]
fn a_scheduled_flip_is_made_although_the_member_that_was_asked_was_killed() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    let soon = jiff::Timestamp::now() + Duration::from_secs(5);
    let scheduled = fleet.change(0, json!({"mode": "maintenance", "at": soon.to_string()}));
    assert_eq!(scheduled.status, 202, "{}", scheduled.text());
    fleet.take(0).kill();
    eventually("the other one begins it", || admin::mode(fleet.gateway(1))["mode"] == "maintenance");
    fleet.run(0);
    fleet.agree("maintenance");
    let record = admin::mode(fleet.gateway(1));
    assert_eq!((&record["cause"], &record["scheduled"]), (&json!("scheduled"), &Value::Null), "{record}");
}

#[test]
fn members_of_two_versions_share_a_fleet() {
    let Some(fleet) = Fleet::start(2) else { return };
    let node = &fleet.cluster.nodes[0];
    let text = node.must_ctl(&["get", "fleet/member/g1", "--print-value-only"]);
    let mut entry: Value = serde_json::from_str(text.trim()).unwrap();
    // A later version adds what this one does not know, to its entry and to the record.
    entry["of_a_later_version"] = json!({"a": 1});
    node.must_ctl(&["put", "fleet/member/g9", &entry.to_string()]);
    assert_eq!(fleet.change(0, json!({"mode": "maintenance", "drain_timeout": "1s"})).status, 504, "it counts");
    node.must_ctl(&["del", "fleet/member/g9"]);
    let text = node.must_ctl(&["get", "fleet/mode", "--print-value-only"]);
    let mut record: Value = serde_json::from_str(text.trim()).unwrap();
    record["of_a_later_version"] = json!(2);
    node.must_ctl(&["put", "fleet/mode", &record.to_string()]);
    fleet.settles(0, "maintenance");
    fleet.agree("maintenance");
    let text = node.must_ctl(&["get", "fleet/mode", "--print-value-only"]);
    assert_eq!(serde_json::from_str::<Value>(text.trim()).unwrap()["of_a_later_version"], 2);
}

/// The time in which all agree after a link is whole again, for docs/fleet.md.
pub const CONVERGED: Duration = Duration::from_secs(5);
