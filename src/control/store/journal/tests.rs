//! The chain holds, and every kind of damage is detected.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::control::tests::support::Folder;
use crate::policy::mode::Mode;

fn record(revision: u64) -> ModeRecord {
    ModeRecord::first(Mode::Production, revision, "first_start", Timestamp::UNIX_EPOCH)
}

fn journal_of(lines: u64) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.path().join("journal.jsonl");
    let mut journal = Journal::open(&path).unwrap().journal;
    for revision in 1..=lines {
        journal.append(JournalKind::Settled, &record(revision), Timestamp::UNIX_EPOCH).unwrap();
    }
    (folder, path)
}

#[test]
fn what_was_appended_is_read_newest_first_and_verifies() {
    let (_folder, path) = journal_of(3);
    let revisions = |limit| read(&path, limit).unwrap().iter().map(|entry| entry.record.revision).collect::<Vec<_>>();
    assert_eq!(revisions(2), [3, 2]);
    assert_eq!(revisions(9), [3, 2, 1]);
    let opened = Journal::open(&path).unwrap();
    assert!(opened.existed && opened.torn.is_none() && opened.broken.is_none());
    let newest = &read(&path, 1).unwrap()[0];
    assert_eq!(opened.journal.head(), Some(newest.hash.as_str()));
    assert_eq!(newest.record.journal_head.as_deref(), Some(newest.previous.as_str()));
    assert_eq!(opened.journal.lines_after(&newest.previous), Some(1));
    assert_eq!(opened.journal.highest_revision(), 3);
}

#[test]
fn a_torn_last_line_is_moved_out_and_the_rest_goes_on() {
    let (_folder, path) = journal_of(2);
    let whole = std::fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [1, 40, whole.len() - second - 1] {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let mut opened = Journal::open(&path).unwrap();
        let torn = std::fs::read(opened.torn.unwrap()).unwrap();
        assert_eq!(torn, whole[second..whole.len() - cut]);
        assert!(opened.broken.is_none());
        assert_eq!(opened.journal.len(), 1);
        opened.journal.append(JournalKind::Settled, &record(2), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

/// As a disk leaves it that lost its data and kept its lengths.
#[test]
fn gigabytes_without_a_line_end_are_set_aside_and_not_read() {
    let (_folder, path) = journal_of(2);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let opened = Journal::open(&path).unwrap();
    assert!(opened.broken.unwrap().starts_with("line 3 "));
    assert_eq!((opened.torn, opened.highest_aside), (None, 2));
    assert!(opened.journal.is_empty());
}

#[test]
fn a_changed_removed_or_foreign_line_breaks_the_chain_and_the_file_is_kept_aside() {
    let (_folder, path) = journal_of(3);
    let whole = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let damaged = [
        whole.replacen("production", "maintenance", 1),
        format!("{}\n{}\n", lines[0], lines[2]),
        format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]),
        format!("{whole}not an entry\n"),
        format!("{{}}\n{whole}"),
    ];
    for text in damaged {
        std::fs::write(&path, &text).unwrap();
        let opened = Journal::open(&path).unwrap();
        let broken = opened.broken.expect("the damage shows");
        let aside = broken.rsplit(' ').next().unwrap();
        assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
        assert!(opened.journal.is_empty());
    }
}

#[test]
fn taking_back_leaves_the_line_before() {
    let (_folder, path) = journal_of(2);
    let mut journal = Journal::open(&path).unwrap().journal;
    journal.remove_last().unwrap();
    assert_eq!(read(&path, 9).unwrap().len(), 1);
    journal.append(JournalKind::Settled, &record(5), Timestamp::UNIX_EPOCH).unwrap();
    assert!(Journal::open(&path).unwrap().broken.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any changed byte in complete lines breaks the chain, or makes the last line a partial one.
    #[test]
    fn any_changed_byte_shows(lines in 1..5_u64, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_folder, path) = journal_of(lines);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let at = at.index(whole.len());
        damaged[at] = byte;
        prop_assume!(damaged != whole);
        std::fs::write(&path, &damaged).unwrap();
        let opened = Journal::open(&path).unwrap();
        // Without its end the last line is one that was not written whole.
        let is_torn = at == whole.len() - 1;
        prop_assert_eq!((opened.broken.is_some(), opened.torn.is_some()), (!is_torn, is_torn), "byte {} became {}", at, byte);
    }

    /// Cut anywhere, whole lines stay, the rest is set aside, and the next line makes a whole journal of it.
    #[test]
    fn wherever_it_is_cut_whole_lines_stay(lines in 1..5_u64, cut in any::<prop::sample::Index>()) {
        let (_folder, path) = journal_of(lines);
        let whole = std::fs::read(&path).unwrap();
        let cut = cut.index(whole.len() + 1);
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut opened = Journal::open(&path).unwrap();
        prop_assert!(opened.broken.is_none());
        let kept = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(opened.journal.len(), kept);
        prop_assert_eq!(opened.torn.is_some(), cut > 0 && whole[cut - 1] != b'\n');
        opened.journal.append(JournalKind::Settled, &record(kept as u64 + 1), Timestamp::UNIX_EPOCH).unwrap();
        drop(opened);
        let again = Journal::open(&path).unwrap();
        prop_assert!(again.broken.is_none() && again.torn.is_none());
        prop_assert_eq!(again.journal.len(), kept + 1);
    }
}
