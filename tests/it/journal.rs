//! The journal and the lock of a running gateway, of which another process takes hold: log rotation, an editor, an
//! operator who tidies up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::{Gateway, PATIENCE, TempDir, Ucs, admin, tool};

const ALONE: [&str; 6] = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];

/// A gateway whose journal has three lines.
struct Rig {
    ucs: Ucs,
    dir: TempDir,
    gateway: Gateway,
}

impl Rig {
    fn new() -> Rig {
        let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
        let dir = TempDir::new();
        let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        let rig = Rig { ucs, dir, gateway };
        rig.set("maintenance");
        assert_eq!(lines(&rig.journal()).len(), 3);
        rig
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal.jsonl")
    }

    /// Also the alarm afterwards.
    #[track_caller]
    fn set(&self, mode: &str) -> Option<String> {
        let reply = admin::set_mode(&self.gateway, &json!({"mode": mode}));
        assert_eq!((reply.status, &reply.json()["mode"]), (200, &json!(mode)), "{}", reply.text());
        admin::mode(&self.gateway)["alarm"].as_str().map(str::to_owned)
    }

    /// The files that were set aside.
    fn asides(&self) -> Vec<PathBuf> {
        let paths = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains(".aside-")).collect()
    }

    fn history(&self) -> crate::support::Reply {
        admin::call(&self.gateway, "GET /mode/history", None)
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"))).collect()
}

/// Does something to the journal; the next flip is in force, says so, and goes on in a sound file.
#[track_caller]
fn is_noticed(says: &str, asides: usize, harm: impl Fn(&Path)) {
    let mut rig = Rig::new();
    let journal = rig.journal();
    let last = lines(&journal).pop().unwrap();
    harm(&journal);
    let alarm = rig.set("production").expect("an alarm");
    assert!(alarm.contains("journal.jsonl") && alarm.contains(says), "{alarm}");
    assert!(alarm.contains(last["hash"].as_str().unwrap()), "the lost head is named: {alarm}");
    assert_eq!(rig.asides().len(), asides, "{:?}", rig.asides());
    let new = lines(&journal);
    assert_eq!((new.len(), &new[0]["continues"], &new[1]["continues"]), (2, &last["hash"], &Value::Null));
    assert_eq!(new[0]["record"]["journal_head"], last["hash"]);
    assert_eq!(rig.history().json()["entries"].as_array().unwrap().len(), 2);
    assert_eq!(admin::metric(&rig.gateway, "ucs_gateway_alarm"), 1.0);
    assert_eq!(rig.set("maintenance"), None, "the next change has answered the alarm");
    rig.gateway.signal("TERM");
    assert!(rig.gateway.exited(PATIENCE).success());
    let again = Gateway::start_in(rig.dir.path(), rig.ucs.address, &ALONE);
    let mode = admin::mode(&again);
    assert_eq!((&mode["mode"], &mode["alarm"]), (&json!("maintenance"), &Value::Null), "the new file is sound");
    assert_eq!(lines(&journal).len(), 4);
}

#[test]
fn a_journal_that_was_moved_goes_on_in_a_new_file_that_names_the_lost_head() {
    is_noticed("was moved or removed", 0, |journal| fs::rename(journal, journal.with_extension("1")).unwrap());
}

#[test]
fn a_journal_that_was_rotated_goes_on_in_the_file_that_was_made() {
    is_noticed("was replaced", 0, |journal| {
        fs::rename(journal, journal.with_extension("1")).unwrap();
        File::create_new(journal).unwrap();
    });
}

#[test]
fn a_copy_in_place_of_the_journal_is_set_aside() {
    is_noticed("was replaced", 1, |journal| {
        fs::rename(journal, journal.with_extension("1")).unwrap();
        fs::copy(journal.with_extension("1"), journal).unwrap();
    });
}

#[test]
fn a_journal_that_was_truncated_goes_on_without_a_hole() {
    is_noticed("was cut from", 0, |journal| drop(File::create(journal).unwrap()));
}

#[test]
fn a_journal_that_was_cut_in_a_line_is_set_aside() {
    is_noticed("was cut from", 1, |journal| {
        let file = File::options().write(true).open(journal).unwrap();
        file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    });
}

#[test]
fn a_line_of_another_process_is_kept_and_not_cut_off() {
    is_noticed("by another process", 1, |journal| {
        let text = fs::read_to_string(journal).unwrap();
        fs::write(journal, format!("{text}a foreign line\n")).unwrap();
    });
}

#[test]
fn a_folder_in_place_of_the_journal_is_set_aside() {
    is_noticed("was replaced", 1, |journal| {
        fs::remove_file(journal).unwrap();
        fs::create_dir(journal).unwrap();
    });
}

#[test]
fn a_history_that_cannot_be_read_is_an_error_and_not_empty() {
    let rig = Rig::new();
    let journal = rig.journal();
    let sound = fs::read_to_string(&journal).unwrap();
    let fails = |what: &str| {
        let reply = rig.history();
        let problem = reply.json();
        assert_eq!((reply.status, &problem["reason"]), (500, &json!("history_unreadable")), "{what}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("journal.jsonl"), "{what}: {problem}");
    };
    fs::rename(&journal, journal.with_extension("1")).unwrap();
    fails("moved");
    fs::create_dir(&journal).unwrap();
    fails("a folder");
    fs::remove_dir(&journal).unwrap();
    assert!(Command::new("mkfifo").arg(&journal).status().unwrap().success());
    fails("a pipe");
    fs::remove_file(&journal).unwrap();
    fs::write(&journal, "not an entry\n").unwrap();
    fails("foreign");
    fs::write(&journal, "").unwrap();
    fails("cut to nothing");
    fs::write(&journal, &sound).unwrap();
    assert_eq!((rig.history().status, rig.history().json()["entries"].as_array().unwrap().len()), (200, 3));
}

/// Also one that another process has made gigabytes long.
#[test]
fn a_reading_of_a_long_history_takes_little_memory() {
    let rig = Rig::new();
    let sound = fs::read_to_string(rig.journal()).unwrap();
    let before = rig.gateway.peak_kib();
    let last = sound.split_inclusive('\n').next_back().unwrap();
    fs::write(rig.journal(), last.repeat((96 << 20) / last.len())).unwrap();
    let newest = admin::call(&rig.gateway, "GET /mode/history?limit=1000", None);
    assert_eq!((newest.status, newest.json()["entries"].as_array().unwrap().len()), (200, 1000));
    File::options().write(true).open(rig.journal()).unwrap().set_len(4 << 30).unwrap();
    assert_eq!((rig.history().status, rig.history().json()["reason"].as_str()), (500, Some("history_unreadable")));
    let grown = rig.gateway.peak_kib() - before;
    assert!(grown < 64 << 10, "it grew by {grown} KiB");
}

#[test]
fn no_second_gateway_starts_on_a_directory_whose_lock_file_was_removed() {
    let rig = Rig::new();
    fs::remove_file(rig.dir.path().join("lock")).unwrap();
    let journal = fs::read(rig.journal()).unwrap();
    let Err((status, log)) = Gateway::try_start_in(rig.dir.path(), rig.ucs.address, &ALONE) else {
        panic!("a second gateway runs on the same directory")
    };
    assert_eq!(status.code(), Some(1), "{log:?}");
    assert!(log.join("\n").contains("is in use by another process"), "{log:?}");
    assert_eq!(fs::read(rig.journal()).unwrap(), journal);
    assert_eq!(rig.set("production"), None, "the first one goes on");
}

#[test]
fn journal_verify_tells_a_whole_journal_from_an_edited_and_a_cut_one() {
    let rig = Rig::new();
    let verify = |path: &Path| tool::run(&["journal", "verify", path.to_str().unwrap()]);
    // Of a running gateway, by its directory and by the file.
    for path in [rig.dir.path(), &rig.journal()] {
        let sound = verify(path);
        assert_eq!((sound.code, sound.stderr.as_str()), (Some(0), ""), "{sound:?}");
        assert!(sound.stdout.contains("3 lines, complete and unchanged"), "{sound:?}");
    }
    let text = fs::read_to_string(rig.journal()).unwrap();
    let elsewhere = TempDir::new();
    let copy = elsewhere.path().join("copy.jsonl");
    for (changed, fault) in [
        (text.replacen("\"admin\"", "\"nobody\"", 1), "line 2 was changed: its hash is wrong"),
        (text[..text.len() - 9].to_owned(), "line 3 is not complete"),
    ] {
        fs::write(&copy, changed).unwrap();
        let bad = verify(&copy);
        assert_eq!((bad.code, bad.stdout.as_str()), (Some(1), ""), "{bad:?}");
        assert!(bad.stderr.contains(fault), "{bad:?}");
    }
    // A cut at the end of a line shows by the record alone.
    let two: String = text.split_inclusive('\n').take(2).collect();
    fs::write(&copy, &two).unwrap();
    assert!(verify(&copy).stdout.contains("missing lines at its end would not show"));
    fs::copy(rig.dir.path().join("mode.json"), elsewhere.path().join("mode.json")).unwrap();
    fs::write(elsewhere.path().join("journal.jsonl"), text.split_inclusive('\n').take(1).collect::<String>()).unwrap();
    let cut = tool::run(&["journal", "verify", "--json", "--state-dir", elsewhere.path().to_str().unwrap()]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    let verdict: Value = serde_json::from_str(&cut.stdout).unwrap();
    assert_eq!((&verdict["sound"], &verdict["lines"]), (&json!(false), &json!(1)), "{verdict}");
    assert!(verdict["fault"].as_str().unwrap().contains("missing at the end"), "{verdict}");
    let nowhere = verify(Path::new("/nowhere"));
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("name the gateway's state directory"), "{nowhere:?}");
}
