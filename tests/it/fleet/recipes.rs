//! The recipes of docs/fleet.md, run as they stand there.

use std::process::Command;

use serde_json::json;

use super::failures::status;
use super::rig::{Fleet, shown};
use crate::support::etcd::pinned;
use crate::support::{Gateway, PATIENCE, admin, eventually};

/// The blocks of commands below a heading.
fn blocks(heading: &str) -> Vec<&'static str> {
    let page = include_str!("../../../docs/fleet.md");
    let section = page.split(&format!("### {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let section = section.split("\n### ").next().unwrap();
    section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// Runs a block with these variables; it must succeed. Its output.
#[track_caller]
fn paste(block: &str, variables: &[(&str, &str)]) -> String {
    let programs = format!(
        "set -e; export ETCDCTL_API=3; ucs-gateway() {{ {} \"$@\"; }}; etcdctl() {{ {} \"$@\"; }}; etcdutl() {{ {} \"$@\"; }}\n",
        env!("CARGO_BIN_EXE_ucs-gateway"),
        pinned("etcdctl").display(),
        pinned("etcdutl").display()
    );
    let mut shell = Command::new("bash");
    let run = shell.args(["-c", &(programs + block)]).envs(variables.iter().copied()).output().unwrap();
    assert!(run.status.success(), "{block}{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn gateways_with_files_become_a_fleet_and_gateways_with_files_again() {
    let Some(mut fleet) = Fleet::prepare((1, 2), &[]) else { return };
    let url = fleet.url();
    let alone = |fleet: &Fleet, number: usize| {
        let member = &fleet.members[number];
        let flags = ["--initial-mode", "production", "--upstream-mode", "off", "--schema-probe", "off"];
        Gateway::start_in(&member.state, member.ucs.address, &flags)
    };
    for number in [0, 1] {
        let gateway = alone(&fleet, number);
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "before"})).status, 200);
        assert!(gateway.terminate(PATIENCE).success());
    }
    let state = fleet.members[0].state.display().to_string();
    let [found] = blocks("From files to etcd")[..] else { panic!("one block") };
    paste(found, &[("STORE", &url), ("STATE", &state)]);
    for number in [0, 1] {
        fleet.run(number);
        eventually("it is in the mode", || shown(fleet.gateway(number), "maintenance").is_some());
        assert_eq!(status(fleet.gateway(number), "production"), 503);
    }
    assert_eq!(admin::mode(fleet.gateway(1))["reason"], "before");
    fleet.settles(1, "production");
    let revision = fleet.settles(0, "maintenance")["revision"].clone();
    fleet.stop();
    let [export] = blocks("From etcd to files")[..] else { panic!("one block") };
    for number in [0, 1] {
        let new = fleet.dir.path().join(format!("new-{number}"));
        paste(export, &[("STORE", &url), ("NEW_STATE", &new.display().to_string())]);
        fleet.members[number].state = new;
        let gateway = alone(&fleet, number);
        let record = admin::mode(&gateway);
        assert_eq!((&record["mode"], &record["revision"]), (&json!("maintenance"), &revision));
        assert_eq!(status(&gateway, "production"), 503);
    }
}

#[test]
fn a_backup_is_restored() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    let [backup, restore, decide] = blocks("Back up and restore etcd")[..] else { panic!("three blocks") };
    let in_dir = |name: &str| fleet.dir.path().join(name).display().to_string();
    let (snapshot, data, url) = (in_dir("snapshot"), in_dir("restored"), fleet.url());
    let endpoint = fleet.cluster.nodes[0].client.to_string();
    paste(backup, &[("ENDPOINT", &endpoint), ("SNAPSHOT", &snapshot)]);
    fleet.settles(0, "maintenance");
    let highest = fleet.settles(0, "production")["revision"].to_string();
    let peer = fleet.cluster.nodes[0].peer().to_owned();
    paste(restore, &[("SNAPSHOT", &snapshot), ("DATA", &data), ("PEER", &peer), ("NEW_TOKEN", "restored")]);
    let dir = fleet.dir.path().to_owned();
    fleet.cluster.nodes[0].use_data(data.as_ref(), &dir);
    for number in [0, 1] {
        eventually("it closes", || status(fleet.gateway(number), "production") == 503);
    }
    let told = paste(decide, &[("STORE", &url), ("HIGHEST", &highest)]);
    assert!(told.contains("the fleet is in maintenance"), "{told}");
    eventually("all are in the mode that was decided", || {
        [0, 1].iter().all(|&number| status(fleet.gateway(number), "maintenance") == 404)
    });
    fleet.settles(1, "production");
}
