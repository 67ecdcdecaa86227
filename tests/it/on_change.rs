//! `--on-change`: what the program is told, and that no program, however it behaves, delays a flip or is started twice at
//! a time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::{Gateway, PATIENCE, TempDir, Ucs, Upload, admin, eventually};

const ALONE: [&str; 6] = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];

/// A gateway that starts a shell script, which runs in `dir`.
struct Rig {
    ucs: Ucs,
    dir: TempDir,
    script: PathBuf,
}

impl Rig {
    fn new(script: &str) -> Rig {
        let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
        let dir = TempDir::new();
        let text = format!("#!/bin/sh\ncd '{}' || exit 1\n{script}\n", dir.path().display());
        let script = dir.file("script", &text);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Rig { ucs, dir, script }
    }

    fn start(&self, limit: &str) -> Gateway {
        let script = self.script.to_str().unwrap();
        let program = ["--on-change", script, "--on-change-timeout", limit, "--stop-timeout", "1h"];
        Gateway::start_in(&self.dir.path().join("state"), self.ucs.address, &[&ALONE[..], &program].concat())
    }

    /// The whole lines of a file that the script writes.
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A flip that settles: within any patience, as no program does that hangs.
#[track_caller]
fn set(gateway: &Gateway, mode: &str) -> Value {
    let reply = admin::set_mode(gateway, &json!({"mode": mode}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn runs(gateway: &Gateway, outcome: &str) -> f64 {
    admin::metric(gateway, &format!("ucs_gateway_on_change_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn it_is_told_of_what_settled_what_was_reverted_and_of_alarms() {
    let rig = Rig::new("cat >> told");
    let gateway = rig.start("30s");
    let settled = set(&gateway, "maintenance");
    eventually("the first run", || runs(&gateway, "ok") == 1.0);
    let told = rig.lines("told");
    assert_eq!(told.len(), 1, "a flip is told once, when it has ended: {told:?}");
    for name in ["revision", "mode", "phase", "since", "actor", "drain", "in_flight", "alarm"] {
        assert_eq!(told[0].get(name), settled.get(name), "{name}: {told:?}");
    }
    set(&gateway, "production");
    eventually("the second run", || runs(&gateway, "ok") == 2.0);
    let upload = Upload::begin(&gateway, &rig.ucs);
    let reverted = admin::set_mode(&gateway, &json!({"mode": "maintenance", "drain_timeout": "50ms"}));
    assert_eq!(reverted.status, 504, "{}", reverted.text());
    eventually("the third run", || runs(&gateway, "ok") == 3.0);
    let told = rig.lines("told").pop().unwrap();
    assert_eq!((&told["mode"], &told["phase"]), (&json!("production"), &json!("settled")), "{told}");
    assert_eq!(told["cause"], "drain_timeout");
    drop(upload);
    let noted = admin::set_mode(&gateway, &json!({"mode": "production", "reason": "only noted"}));
    assert_eq!(noted.status, 200);
    fs::remove_file(rig.dir.path().join("state/journal.jsonl")).unwrap();
    let noted = admin::set_mode(&gateway, &json!({"mode": "production", "reason": "noted again"}));
    assert_eq!(noted.status, 200);
    eventually("the alarm is told", || runs(&gateway, "ok") == 4.0);
    let told = rig.lines("told");
    assert_eq!((told.len(), &told[3]["reason"]), (4, &json!("noted again")), "{told:?}");
    assert!(told[3]["alarm"].as_str().unwrap().contains("journal.jsonl"), "{told:?}");
    assert_eq!(runs(&gateway, "error"), 0.0);
}

#[test]
fn one_runs_at_a_time_and_of_the_events_meanwhile_the_newest_is_told() {
    let rig = Rig::new("mkdir running || echo '{}' >> twice\ncat >> told\nsleep 0.5\nrmdir running");
    let gateway = rig.start("30s");
    let mut last = Value::Null;
    for _ in 0..5 {
        set(&gateway, "maintenance");
        last = set(&gateway, "production");
    }
    let newest = || rig.lines("told").pop().is_some_and(|told| told["revision"] == last["revision"]);
    eventually("the newest is told", newest);
    assert_eq!(rig.lines("twice"), Vec::<Value>::new(), "one at a time");
    let revisions: Vec<_> = rig.lines("told").iter().map(|told| told["revision"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
}

#[test]
fn one_that_hangs_is_killed_and_counted_and_delays_nothing() {
    let rig = Rig::new("echo $$ >> pids\nexec sleep 600");
    let gateway = rig.start("300ms");
    set(&gateway, "maintenance");
    set(&gateway, "production");
    eventually("it was killed", || runs(&gateway, "error") >= 1.0);
    eventually("it is logged", || gateway.log().contains("was killed"));
    set(&gateway, "maintenance");
    let count = rig.lines("pids").len();
    eventually("the next event starts it again", || rig.lines("pids").len() > count.min(1));
    eventually("none is left", || {
        let is_there = |pid: &Value| PathBuf::from(format!("/proc/{pid}")).exists();
        !rig.lines("pids").iter().any(is_there)
    });
}

#[test]
fn what_a_script_that_hangs_has_started_is_killed_with_it() {
    let rig = Rig::new("sleep 600 &\necho $! >> pids\nsleep 600\ntrue");
    let gateway = rig.start("300ms");
    set(&gateway, "maintenance");
    eventually("it was killed", || runs(&gateway, "error") == 1.0);
    eventually("none is left", || {
        let pids = rig.lines("pids");
        !pids.is_empty() && !pids.iter().any(|pid| PathBuf::from(format!("/proc/{pid}/exe")).exists())
    });
}

#[test]
fn one_that_hangs_does_not_hold_a_stop() {
    let rig = Rig::new("echo $$ >> pids\nexec sleep 120");
    let gateway = rig.start("1h");
    set(&gateway, "maintenance");
    set(&gateway, "production");
    eventually("it runs", || !rig.lines("pids").is_empty());
    assert!(gateway.terminate(PATIENCE).success());
}

#[test]
fn one_that_fails_or_is_missing_is_counted_and_said() {
    let rig = Rig::new("exit 3");
    let gateway = rig.start("30s");
    set(&gateway, "maintenance");
    eventually("it was counted", || runs(&gateway, "error") == 1.0);
    eventually("it was said", || gateway.log().contains("failed: exit status: 3"));
    fs::remove_file(&rig.script).unwrap();
    set(&gateway, "production");
    eventually("it was counted", || runs(&gateway, "error") == 2.0);
    eventually("it was said", || gateway.log().contains("cannot be started: No such file"));
    fs::write(&rig.script, "#!/bin/sh\n").unwrap();
    set(&gateway, "maintenance");
    eventually("a file that is no program was counted", || runs(&gateway, "error") == 3.0);
    eventually("it was said", || gateway.log().contains("cannot be started: Permission denied"));
}

/// A document larger than a pipe holds, for programs that do not read it.
#[test]
fn one_that_does_not_read_its_input_is_no_trouble() {
    let rig = Rig::new("exec 0<&-\nif [ -e hang ]; then exec sleep 600; fi");
    let mut gateway = rig.start("300ms");
    gateway.signal("TERM");
    assert!(gateway.exited(PATIENCE).success());
    let file = rig.dir.path().join("state/mode.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    record["of_a_newer_version"] = json!("x".repeat(400_000));
    fs::write(&file, record.to_string()).unwrap();
    let gateway = rig.start("300ms");
    set(&gateway, "maintenance");
    eventually("it has ended", || runs(&gateway, "ok") == 1.0);
    // This one keeps its input open.
    rig.dir.file("script", "#!/bin/sh\nexec sleep 600\n");
    set(&gateway, "production");
    eventually("it was killed", || runs(&gateway, "error") == 1.0);
    let threads = format!("/proc/{}/task", gateway.pid());
    eventually("no thread is left behind", || {
        let names = fs::read_dir(&threads).unwrap().flatten();
        let names = names.map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        !names.into_iter().any(|name| name.starts_with("on-change"))
    });
}
