//! What operators see of a fleet: `GET /fleet`, `fleet list`, metrics.

use std::time::Instant;

use serde_json::{Value, json};

use super::rig::Fleet;
use crate::support::{Connection, Gateway, Ucs, admin, eventually};

#[test]
fn a_gateway_alone_is_in_no_fleet() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let reply = admin::call(&gateway, "GET /fleet", None);
    assert_eq!((reply.status, &reply.json()["reason"]), (404, &json!("no_fleet")));
    assert!(!admin::call(&gateway, "GET /metrics", None).text().contains("ucs_gateway_fleet_"));
}

fn member<'v>(view: &'v Value, node: &str) -> &'v Value {
    view["members"].as_array().unwrap().iter().find(|member| member["node"] == node).unwrap()
}

#[test]
fn every_member_shows_every_member() {
    let Some(fleet) = Fleet::start(3) else { return };
    let record = fleet.settles(1, "maintenance");
    fleet.agree("maintenance");
    eventually("all members are told alike by all", || {
        (0..3).all(|asked| {
            let view = fleet.view(asked);
            let all = ["g0", "g1", "g2"].iter().all(|node| {
                let member = member(&view, node);
                member["state"] == "acknowledged" && member["alive"] == true && member["revision"] == record["revision"]
            });
            all && view["node"] == format!("g{asked}") && view["store_reachable"] == true
        })
    });
    let view = fleet.view(0);
    let one = member(&view, "g2");
    assert_eq!(one["acknowledged"]["revision"].as_u64().unwrap() + 1, record["revision"].as_u64().unwrap());
    assert_eq!(one["acknowledged"]["drain"], "complete");
    assert_eq!(
        (one["version"].as_str(), one["routes"].as_str().map(str::len)),
        (Some(env!("CARGO_PKG_VERSION")), Some(64))
    );
    assert!(one["last_seen"].is_string() && view["alarms"] == json!([]), "{view}");
    let listed = fleet.must(&["list"]);
    assert!(listed.starts_with("maintenance, revision"), "{listed}");
    assert_eq!(listed.lines().filter(|line| line.contains("acknowledged")).count(), 3, "{listed}");
    let metric = |series: &str| admin::metric(fleet.gateway(0), series);
    assert_eq!(metric("ucs_gateway_fleet_members{state=\"acknowledged\"}"), 3.0);
    assert_eq!(metric("ucs_gateway_fleet_members{state=\"missing\"}"), 0.0);
    assert_eq!((metric("ucs_gateway_fleet_store_reachable"), metric("ucs_gateway_fleet_routes_differ")), (1.0, 0.0));
}

#[test]
fn a_member_that_drains_is_missing_and_tells_what_it_waits_for() {
    let Some(fleet) = Fleet::start(2) else { return };
    let mut held = Connection::open(fleet.gateway(1).data);
    held.send("PUT /profiles/7 HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{");
    eventually("it is in flight", || admin::mode(fleet.gateway(1))["in_flight"]["production"] == 1);
    let mut asked = Connection::open(fleet.gateway(0).admin);
    admin::begin(&mut asked, fleet.gateway(0), "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("it is named, with what it waits for", || {
        let view = fleet.view(0);
        let (waiting, other) = (member(&view, "g1"), member(&view, "g0"));
        let waits_for = &waiting["waits_for"][0];
        waiting["state"] == "missing" && other["state"] == "acknowledged" && waits_for["class"] == "profile"
    });
    let others_are_done = Instant::now();
    assert!(fleet.must(&["list"]).contains("missing"));
    let held_for = others_are_done.elapsed().as_millis();
    held.send("}");
    assert_eq!(held.read_reply().status, 404);
    let reply = asked.read_reply();
    assert_eq!(reply.status, 200);
    let drain = reply.json()["report"]["drain_ms"].as_u64().unwrap();
    assert!(u128::from(drain) >= held_for, "the drain of the fleet: {drain} ms, at least {held_for} ms");
    eventually("both have confirmed", || [0, 1].iter().all(|&number| fleet.state(1, number) == "acknowledged"));
}

#[test]
fn a_store_that_is_away_is_told_with_the_last_known_fleet() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    let known = fleet.view(0);
    fleet.cluster.nodes[0].kill();
    eventually("it is told", || fleet.view(0)["store_reachable"] == false);
    let view = fleet.view(0);
    assert_eq!((&view["record"], &view["read_at"].is_string()), (&known["record"], &true));
    eventually("also by the metric", || admin::metric(fleet.gateway(0), "ucs_gateway_fleet_store_reachable") == 0.0);
    fleet.cluster.nodes[0].start();
    eventually("it is back", || fleet.view(0)["store_reachable"] == true);
}

#[test]
fn route_tables_that_differ_show_for_each_member() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    let other = fleet.dir.path().join("routes.yaml");
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml")).unwrap();
    std::fs::write(&other, text + "\n# Another one.\n").unwrap();
    let other = other.display().to_string();
    let number = fleet.add(&["--routes", &other]);
    fleet.run(number);
    eventually("the fingerprints differ", || {
        let view = fleet.view(0);
        view["members"].as_array().unwrap().len() == 3 && member(&view, "g2")["routes"] != member(&view, "g0")["routes"]
    });
    // An alarm only after a minute: see control::fleet::view.
    assert_eq!(fleet.view(0)["routes_differ"], false);
}

/// An alarm is due after a minute, and is seen with `UCS_GATEWAY_FULL=1`.
#[test]
fn a_reload_at_one_member_shows_at_another_without_a_flip() {
    let Some(mut fleet) = Fleet::start(1) else { return };
    let routes = fleet.dir.path().join("routes.yaml");
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml")).unwrap();
    std::fs::write(&routes, &text).unwrap();
    let number = fleet.add(&["--routes", &routes.display().to_string()]);
    fleet.run(number);
    let routes_of = |fleet: &Fleet, node| member(&fleet.view(0), node)["routes"].clone();
    fleet.agree("production");
    assert_eq!(routes_of(&fleet, "g0"), routes_of(&fleet, "g1"));
    std::fs::write(&routes, text.clone() + "\n# Another one.\n").unwrap();
    let reload = || assert_eq!(admin::call(fleet.gateway(number), "POST /routes/reload", Some(&json!({}))).status, 200);
    reload();
    eventually("the fingerprints differ", || routes_of(&fleet, "g0") != routes_of(&fleet, "g1"));
    if std::env::var_os("UCS_GATEWAY_FULL").is_some() {
        std::thread::sleep(std::time::Duration::from_secs(60));
        let alarm = || fleet.view(0)["alarms"].to_string().contains("different route tables");
        eventually("it is an alarm", || fleet.view(0)["routes_differ"] == true && alarm());
        eventually("by the metric too", || admin::metric(fleet.gateway(0), "ucs_gateway_fleet_routes_differ") == 1.0);
    }
    std::fs::write(&routes, &text).unwrap();
    reload();
    eventually("they are the same again", || {
        routes_of(&fleet, "g0") == routes_of(&fleet, "g1") && fleet.view(0)["routes_differ"] == false
    });
}
