//! The mode record as it stands in files, over versions of the gateway, and what it says of its drain.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ucs_gateway::demo::StandInOptions;

use crate::support::{Connection, Gateway, TempDir, Ucs, admin, eventually, http};

const ALONE: [&str; 6] = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];

fn ucs() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Changes every record of a directory, in the journal too, whose chain stays sound.
fn rewrite(dir: &Path, mut change: impl FnMut(&mut Value)) {
    let (journal, mode) = (dir.join("journal.jsonl"), dir.join("mode.json"));
    let mut head = "0".repeat(64);
    let mut text = String::new();
    for line in std::fs::read_to_string(&journal).unwrap().lines() {
        let mut entry: Value = serde_json::from_str(line).unwrap();
        change(&mut entry["record"]);
        entry["previous"] = json!(head);
        entry.as_object_mut().unwrap().remove("hash");
        let rest = entry.to_string().split_off(1);
        head = Sha256::digest(rest.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{{\"hash\":\"{head}\",{rest}\n"));
    }
    std::fs::write(journal, text).unwrap();
    let mut record = read(&mode);
    change(&mut record);
    record["journal_head"] = json!(head);
    std::fs::write(mode, record.to_string()).unwrap();
}

/// A directory in which a gateway has gone to maintenance and was stopped.
fn used(ucs: &Ucs, flags: &[&str]) -> TempDir {
    let dir = TempDir::new();
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, flags);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "before"})).status, 200);
    gateway.signal("TERM");
    assert!(gateway.exited(crate::support::PATIENCE).success());
    dir
}

#[test]
fn members_that_a_newer_version_has_added_are_kept_over_starts_and_flips() {
    let (ucs, news) = (ucs(), json!({"green": [1, 18_446_744_073_709_551_615_u64], "deep": {"er": null}}));
    let dir = used(&ucs, &ALONE);
    let given_up = json!({"operation": "Create", "class": "profile", "count": 1, "colour": news});
    let later = json!({"at": "2999-01-01T00:00:00Z", "mode": "production", "reason": null, "colour": news,
        "actor": {"kind": "operator", "name": "ann", "colour": news}});
    rewrite(dir.path(), |record| {
        record["colour"] = news.clone();
        record["abandoned"] = json!([given_up]);
        record["scheduled"] = later.clone();
        record["report"] =
            json!({"drain_ms": 1, "waited_for": [given_up], "abandoned": [], "still_running": [], "colour": news});
    });
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "a new record"})).status, 200);
    let noted = read(&dir.path().join("mode.json"));
    for inner in [&noted["abandoned"][0], &noted["report"], &noted["report"]["waited_for"][0]] {
        assert_eq!(inner["colour"], news, "{noted}");
    }
    let mode = admin::mode(&gateway);
    assert_eq!((&mode["mode"], &mode["alarm"], &mode["colour"]), (&json!("maintenance"), &Value::Null, &news));
    for mode in ["production", "maintenance"] {
        let settled = admin::set_mode(&gateway, &json!({"mode": mode})).json();
        assert_eq!((&settled["mode"], &settled["colour"]), (&json!(mode), &news));
        let kept = read(&dir.path().join("mode.json"));
        for inner in [&kept, &kept["scheduled"], &kept["scheduled"]["actor"]] {
            assert_eq!(inner["colour"], news, "{kept}");
        }
    }
    let entries = admin::call(&gateway, "GET /mode/history", None).json()["entries"].clone();
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 8, "a note and two flips more: {entries:?}");
    assert!(entries.iter().all(|entry| entry["record"]["colour"] == news), "{entries:?}");
}

#[test]
fn what_is_known_of_ucs_keeps_members_that_a_newer_version_has_added() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let flags = ["--upstream-poll", "50ms"];
    let file = dir.path().join("upstream-seen");
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    eventually("UCS is known", || file.exists());
    gateway.signal("TERM");
    assert!(gateway.exited(crate::support::PATIENCE).success());
    let mut seen = read(&file);
    seen["colour"] = json!("green");
    std::fs::write(&file, seen.to_string()).unwrap();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    eventually("the new mode is remembered", || read(&file)["agreed"]["mode"] == "maintenance");
    assert_eq!(read(&file)["colour"], "green");
}

/// The form before: `drained` in place of `drain`, and no member that came with it.
fn as_before(record: &mut Value) {
    let members = record.as_object_mut().unwrap();
    for name in ["message", "back_at", "abandoned", "attempt", "scheduled", "from_expires", "from_drain"] {
        members.remove(name);
    }
    let drain = members.remove("drain").unwrap();
    members.insert("drained".to_owned(), if drain.is_null() { Value::Null } else { json!(drain == "complete") });
    members.insert("from_expires".to_owned(), Value::Null);
    members.insert("from_drained".to_owned(), if drain.is_null() { json!(true) } else { Value::Null });
}

#[test]
fn a_state_directory_of_the_version_before_is_read() {
    let ucs = ucs();
    for forced in [false, true] {
        let dir = used(&ucs, &ALONE);
        rewrite(dir.path(), |record| {
            as_before(record);
            if forced && record["phase"] == "settled" {
                record["drained"] = json!(false);
            }
        });
        let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        let mode = admin::mode(&gateway);
        assert_eq!(
            (&mode["mode"], &mode["alarm"], &mode["reason"]),
            (&json!("maintenance"), &json!(null), &json!("before"))
        );
        assert_eq!(mode["drain"], if forced { "forced" } else { "complete" });
        assert!(mode.get("drained").is_none() && mode.get("from_drained").is_none(), "{mode}");
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production"})).json()["drain"], "complete");
        let entries = admin::call(&gateway, "GET /mode/history", None).json()["entries"].clone();
        assert_eq!(entries.as_array().unwrap().len(), 5, "{entries}");
    }
}

/// The next process cannot name it, but knows of it.
#[test]
fn what_was_given_up_and_not_named_before_a_stop_is_not_called_complete_after_it() {
    let (ucs, dir) = (ucs(), TempDir::new());
    let flags = [&ALONE[..], &["--orphan-grace", "1ms"]].concat();
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    give_up_a_read(&gateway, &ucs);
    // Longer than the grace: that it was over at the stop is the subject.
    std::thread::sleep(Duration::from_millis(50));
    gateway.signal("TERM");
    assert!(gateway.exited(crate::support::PATIENCE).success());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    for (mode, drain) in [("maintenance", "assumed"), ("production", "complete")] {
        let settled = admin::set_mode(&gateway, &json!({"mode": mode})).json();
        assert_eq!((&settled["drain"], &settled["abandoned"]), (&json!(drain), &json!([])), "{settled}");
    }
}

/// A read that UCS holds and whose client has left.
fn give_up_a_read(gateway: &Gateway, ucs: &Ucs) {
    ucs.control().set_holding(true);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, "GET /profiles/1", &[], b""));
    ucs.in_flight_reaches(1);
    client.reset();
    eventually("the gateway gave it up", || admin::mode(gateway)["in_flight"]["production"] == 0);
}

#[test]
fn a_flip_has_one_name_from_its_first_record_to_its_last() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &[]);
    for mode in ["maintenance", "production"] {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
    }
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production", "reason": "said later"})).status, 200);
    let entries = admin::call(&gateway, "GET /mode/history", None).json()["entries"].clone();
    let names: Vec<_> = (0..6).map(|at| entries[at]["record"]["attempt"].as_str()).collect();
    let [amended, back, back_begun, there, there_begun, first] = names[..] else { panic!("{entries}") };
    assert_eq!((amended, first), (None, None), "these are no flips");
    assert!(back.is_some() && there.is_some() && back != there, "{entries}");
    assert_eq!((back, there), (back_begun, there_begun));
}

#[test]
fn what_was_given_up_long_before_is_named_until_its_mode_was_left() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    give_up_a_read(&gateway, &ucs);
    // Many graces: that it was long ago is the subject.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(ucs.in_flight(), 1, "UCS still runs it");
    let named = json!([{"operation": "Query Customer Profile", "class": "profile", "count": 1}]);
    for (mode, drain, abandoned) in [
        ("maintenance", "assumed", &named),
        ("production", "complete", &json!([])),
        ("maintenance", "complete", &json!([])),
    ] {
        let settled = admin::set_mode(&gateway, &json!({"mode": mode})).json();
        assert_eq!((&settled["drain"], &settled["abandoned"]), (&json!(drain), abandoned), "{settled}");
        assert_eq!(&settled["report"]["abandoned"], abandoned);
    }
}
