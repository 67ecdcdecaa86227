//! Files in place of the right ones: a folder, five gigabytes, one that hangs. What was read before stays
//! in force, the fault is told, and nothing else is held up.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use ucs_gateway::access::token_hash_hex;
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use crate::machine::shim::Machine;
use crate::support::{Gateway, PATIENCE, TempDir, Ucs, eventually, request};

const SHIPPED: &str = include_str!("../../routes.yaml");
const TOKEN: &str = "operator-token";

/// A gateway with all of its files, in front of a UCS that wants a login.
struct Rig {
    ucs: Ucs,
    dir: TempDir,
    machine: Machine,
    gateway: Gateway,
}

/// The names of the files in `/readyz` and in metrics, with the names on the disk.
const FILES: [(&str, &str); 3] =
    [("routes", "routes.yaml"), ("access", "access.yaml"), ("upstream_credentials", "login")];

/// What may stand in the place of a file.
const FORMS: [&str; 9] = [
    "a folder",
    "five gigabytes",
    "nothing",
    "no text",
    "a FIFO",
    "a socket",
    "a device",
    "a dangling link",
    "a loop of links",
];

impl Rig {
    fn new(flags: &[&str]) -> Rig {
        let login = Some(("ada".to_owned(), "secret".to_owned()));
        let ucs = Ucs::start(StandInOptions { login, initial_mode: Mode::Maintenance, ..StandInOptions::new() });
        let dir = TempDir::new();
        dir.file("routes.yaml", SHIPPED);
        let hash = token_hash_hex(TOKEN);
        let principals = format!("version: 1\nprincipals:\n  - {{name: operator, token_sha256: {hash}, permissions: ");
        dir.file("access.yaml", &(principals + "['mode:read', 'mode:set', 'routes:reload']}\n"));
        dir.secret("login", "ada:secret\n");
        let machine = Machine::new();
        let gateway = machine.start(ucs.address, &Rig::flags(dir.path(), flags));
        Rig { ucs, dir, machine, gateway }
    }

    fn flags<'a>(dir: &Path, flags: &[&'a str]) -> Vec<&'a str> {
        let named = [("--routes", 0), ("--access", 1), ("--upstream-credentials", 2)];
        let path = |at: usize| &*dir.join(FILES[at].1).to_str().unwrap().to_owned().leak();
        let named = named.into_iter().flat_map(|(flag, at)| [flag, path(at)]);
        named.chain(["--orphan-grace", "50ms", "--upstream-poll", "50ms"]).chain(flags.iter().copied()).collect()
    }

    fn call(&self, line: &str, body: &str) -> crate::support::Reply {
        let credential = format!("Bearer {TOKEN}");
        let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
        request(self.gateway.admin, line, &headers, body.as_bytes())
    }

    fn faults(&self) -> Value {
        request(self.gateway.admin, "GET /readyz", &[], b"").json()["file_faults"].clone()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.call("GET /metrics", "").text();
        let series = format!("ucs_gateway_file_fault{{file=\"{name}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("{name} is no series of {text}")).parse().unwrap()
    }

    /// What is in force works: a route, a principal, and the login.
    fn works(&self) {
        for mode in ["production", "maintenance"] {
            let settled = self.call("PUT /mode", &json!({"mode": mode}).to_string());
            assert_eq!(settled.status, 200, "{}", settled.text());
        }
        assert_eq!(self.ucs.control().mode(), Mode::Maintenance);
    }
}

/// Puts something else in the place of a file, and returns how to put the file back.
fn replaced(path: &Path, form: &str) -> impl FnOnce() + use<> {
    let kept = path.with_extension("kept");
    fs::rename(path, &kept).unwrap();
    match form {
        "a folder" => fs::create_dir(path).unwrap(),
        "five gigabytes" => {
            File::create(path).unwrap().set_len(5 << 30).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        "nothing" => {}
        "no text" => {
            fs::write(path, [0xff; 100]).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        "a FIFO" => assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success()),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a device" => symlink("/dev/zero", path).unwrap(),
        "a dangling link" => symlink("/nowhere/file", path).unwrap(),
        "a loop of links" => symlink(path, path).unwrap(),
        other => panic!("{other}"),
    }
    let path = path.to_owned();
    move || {
        match path.symlink_metadata() {
            Ok(other) if other.is_dir() => fs::remove_dir(&path).unwrap(),
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
        fs::rename(kept, path).unwrap();
    }
}

#[test]
fn whatever_is_in_the_place_of_a_file_changes_nothing_and_is_told() {
    let rig = Rig::new(&[]);
    rig.works();
    let before = rig.gateway.peak_kib();
    for (name, file) in FILES {
        for form in FORMS {
            let put_back = replaced(&rig.dir.path().join(file), form);
            let refused = rig.call("POST /routes/reload", "");
            let reason = match name {
                "routes" => "route_faults",
                "access" => "access_faults",
                _ => "file_faults",
            };
            let told = refused.json();
            assert_eq!((refused.status, &told["reason"]), (422, &json!(reason)), "{name}, {form}: {told}");
            let faults = rig.faults();
            assert_eq!(faults.as_object().unwrap().keys().collect::<Vec<_>>(), [name], "{form}");
            assert!(faults[name].as_str().unwrap().contains(file), "{name}, {form}: {faults}");
            assert_eq!(rig.metric(name), 1.0, "{name}, {form}");
            rig.works();
            put_back();
            assert_eq!(rig.call("POST /routes/reload", "").status, 200, "{name}, after {form}");
            assert_eq!((rig.faults(), rig.metric(name)), (json!({}), 0.0), "{name}, after {form}");
        }
    }
    let grown = rig.gateway.peak_kib() - before;
    assert!(grown < 200 << 10, "it grew by {grown} KiB: no gigabyte was read");
}

#[test]
fn nothing_starts_with_something_else_in_the_place_of_a_file() {
    let rig = Rig::new(&[]);
    for (_, file) in FILES {
        for form in FORMS {
            let put_back = replaced(&rig.dir.path().join(file), form);
            let other = rig.dir.path().join("other");
            let started = Gateway::try_start_in(&other, rig.ucs.address, &Rig::flags(rig.dir.path(), &[]));
            let (status, log) = started.err().unwrap_or_else(|| panic!("{file} as {form}: it started"));
            assert_eq!(status.code(), Some(2), "{file}, {form}: {log:?}");
            assert!(log.join("\n").contains(file), "{file}, {form}: {log:?}");
            put_back();
        }
    }
}

#[test]
fn a_login_that_cannot_be_read_to_its_end_holds_up_nothing() {
    let rig = Rig::new(&[]);
    rig.machine.opening_hangs(&rig.dir.path().join("login"));
    rig.gateway.signal("HUP");
    rig.works();
    eventually("it is given up", || rig.faults()["upstream_credentials"].as_str().is_some());
    assert!(rig.faults()["upstream_credentials"].as_str().unwrap().contains("10s"), "{}", rig.faults());
    rig.works();
    rig.machine.nothing_hangs();
    assert_eq!(rig.call("POST /routes/reload", "").status, 200, "the file is read");
    assert_eq!(rig.faults(), json!({}));
    rig.machine.opening_hangs(&rig.dir.path().join("login"));
    rig.gateway.signal("HUP");
    rig.works();
    assert!(rig.gateway.terminate(PATIENCE).success(), "a stop does not wait for the file");
}

/// Takes as long as a reading of the table may.
#[test]
fn a_table_in_the_place_of_one_that_cannot_be_read_to_its_end_comes_into_force() {
    if std::env::var_os("UCS_GATEWAY_FULL").is_none() {
        return;
    }
    let rig = Rig::new(&[]);
    rig.machine.opening_hangs(&rig.dir.path().join("routes.yaml"));
    assert_eq!(rig.call("POST /routes/reload", "").status, 422);
    rig.machine.nothing_hangs();
    assert_eq!(rig.call("POST /routes/reload", "").status, 200);
    assert_eq!(rig.faults(), json!({}));
}

#[test]
fn a_file_that_arrives_slowly_comes_into_force() {
    let rig = Rig::new(&[]);
    rig.machine.opening_hangs(rig.dir.path());
    rig.gateway.signal("HUP");
    rig.works();
    // In the order in which they are read.
    for at in [2, 0] {
        rig.machine.opening_hangs(&rig.dir.path().join(FILES[at].1));
        rig.works();
    }
    assert!(!rig.gateway.log().contains("route table reloaded"), "the table hangs");
    rig.machine.nothing_hangs();
    eventually("all were read", || rig.gateway.log().contains("\"message\":\"route table reloaded\""));
    assert_eq!(rig.faults(), json!({}));
    rig.works();
}

/// As after a change of the password at UCS.
#[test]
fn a_new_login_for_ucs_is_used_without_a_restart() {
    for watch in [false, true] {
        let rig = Rig::new(if watch { &["--watch-files"] } else { &[] });
        rig.works();
        rig.dir.secret("login", "ada:wrong\n");
        if !watch {
            rig.gateway.signal("HUP");
        }
        let alarm = || request(rig.gateway.admin, "GET /readyz", &[], b"").json()["alarm"].clone();
        eventually("the wrong login is an alarm", || {
            alarm().as_str().is_some_and(|alarm| alarm.contains("--upstream-credentials"))
        });
        rig.dir.secret("login", "ada:secret\n");
        if !watch {
            assert_eq!(rig.call("POST /routes/reload", "").status, 200);
        }
        eventually("the right login ends it", || alarm() == json!(null));
        rig.works();
        for secret in ["secret", "wrong"] {
            assert!(!rig.gateway.log().contains(&format!("ada:{secret}")), "a login is no matter for the log");
        }
    }
}

/// Also of the files that the gateway writes itself: no start waits for a pipe, or takes a device for a record.
#[test]
fn nothing_starts_with_something_else_in_the_place_of_a_state_file() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let state = dir.path().join("state");
    let gateway = Gateway::start_in(&state, ucs.address, &[]);
    assert!(gateway.terminate(PATIENCE).success());
    for file in ["lock", "mode.json", "journal.jsonl", "local.json", "bypasses.json", "upstream-seen", "admin.token"] {
        let path = state.join(file);
        let had_one = path.exists();
        for form in ["a folder", "a FIFO", "a socket", "a device", "a dangling link", "a loop of links"] {
            if !path.exists() {
                fs::write(&path, "").unwrap();
            }
            let put_back = replaced(&path, form);
            let started = Gateway::try_start_in(&state, ucs.address, &[]);
            let (status, log) = started.err().unwrap_or_else(|| panic!("{file} as {form}: it started"));
            let told = log.join("\n");
            assert_eq!(status.code(), Some(2), "{file}, {form}: {told}");
            assert!(told.contains(path.to_str().unwrap()) && told.contains("; remove it"), "{file}, {form}: {told}");
            put_back();
        }
        if !had_one {
            fs::remove_file(&path).unwrap();
        }
    }
    drop(Gateway::start_in(&state, ucs.address, &[]));
}
