//! The state directory of one gateway: the record, its journal, a lock, and a few facts. Blocking; `store` calls it from
//! blocking threads. It never overwrites a file that it cannot parse: such a file is set aside.
//!
//! A save writes the journal line first and `mode.json` second. So after a crash the journal may be ahead of the record by
//! the line of the interrupted save, and is never behind it. At start, a journal ahead by one line means such a crash (the
//! line is removed; its record was never acknowledged); a journal without the record's line was truncated; a journal ahead
//! by more lines means that `mode.json` is an old copy. Only the last two raise an alarm.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::control::store::contract::{Fact, Loaded, StoreError};
use crate::control::store::journal::{Journal, JournalKind, Opened, free_name};
use crate::policy::mode::{LocalLog, ModeRecord};

const RECORD: &str = "mode.json";
const RECORD_NEW: &str = "mode.json.new";
const JOURNAL: &str = "journal.jsonl";
const LOCK: &str = "lock";
const CLEAN: &str = "clean-shutdown";
const SCHEMA_PATH_ANSWERED: &str = "schema-path-answered";
const UPSTREAM_SEEN: &str = "upstream-seen";
const LOCAL: &str = "local.json";

/// An open state directory. The lock is held until it is dropped or the process ends.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    journal: Option<Journal>,
    /// The record last saved or loaded.
    saved: Option<ModeRecord>,
    _lock: File,
}

impl StateDir {
    /// Opens the directory, creating it for this user only (0700), and takes its lock.
    pub fn open(dir: &Path) -> Result<StateDir, StoreError> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.map_err(failed("create the state directory", dir))?;
        let lock_path = dir.join(LOCK);
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(failed("open the lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(StateDir { dir: dir.to_owned(), journal: None, saved: None, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed("lock", &lock_path)(source)),
        }
    }

    /// The path of a directory's journal, which may be read without the lock.
    pub(crate) fn journal_path(dir: &Path) -> PathBuf {
        dir.join(JOURNAL)
    }

    /// The local closes of a directory, which may be read without the lock. None if the file cannot be read.
    pub(crate) fn read_local(dir: &Path) -> LocalLog {
        let text = std::fs::read_to_string(dir.join(LOCAL)).unwrap_or_default();
        LocalLog::read(&text).unwrap_or_default()
    }

    /// Reads and verifies all files, sets invalid ones aside, and removes the clean-shutdown marker.
    pub fn load(&mut self) -> Result<Loaded, StoreError> {
        let (record, record_fault) = self.load_record()?;
        let journal_path = self.dir.join(JOURNAL);
        let opened = Journal::open(&journal_path).map_err(failed("open", &journal_path))?;
        let mut loaded = Loaded {
            first_start: record.is_none() && record_fault.is_none() && !opened.existed,
            highest_revision: 0,
            clean: false,
            schema_path_answered: std::fs::read_to_string(self.dir.join(SCHEMA_PATH_ANSWERED)).ok(),
            upstream_seen: std::fs::read_to_string(self.dir.join(UPSTREAM_SEEN)).ok(),
            local: LocalLog::default(),
            alarms: record_fault.into_iter().collect(),
            notes: Vec::new(),
            record,
        };
        let journal = compare(opened, &mut loaded).map_err(failed("repair", &journal_path))?;
        loaded.highest_revision = journal.highest_revision().max(loaded.record.as_ref().map_or(0, |r| r.revision));
        loaded.clean = self.take_clean_marker()? || loaded.first_start;
        // After the comparison: it says nothing about the record.
        self.load_local(&mut loaded)?;
        self.saved = loaded.record.clone();
        self.journal = Some(journal);
        Ok(loaded)
    }

    /// Saves `record` durably if the directory still holds `expected` (0: nothing).
    pub fn save(&mut self, expected: u64, record: &ModeRecord) -> Result<ModeRecord, StoreError> {
        let actual = self.saved.as_ref().map_or(0, |saved| saved.revision);
        if actual != expected {
            return Err(StoreError::Conflict { expected, actual });
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
            if self.saved.as_ref().is_some_and(|saved| write_record(&self.dir, saved).is_ok()) {
                let _ = journal.remove_last();
            }
            return Err(error);
        }
        self.saved = Some(record.clone());
        Ok(record)
    }

    /// Saves a fact for the next start.
    pub(crate) fn remember(&mut self, fact: Fact) -> Result<(), StoreError> {
        match fact {
            Fact::SchemaPathAnswered(path) => self.write_marker(SCHEMA_PATH_ANSWERED, &path),
            Fact::Local(json) => self.write_marker(LOCAL, &json),
            Fact::UpstreamSeen(json) => self.write_marker(UPSTREAM_SEEN, &json),
        }
    }

    /// Writes the clean-shutdown marker.
    pub(crate) fn mark_clean_shutdown(&mut self) -> Result<(), StoreError> {
        self.write_marker(CLEAN, "")
    }

    fn write_marker(&self, name: &str, content: &str) -> Result<(), StoreError> {
        let (new, path) = (self.dir.join(format!("{name}.new")), self.dir.join(name));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed("write", &new))?;
        std::fs::rename(&new, &path).map_err(failed("replace", &path))?;
        sync_dir(&self.dir)
    }

    /// Reads the local closes. A file that cannot be read may have closed the gateway: it is set aside, and closes it.
    fn load_local(&self, loaded: &mut Loaded) -> Result<(), StoreError> {
        let path = self.dir.join(LOCAL);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        loaded.local = match LocalLog::read(&text) {
            Ok(local) => local,
            Err(fault) => {
                // A second name for the old file first: a crash must not leave none at all, which would open the gateway.
                let aside = free_name(&path, "aside");
                std::fs::hard_link(&path, &aside).map_err(failed("set aside", &path))?;
                let reason =
                    format!("{} could not be read ({fault}); it is kept in {}", path.display(), aside.display());
                loaded.alarms.push(format!("{reason}; this gateway stays closed until `mode open`"));
                let closed = LocalLog::closed_for(reason, Timestamp::now());
                let json = serde_json::to_string(&closed).map_err(io::Error::from).map_err(failed("encode", &path))?;
                self.write_marker(LOCAL, &json)?;
                closed
            }
        };
        Ok(())
    }

    fn take_clean_marker(&self) -> Result<bool, StoreError> {
        let path = self.dir.join(CLEAN);
        match std::fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.dir).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }

    /// The record, or the fault for which it was set aside.
    fn load_record(&self) -> Result<(Option<ModeRecord>, Option<String>), StoreError> {
        let path = self.dir.join(RECORD);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(error) => return Err(failed("read", &path)(error)),
        };
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

/// Compares the record with the journal and adds the mismatches to the alarms or notes.
fn compare(opened: Opened, loaded: &mut Loaded) -> io::Result<Journal> {
    let Opened { mut journal, torn, broken, .. } = opened;
    let torn =
        torn.map(|torn| format!("an append to the journal was interrupted; the partial line is in {}", torn.display()));
    loaded.notes.extend(torn);
    let sound = broken.is_none();
    loaded.alarms.extend(broken);
    let Some(record) = &loaded.record else {
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
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(failed("write", &new))?;
    std::fs::rename(&new, &path).map_err(failed("replace", &path))
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
