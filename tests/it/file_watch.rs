//! `--watch-files`: the ways in which editors, deployments and Kubernetes replace a file, and files that must not be read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use ucs_gateway::access::token_hash_hex;

use crate::support::{Gateway, PATIENCE, Scripted, TempDir, admin, eventually, request};

const SHIPPED: &str = include_str!("../../routes.yaml");

/// The shipped table with a route more.
fn with_route(path: &str) -> String {
    format!("{SHIPPED}\n  - operation: Added\n    method: GET\n    path: {path}\n    class: server\n")
}

/// A gateway with a route table of its own.
struct Rig {
    _ucs: Scripted,
    dir: TempDir,
    gateway: Gateway,
}

impl Rig {
    fn new(flags: &[&str]) -> Rig {
        let (ucs, dir) = (Scripted::ok(), TempDir::new());
        let file = dir.file("routes.yaml", SHIPPED);
        let gateway = Gateway::bare(ucs.address, &[&["--routes", file.to_str().unwrap()], flags].concat());
        Rig { _ucs: ucs, dir, gateway }
    }

    fn routes(&self) -> std::path::PathBuf {
        self.dir.path().join("routes.yaml")
    }

    /// Failed and successful reloads so far.
    fn reloads(&self) -> [f64; 2] {
        ["error", "ok"]
            .map(|outcome| admin::metric(&self.gateway, &format!("ucs_gateway_reload_total{{outcome=\"{outcome}\"}}")))
    }
}

#[track_caller]
fn comes_into_force(gateway: &Gateway, path: &str) {
    let line = format!("GET {path}");
    eventually("the new table is in force", || request(gateway.data, &line, &[], b"").status == 200);
}

fn is_routed(gateway: &Gateway, path: &str) -> bool {
    request(gateway.data, &format!("GET {path}"), &[], b"").refusal() != Some("unmatched")
}

#[test]
fn an_edit_in_place_and_a_rename_come_into_force_without_a_signal() {
    let rig = Rig::new(&["--watch-files"]);
    assert!(!is_routed(&rig.gateway, "/first"));
    fs::write(rig.routes(), with_route("/first")).unwrap();
    comes_into_force(&rig.gateway, "/first");
    let new = rig.dir.file("routes.yaml.new", &with_route("/second"));
    fs::rename(new, rig.routes()).unwrap();
    comes_into_force(&rig.gateway, "/second");
    assert!(!is_routed(&rig.gateway, "/first"));
    assert_eq!(rig.reloads(), [0.0, 2.0], "one for each content");
}

#[test]
fn a_broken_file_is_told_once_and_the_next_good_one_comes_into_force() {
    let rig = Rig::new(&["--watch-files"]);
    fs::write(rig.routes(), "version: 1\nroutes: [}\n").unwrap();
    eventually("the fault is counted", || rig.reloads() == [1.0, 0.0]);
    assert!(is_routed(&rig.gateway, "/profiles/1"), "the table in force stays");
    eventually("it is logged", || rig.gateway.log().contains("routes.yaml:2"));
    fs::remove_file(rig.routes()).unwrap();
    eventually("the missing file is counted", || rig.reloads() == [2.0, 0.0]);
    fs::write(rig.routes(), with_route("/repaired")).unwrap();
    comes_into_force(&rig.gateway, "/repaired");
    assert_eq!(rig.reloads(), [2.0, 1.0], "each was tried once");
}

/// A reload would open the pipe and wait for a writer, and every later reload for that.
#[test]
fn a_pipe_in_place_of_a_file_is_not_read() {
    let rig = Rig::new(&["--watch-files"]);
    fs::remove_file(rig.routes()).unwrap();
    assert!(Command::new("mkfifo").arg(rig.routes()).status().unwrap().success());
    eventually("it is said", || rig.gateway.log().contains("no regular file: not reloading"));
    fs::remove_file(rig.routes()).unwrap();
    fs::write(rig.routes(), with_route("/after")).unwrap();
    comes_into_force(&rig.gateway, "/after");
    assert!(rig.gateway.terminate(PATIENCE).success());
}

/// As the kubelet does it: a new folder, and a link to it that is renamed over the old one.
fn swap(volume: &Path, version: &str, name: &str, text: &str) {
    let folder = volume.join(version);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if !volume.join(name).exists() {
        symlink(format!("..data/{name}"), volume.join(name)).unwrap();
    }
}

#[test]
fn the_swapped_links_of_a_config_map_come_into_force() {
    let (ucs, dir) = (Scripted::ok(), TempDir::new());
    let (routes, access) = (dir.path().join("routes"), dir.path().join("access"));
    let principals = |token: &str| {
        let hash = token_hash_hex(token);
        format!("version: 1\nprincipals:\n  - {{name: operator, token_sha256: {hash}, permissions: ['mode:read']}}\n")
    };
    swap(&routes, "..1", "routes.yaml", SHIPPED);
    swap(&access, "..1", "access.yaml", &principals("old-token"));
    let paths = [routes.join("routes.yaml"), access.join("access.yaml")];
    let [table, people] = paths.each_ref().map(|path| path.to_str().unwrap());
    let gateway = Gateway::bare(ucs.address, &["--routes", table, "--access", people, "--watch-files"]);
    let status = |token: &str| {
        let credential = format!("Bearer {token}");
        request(gateway.admin, "GET /mode", &[("Authorization", &credential)], b"").status
    };
    assert_eq!((status("old-token"), is_routed(&gateway, "/swapped")), (200, false));
    swap(&routes, "..2", "routes.yaml", &with_route("/swapped"));
    comes_into_force(&gateway, "/swapped");
    swap(&access, "..2", "access.yaml", &principals("new-token"));
    // Not the new one first: each attempt before its time would count as a guess.
    eventually("the old principal is gone", || status("old-token") == 401);
    assert_eq!(status("new-token"), 200);
    swap(&access, "..3", "access.yaml", "version: 1\nprincipals: 7\n");
    let fault = || request(gateway.admin, "GET /readyz", &[], b"").json()["access_fault"].clone();
    eventually("the fault shows", || fault().as_str().is_some_and(|fault| fault.contains("access.yaml:2")));
    assert_eq!(status("new-token"), 200);
    swap(&access, "..4", "access.yaml", &principals("new-token"));
    eventually("the fault is gone", || fault() == json!(null));
}

#[test]
fn without_the_flag_no_file_is_watched() {
    let is_watching = |gateway: &Gateway| {
        let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().flatten();
        let mut names = tasks.map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.any(|name| name.trim() == "file-watch")
    };
    // A thread takes its name only when it first runs: after it was made, and maybe after the gateway is ready.
    let watching = Rig::new(&["--watch-files"]);
    eventually("the thread has its name", || is_watching(&watching.gateway));
    assert!(!is_watching(&Rig::new(&[]).gateway));
}
