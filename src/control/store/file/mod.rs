//! The record store in files of the state directory: the record and its journal. Blocking; `store` calls it from blocking
//! threads. It never overwrites a file that it cannot parse: such a file is set aside.
//!
//! A save writes the journal line first and `mode.json` second. So after a crash the journal may be ahead of the record by
//! the line of the interrupted save, and is never behind it. At start, a journal ahead by one line means such a crash (the
//! line is removed; its record was never acknowledged); a journal without the record's line was truncated; a journal ahead
//! by more lines means that `mode.json` is an old copy. Only the last two raise an alarm.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::control::store::contract::{LoadedRecord, Saved, StoreError, Token};
use crate::control::store::journal::{Journal, JournalKind, Opened, free_name};
use crate::control::store::local::{LocalDir, failed, sync_dir};
use crate::files::{open_with, read_if_there};
use crate::policy::mode::ModeRecord;

const RECORD: &str = "mode.json";
const RECORD_NEW: &str = "mode.json.new";
const JOURNAL: &str = "journal.jsonl";

/// The record store of one gateway.
#[derive(Debug)]
pub struct RecordFile {
    dir: PathBuf,
    journal: Option<Journal>,
    /// The record last saved or loaded.
    saved: Option<ModeRecord>,
    /// The files may hold a record after `saved` that was reported as not saved.
    astray: bool,
}

impl RecordFile {
    /// The files in a directory that is locked for this process.
    pub fn in_dir(dir: &LocalDir) -> RecordFile {
        RecordFile { dir: dir.path().to_owned(), journal: None, saved: None, astray: false }
    }

    /// The path of a directory's journal, which may be read without the lock.
    pub(crate) fn journal_path(dir: &Path) -> PathBuf {
        dir.join(JOURNAL)
    }

    /// The path of a directory's record, which may be read without the lock.
    pub(crate) fn record_path(dir: &Path) -> PathBuf {
        dir.join(RECORD)
    }

    /// Writes a record and its journal, without line ends, into a new state directory. It overwrites nothing.
    pub(crate) fn write_new(dir: &Path, lines: &[String], record: &ModeRecord) -> Result<(), StoreError> {
        let dir = LocalDir::open(dir)?;
        let journal = Self::journal_path(dir.path());
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&journal);
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(failed("write", &journal))?;
        write_record(dir.path(), record)?;
        sync_dir(dir.path())
    }

    /// Reads and verifies both files, and sets invalid ones aside.
    pub fn load(&mut self) -> Result<LoadedRecord, StoreError> {
        let (record, record_fault) = self.load_record()?;
        let journal_path = self.dir.join(JOURNAL);
        let opened = Journal::open(&journal_path).map_err(failed("open", &journal_path))?;
        let aside = opened.highest_aside;
        let mut loaded = LoadedRecord {
            first_start: record.is_none() && record_fault.is_none() && !opened.existed,
            highest_revision: 0,
            alarms: record_fault.into_iter().collect(),
            notes: Vec::new(),
            record: None,
        };
        let journal = compare(opened, record.as_ref(), &mut loaded).map_err(failed("repair", &journal_path))?;
        let recorded = record.as_ref().map_or(0, |record| record.revision);
        loaded.highest_revision = journal.highest_revision().max(aside).max(recorded);
        self.saved = record.clone();
        self.journal = Some(journal);
        loaded.record = record.map(saved);
        Ok(loaded)
    }

    /// Saves `record` durably if the files still hold what `token` marks.
    pub fn save(&mut self, token: Token, record: &ModeRecord) -> Result<Saved<ModeRecord>, StoreError> {
        let (expected, actual) = (token.mark(), self.saved.as_ref().map_or(0, |saved| saved.revision));
        if actual != expected {
            return Err(StoreError::Conflict { expected, actual });
        }
        if self.astray {
            self.restore()?;
        }
        if let Some(there) = self.saved.clone().filter(|there| there.revision == record.revision) {
            return Ok(saved(there));
        }
        let kind = self.saved.as_ref().map_or(JournalKind::Started, |saved| JournalKind::of_step(saved, record));
        let journal_path = self.dir.join(JOURNAL);
        let journal = self.journal.as_mut().expect("load comes before the first save");
        let head = journal.append(kind, record, Timestamp::now()).map_err(failed("append to", &journal_path))?;
        let record = ModeRecord { journal_head: Some(head), ..record.clone() };
        if let Err(error) = write_record(&self.dir, &record) {
            // The line names a record that does not exist. If it cannot be removed either, the next start raises an alarm.
            let _ = journal.remove_last();
            return Err(error);
        }
        if let Err(error) = sync_dir(&self.dir) {
            // The new record is in place but reported as not saved: if the gateway is killed after that report, the next
            // start must find the old record.
            let _ = journal.remove_last();
            self.astray = true;
            return Err(if self.restore().is_ok() { error } else { StoreError::Unknown(Box::new(error)) });
        }
        self.saved = Some(record.clone());
        Ok(saved(record).with_fault(journal.take_lost()))
    }

    /// Puts the record last saved back into its place, durably.
    fn restore(&mut self) -> Result<(), StoreError> {
        if let Some(saved) = &self.saved {
            write_record(&self.dir, saved)?;
            sync_dir(&self.dir)?;
        }
        self.astray = false;
        Ok(())
    }

    /// The record, or the fault for which it was set aside.
    fn load_record(&self) -> Result<(Option<ModeRecord>, Option<String>), StoreError> {
        let path = self.dir.join(RECORD);
        let Some(bytes) = read_if_there(&path).map_err(failed("read", &path))? else { return Ok((None, None)) };
        let fault = match serde_json::from_slice::<ModeRecord>(&bytes) {
            Ok(record) if record.is_consistent() => return Ok((Some(record), None)),
            Ok(_) => "its fields contradict each other or its format is unknown".to_owned(),
            Err(error) => error.to_string(),
        };
        let aside = free_name(&path, "aside");
        std::fs::rename(&path, &aside).map_err(failed("set aside", &path))?;
        sync_dir(&self.dir)?;
        Ok((
            None,
            Some(format!("{} is not a mode record ({fault}); it was moved to {}", path.display(), aside.display())),
        ))
    }
}

/// In files, a revision marks its record: each has its own.
fn saved(record: ModeRecord) -> Saved<ModeRecord> {
    let token = Token::new(record.revision);
    Saved::new(record, token)
}

/// Compares the record with the journal and adds the mismatches to the alarms or notes.
fn compare(opened: Opened, record: Option<&ModeRecord>, loaded: &mut LoadedRecord) -> io::Result<Journal> {
    let Opened { mut journal, torn, broken, .. } = opened;
    let torn =
        torn.map(|torn| format!("an append to the journal was interrupted; the partial line is in {}", torn.display()));
    loaded.notes.extend(torn);
    let sound = broken.is_none();
    loaded.alarms.extend(broken);
    let Some(record) = record else {
        // A crash before the first line was complete. With a line, a record may have existed and been lost: treating that
        // as a first start could open what was closed.
        if sound && loaded.alarms.is_empty() && journal.is_empty() {
            loaded.first_start = true;
        } else if loaded.alarms.is_empty() {
            loaded.alarms.push(format!("{RECORD} is missing although the journal has {} lines", journal.len()));
        }
        return Ok(journal);
    };
    match record.journal_head.as_deref().and_then(|head| journal.lines_after(head)) {
        Some(0) => {}
        Some(1) => {
            journal.remove_last()?;
            loaded.notes.push("a save was interrupted before it took effect; its journal line was removed".to_owned());
        }
        Some(more) => loaded.alarms.push(format!(
            "{RECORD} is older than the journal by {more} lines: was it restored from a copy? Check the mode and set it again"
        )),
        None if sound => loaded.alarms.push(format!(
            "the journal lacks the line of revision {}: it was truncated or replaced",
            record.revision
        )),
        None => {}
    }
    Ok(journal)
}

fn write_record(dir: &Path, record: &ModeRecord) -> Result<(), StoreError> {
    let (new, path) = (dir.join(RECORD_NEW), dir.join(RECORD));
    let text = serde_json::to_string_pretty(record).map_err(io::Error::from).map_err(failed("encode", &path))? + "\n";
    let mut options = File::options();
    let file = open_with(&new, options.write(true).create(true).truncate(true).mode(0o600));
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(failed("write", &new))?;
    std::fs::rename(&new, &path).map_err(failed("replace", &path))
}

#[cfg(test)]
mod tests;
