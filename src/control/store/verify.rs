//! A journal against its own chain, and against the record beside it, which names the newest line. It reads files, also those
//! of a running gateway, and changes nothing.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::journal::{NO_HASH, hashed_part};
use crate::control::store::file::RecordFile;
use crate::files::{open_or_pipe, read_if_there};
use crate::hex::sha256_hex;

/// The attempts to find the record and the journal of a running gateway at rest.
const ATTEMPTS: usize = 5;

/// The result for one journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Complete lines, up to the first fault.
    pub(crate) lines: usize,
    /// The hash of the last of them.
    pub(crate) head: Option<String>,
    /// The time of the last of them.
    pub(crate) newest: Option<Timestamp>,
    /// The last line of the lost journal that this one follows.
    pub(crate) continues: Option<String>,
    /// Whether a record stands beside it: without one, missing lines at the end do not show.
    pub(crate) has_record: bool,
    /// The first fault, with its line.
    pub(crate) fault: Option<String>,
    /// The journal has a line whose record is not saved: a save was interrupted, or is under way.
    pub(crate) is_ahead: bool,
}

/// The journal of a state directory, or the file itself.
pub(crate) fn journal_of(path: &Path) -> PathBuf {
    if path.is_dir() { RecordFile::journal_path(path) } else { path.to_owned() }
}

/// Verifies a journal, and the record in the same directory if there is one.
pub(crate) fn verify(journal: &Path) -> io::Result<Verdict> {
    let record_path = RecordFile::record_path(journal.parent().unwrap_or(Path::new("")));
    let mut record = read_if_there(&record_path)?;
    let mut bytes = whole(journal)?;
    for _ in 0..ATTEMPTS {
        let again = read_if_there(&record_path)?;
        if again == record {
            break;
        }
        // A running gateway has saved meanwhile.
        (record, bytes) = (again, whole(journal)?);
    }
    Ok(verify_bytes(&bytes, record.as_deref()))
}

/// A journal has no limit: it only grows.
fn whole(journal: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_or_pipe(journal)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The members of a line that the chain rests on; the hash vouches for the others.
#[derive(Deserialize)]
struct Link {
    hash: String,
    previous: String,
    #[serde(default)]
    continues: Option<String>,
    time: Timestamp,
}

/// The member of the record that names the newest line.
#[derive(Deserialize)]
struct RecordHead {
    journal_head: Option<String>,
}

fn verify_bytes(bytes: &[u8], record: Option<&[u8]>) -> Verdict {
    let mut verdict = Verdict { has_record: record.is_some(), ..Verdict::default() };
    let mut before = None;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let number = verdict.lines + 1;
        match link(line, verdict.head.as_deref().unwrap_or(NO_HASH)) {
            Ok(link) => {
                if verdict.lines == 0 {
                    verdict.continues = link.continues;
                }
                before = verdict.head.replace(link.hash).or_else(|| verdict.continues.clone());
                (verdict.lines, verdict.newest) = (number, Some(link.time));
            }
            Err(fault) => {
                verdict.fault = Some(format!("line {number} {fault}"));
                return verdict;
            }
        }
    }
    let Some(record) = record else { return verdict };
    match serde_json::from_slice::<RecordHead>(record) {
        Err(error) => verdict.fault = Some(format!("the record beside it cannot be read: {error}")),
        Ok(RecordHead { journal_head: named }) if named == verdict.head => {}
        Ok(RecordHead { journal_head: named }) if verdict.lines > 0 && named == before => verdict.is_ahead = true,
        Ok(_) => {
            let lines = verdict.lines;
            verdict.fault = Some(format!(
                "the record beside it does not name the last of the {lines} lines: lines are missing at the end, or one of \
                 the two files is an old copy"
            ));
        }
    }
    verdict
}

/// A line that is whole, unchanged, and follows the line before.
fn link(line: &[u8], previous: &str) -> Result<Link, String> {
    let line = line.strip_suffix(b"\n").ok_or("is not complete: an append was interrupted, or the file was cut")?;
    let text = std::str::from_utf8(line).map_err(|_| "is not text")?;
    let hashed = hashed_part(text).ok_or("does not begin with a hash")?;
    let link: Link = serde_json::from_str(text).map_err(|error| format!("is not an entry ({error})"))?;
    if link.hash != sha256_hex(hashed) {
        return Err("was changed: its hash is wrong".to_owned());
    }
    if link.previous != previous {
        return Err("does not follow the line before: a line was removed, inserted or moved".to_owned());
    }
    Ok(link)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Lines as the journal writes them, and the record that names the last one.
    fn journal(lines: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut head, mut written) = (NO_HASH.to_owned(), Vec::new());
        for revision in 1..=lines {
            let rest = format!(
                r#""previous":"{head}","time":"2026-03-01T22:00:00Z","kind":"amended","record":{{"revision":{revision}}}}}"#
            );
            head = sha256_hex(&rest);
            written.push(format!("{{\"hash\":\"{head}\",{rest}\n").into_bytes());
        }
        (written, format!("{{\"journal_head\":\"{head}\"}}").into_bytes())
    }

    /// Numbers that look random and are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }
    }

    #[test]
    fn each_random_edit_cut_and_swap_is_found() {
        let (lines, record) = journal(40);
        let whole = lines.concat();
        let sound = verify_bytes(&whole, Some(&record));
        assert_eq!((sound.lines, sound.fault, sound.is_ahead), (40, None, false));
        let mut numbers = Numbers(7);
        for _ in 0..1000 {
            let mut edited = whole.clone();
            let place = numbers.below(edited.len());
            edited[place] ^= 1 << numbers.below(8);
            assert!(verify_bytes(&edited, Some(&record)).fault.is_some(), "an edit of byte {place}");

            let kept = numbers.below(whole.len());
            let cut = verify_bytes(&whole[..kept], Some(&record));
            assert!(cut.fault.is_some(), "a cut to {kept} bytes");

            let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
            let mut swapped = lines.clone();
            swapped.swap(one, other);
            let found = verify_bytes(&swapped.concat(), Some(&record)).fault.is_some();
            assert_eq!(found, one != other, "lines {one} and {other} were swapped");

            let mut removed = lines.clone();
            removed.remove(one);
            assert!(verify_bytes(&removed.concat(), Some(&record)).fault.is_some(), "line {one} was removed");
        }
    }

    #[test]
    fn an_interrupted_save_is_no_fault_and_a_journal_alone_hides_a_cut_at_a_line() {
        let (lines, record) = journal(4);
        let (more, _) = journal(5);
        assert_eq!(more[..4], lines);
        let ahead = verify_bytes(&more.concat(), Some(&record));
        assert_eq!((ahead.fault, ahead.is_ahead), (None, true));
        let shorter = lines[..3].concat();
        assert!(verify_bytes(&shorter, Some(&record)).fault.unwrap().contains("missing at the end"));
        let alone = verify_bytes(&shorter, None);
        assert_eq!((alone.fault, alone.has_record), (None, false));
    }
}
