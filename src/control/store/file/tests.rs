//! Every state of a directory at start.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::tests::support::Folder;
use crate::policy::mode::{Actor, Change, DrainOutcome, Mode, ModeChange, OnTimeout, apply};

fn first() -> ModeRecord {
    ModeRecord::first(Mode::Production, 1, "first_start", Timestamp::UNIX_EPOCH)
}

fn settle() -> Change {
    Change::Settle { drain: DrainOutcome::Complete, abandoned: Vec::new() }
}

fn next(record: &ModeRecord) -> ModeRecord {
    let change =
        ModeChange { on_timeout: Some(OnTimeout::Revert), ..ModeChange::to(record.mode.other(), Actor::gateway()) };
    apply(record, &Change::Set(change), Timestamp::UNIX_EPOCH).unwrap()
}

/// A directory with two saved records, closed again.
fn used() -> (Folder, ModeRecord) {
    let folder = Folder::new();
    let (mut dir, _) = open(&folder);
    let saved = dir.put(0, &first()).unwrap();
    let saved = dir.put(1, &next(&saved)).unwrap();
    (folder, saved)
}

/// The lock is not kept: each test has its folder to itself.
fn open(folder: &Folder) -> (RecordFile, LoadedRecord) {
    let mut dir = RecordFile::in_dir(&LocalDir::open(folder.path()).unwrap());
    let loaded = dir.load().unwrap();
    (dir, loaded)
}

impl RecordFile {
    fn put(&mut self, held: u64, record: &ModeRecord) -> Result<ModeRecord, StoreError> {
        self.save(Token::new(held), record).map(Saved::into_inner)
    }
}

#[test]
fn a_first_start_finds_nothing_and_what_is_saved_is_loaded_again() {
    let folder = Folder::new();
    let (mut dir, loaded) = open(&folder);
    assert!(loaded.first_start && loaded.record.is_none() && loaded.alarms.is_empty());
    let saved = dir.put(0, &first()).unwrap();
    drop(dir);
    let (_dir, loaded) = open(&folder);
    assert!(!loaded.first_start && loaded.alarms.is_empty() && loaded.notes.is_empty());
    assert_eq!(loaded.record.map(Saved::into_inner), Some(saved));
}

#[test]
fn a_save_compares_before_it_sets() {
    let folder = Folder::new();
    let (mut dir, _) = open(&folder);
    dir.put(0, &first()).unwrap();
    let error = dir.put(0, &next(&first())).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { expected: 0, actual: 1 }), "{error}");
}

#[test]
fn a_torn_or_foreign_record_is_set_aside_and_reported() {
    for text in ["", "{\"format\":1,\"revi", "{\"mode\":\"production\"}", "[]", "\0\0\0"] {
        let (folder, _) = used();
        std::fs::write(folder.path().join(RECORD), text).unwrap();
        let (mut dir, loaded) = open(&folder);
        assert!(loaded.record.is_none() && !loaded.first_start);
        assert_eq!((loaded.alarms.len(), loaded.highest_revision), (1, 2));
        let aside = loaded.alarms[0].rsplit(' ').next().unwrap();
        assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
        dir.put(0, &first()).unwrap();
    }
    let (folder, record) = used();
    let wrong = ModeRecord { deadline: None, ..record };
    std::fs::write(folder.path().join(RECORD), serde_json::to_vec(&wrong).unwrap()).unwrap();
    assert_eq!(open(&folder).1.alarms.len(), 1);
}

#[test]
fn a_missing_record_beside_a_journal_is_no_first_start() {
    let (folder, _) = used();
    std::fs::remove_file(folder.path().join(RECORD)).unwrap();
    let (_dir, loaded) = open(&folder);
    assert!(!loaded.first_start && loaded.record.is_none());
    assert!(loaded.alarms[0].contains("missing"), "{:?}", loaded.alarms);
}

#[test]
fn a_crash_at_any_point_of_a_save_raises_no_alarm() {
    let (folder, record) = used();
    let record_before = std::fs::read(folder.path().join(RECORD)).unwrap();
    let journal_before = std::fs::read(folder.path().join(JOURNAL)).unwrap();
    let (mut dir, _) = open(&folder);
    let settled = apply(&record, &settle(), Timestamp::UNIX_EPOCH).unwrap();
    dir.put(2, &settled).unwrap();
    drop(dir);
    let journal_after = std::fs::read(folder.path().join(JOURNAL)).unwrap();
    for written in journal_before.len()..=journal_after.len() {
        std::fs::write(folder.path().join(JOURNAL), &journal_after[..written]).unwrap();
        std::fs::write(folder.path().join(RECORD), &record_before).unwrap();
        let (mut dir, loaded) = open(&folder);
        assert!(loaded.alarms.is_empty(), "{written}: {:?}", loaded.alarms);
        assert_eq!(loaded.record.as_ref().map(|record| record.content().revision), Some(2));
        dir.put(2, &settled).unwrap();
        drop(dir);
        assert!(open(&folder).1.alarms.is_empty());
    }
}

#[test]
fn a_crash_in_the_very_first_line_is_still_a_first_start_and_one_line_without_a_record_is_not() {
    let folder = Folder::new();
    let (mut dir, _) = open(&folder);
    dir.put(0, &first()).unwrap();
    drop(dir);
    let journal = std::fs::read(folder.path().join(JOURNAL)).unwrap();
    for written in 0..journal.len() {
        std::fs::write(folder.path().join(JOURNAL), &journal[..written]).unwrap();
        let _ = std::fs::remove_file(folder.path().join(RECORD));
        let (mut dir, loaded) = open(&folder);
        assert!(loaded.first_start && loaded.alarms.is_empty(), "{written}: {:?}", loaded.alarms);
        dir.put(0, &first()).unwrap();
    }
    // The record of that line may have been there, in maintenance, and gone since.
    std::fs::remove_file(folder.path().join(RECORD)).unwrap();
    let (_, loaded) = open(&folder);
    assert!(!loaded.first_start && loaded.alarms[0].contains("is missing"), "{:?}", loaded.alarms);
}

#[test]
fn a_cut_off_or_removed_journal_and_an_old_record_raise_an_alarm() {
    let (folder, _) = used();
    let old_record = std::fs::read(folder.path().join(RECORD)).unwrap();
    let journal = std::fs::read_to_string(folder.path().join(JOURNAL)).unwrap();
    let first_line = format!("{}\n", journal.lines().next().unwrap());
    std::fs::write(folder.path().join(JOURNAL), first_line).unwrap();
    assert!(open(&folder).1.alarms[0].contains("truncated"));
    std::fs::remove_file(folder.path().join(JOURNAL)).unwrap();
    assert!(open(&folder).1.alarms[0].contains("truncated"));

    std::fs::write(folder.path().join(JOURNAL), &journal).unwrap();
    let (mut dir, loaded) = open(&folder);
    let mut record = loaded.record.unwrap().into_inner();
    for revision in 3..5 {
        let next = ModeRecord { revision, ..record.clone() };
        record = dir.put(revision - 1, &next).unwrap();
    }
    drop(dir);
    std::fs::write(folder.path().join(RECORD), old_record).unwrap();
    let (_dir, loaded) = open(&folder);
    assert!(loaded.alarms[0].contains("older"), "{:?}", loaded.alarms);
    assert_eq!(loaded.highest_revision, 4);
}

#[test]
fn a_failed_save_leaves_the_old_record_for_the_next_start() {
    let (folder, record) = used();
    let (mut dir, _) = open(&folder);
    // A folder in the place of the temporary file: root may write everywhere else.
    std::fs::create_dir(folder.path().join(RECORD_NEW)).unwrap();
    let settled = apply(&record, &settle(), Timestamp::UNIX_EPOCH).unwrap();
    assert!(dir.put(2, &settled).unwrap_err().to_string().contains("mode.json.new"));
    drop(dir);
    let (mut dir, loaded) = open(&folder);
    assert_eq!((loaded.record.map(Saved::into_inner), loaded.alarms.len()), (Some(record), 0));
    std::fs::remove_dir(folder.path().join(RECORD_NEW)).unwrap();
    assert_eq!(dir.put(2, &settled).unwrap().revision, 3);
}
