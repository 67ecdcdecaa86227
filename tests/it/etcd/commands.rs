//! `ucs-gateway fleet …` against real etcd: from nothing, from a gateway's files and back, a member that is gone, a backup.

use std::process::Command;

use serde_json::{Value, json};

use super::{overwrite, read, texts, token_of};
use crate::support::etcd::{Cluster, Version, pinned, store};
use crate::support::{Gateway, PATIENCE, TempDir, Ucs, admin, tool};

/// Runs a command of the fleet.
fn fleet(url: &str, arguments: &[&str]) -> tool::Run {
    tool::run(&[&["fleet", "--store", url], arguments].concat())
}

#[track_caller]
fn must(url: &str, arguments: &[&str]) -> String {
    let run = fleet(url, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    run.stdout
}

#[track_caller]
fn refused(url: &str, arguments: &[&str], words: &str) {
    let run = fleet(url, arguments);
    assert_eq!(run.code, Some(1), "{arguments:?}: {}", run.stdout);
    assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
}

fn listed(url: &str) -> Value {
    serde_json::from_str(&must(url, &["list", "--json"])).unwrap()
}

#[test]
fn a_fleet_is_made_once_by_word_of_an_operator() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let url = cluster.url("fleet");
        refused(&url, &["list"], "run `ucs-gateway fleet init`");
        refused(&url, &["init"], "say --mode");
        assert_eq!(must(&url, &["init", "--mode", "maintenance"]), "the fleet is in maintenance, revision 1\n");
        refused(&url, &["init", "--mode", "production"], "exists already, at revision 1");
        let keys: Vec<String> = texts(&read(&cluster.store("fleet")).await).into_keys().collect();
        assert_eq!(keys, ["fleet", "mode"]);
        assert_eq!(
            must(&url, &["list"]),
            "maintenance, revision 1\nmember  state  revision  in flight  waits for  UCS  version  routes\n"
        );
        assert_eq!(listed(&url)["record"]["mode"], "maintenance");
    });
}

#[test]
fn a_gateways_record_goes_into_a_fleet_and_back_into_files() {
    for version in Version::available() {
        let (cluster, dir, ucs) = (Cluster::start(version, 1, &[]), TempDir::new(), Ucs::usual());
        let (url, state, back) = (cluster.url("fleet"), dir.path().join("state"), dir.path().join("back"));
        let gateway = Gateway::start_in(&state, ucs.address, &["--initial-mode", "production"]);
        admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "before the fleet"}));
        let before = admin::mode(&gateway);
        let path = state.display().to_string();
        refused(&url, &["init", "--from", &path], "in use by another process");
        assert!(gateway.terminate(PATIENCE).success());
        must(&url, &["init", "--from", &path]);
        let record = listed(&url)["record"].clone();
        assert_eq!((&record["mode"], &record["reason"]), (&before["mode"], &before["reason"]));
        assert_eq!(record["revision"].as_u64(), before["revision"].as_u64().map(|revision| revision + 1));
        let exported = back.display().to_string();
        must(&url, &["export", &exported]);
        refused(&url, &["export", &exported], "cannot write");
        let gateway = Gateway::start_in(&back, ucs.address, &[]);
        let after = admin::mode(&gateway);
        assert_eq!(
            (&after["mode"], &after["revision"], &after["alarm"]),
            (&json!("maintenance"), &record["revision"], &Value::Null)
        );
        assert_eq!(
            admin::call(&gateway, "GET /mode/history", None).json()["entries"][0]["record"]["reason"],
            "before the fleet"
        );
    }
}

fn entry(incarnation: &str) -> String {
    json!({"format": 1, "directory": "d", "incarnation": incarnation, "version": "1", "table": "t", "of_a_later_version": 1}).to_string()
}

#[test]
fn a_member_is_forgotten_only_as_it_was_seen() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let (url, store) = (cluster.url("fleet"), cluster.store("fleet"));
        must(&url, &["init", "--mode", "production"]);
        overwrite(&store, "member/a", &entry("1")).await;
        overwrite(&store, "member/b", &entry("2")).await;
        assert_eq!(
            tool::run(&["fleet", "--store", &url, "forget", "a"]).code,
            Some(2),
            "--stopped is the operator's word"
        );
        refused(&url, &["forget", "nobody", "--stopped", "--orphan-grace", "0s"], "no member");
        must(&url, &["forget", "a", "--stopped", "--orphan-grace", "0s"]);
        let there = texts(&read(&store).await);
        assert!(!there.contains_key("member/a") && there.contains_key("member/b"));
        let word: Value = serde_json::from_str(&there["forgotten/a"]).unwrap();
        assert_eq!((&word["incarnation"], &word["directory"]), (&json!("1"), &json!("d")));
        // It joins anew while its grace runs: it is not stopped.
        let forgetting = std::thread::spawn({
            let url = url.clone();
            move || fleet(&url, &["forget", "b", "--stopped", "--orphan-grace", "3s"])
        });
        let mut incarnation = 3;
        while !forgetting.is_finished() {
            overwrite(&store, "member/b", &entry(&incarnation.to_string())).await;
            incarnation += 1;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let run = forgetting.join().unwrap();
        assert!(run.code == Some(1) && run.stderr.contains("joined anew"), "{}", run.stderr);
        assert!(read(&store).await.values.contains_key("member/b"));
    });
}

#[test]
fn a_restored_backup_goes_on_above_all_that_members_have_seen() {
    let Some(version) = Version::available().into_iter().next_back() else { return };
    let (cluster, dir) = (Cluster::start(version, 1, &[]), TempDir::new());
    let url = cluster.url("fleet");
    must(&url, &["init", "--mode", "production"]);
    let (snapshot, data) = (dir.path().join("snapshot").display().to_string(), dir.path().join("data"));
    cluster.nodes[0].must_ctl(&["snapshot", "save", &snapshot]);
    let mut restoring = Command::new(pinned("etcdutl"));
    let peer = cluster.nodes[0].peer();
    restoring.args(["snapshot", "restore", &snapshot, "--name=n0", "--initial-cluster-token=restored"]);
    restoring.args([format!("--initial-cluster=n0={peer}"), format!("--initial-advertise-peer-urls={peer}")]);
    let restored = restoring.arg(format!("--data-dir={}", data.display())).output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let mut node = { cluster }.nodes.remove(0);
    node.use_data(&data, dir.path());
    assert_eq!(listed(&url)["is_home"], false);
    refused(&url, &["init"], "restored from a backup");
    must(&url, &["init", "--mode", "maintenance", "--above", "41"]);
    let listed = listed(&url);
    assert_eq!((&listed["is_home"], &listed["record"]["mode"]), (&json!(true), &json!("maintenance")));
    assert!(listed["record"]["revision"].as_u64().unwrap() > 41);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(token_of(&runtime.block_on(read(&store(&url))), "mode") > 0);
}
