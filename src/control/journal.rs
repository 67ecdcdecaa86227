//! The journal: one line for every saved record, each chained to the one before by a hash, so that what was changed or
//! cut off later shows. It appends and verifies; what a finding means for the mode is decided in `store_file`.
//!
//! A line is a JSON object whose first member is `hash`: the SHA-256 of everything that stands after that member. The
//! second member, `previous`, is the hash of the line before (64 zeroes in the first line).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hex::sha256_hex;
use crate::policy::mode::{ModeRecord, Phase};

/// The `previous` of the first line.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_OPENS: &str = "{\"hash\":\"";
const HASH_CLOSES: &str = "\",";

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// SHA-256 of the rest of the line, in hex.
    pub hash: String,
    /// The `hash` of the line before; 64 zeroes in the first line.
    pub previous: String,
    /// When it was appended.
    pub time: Timestamp,
    /// What happened.
    pub kind: JournalKind,
    /// The record that was saved. Its `journal_head` is this line's `previous`: the head of the journal until then.
    pub record: ModeRecord,
}

/// What a saved record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalKind {
    /// The first record of this directory, or the first after something had to be set aside.
    Started,
    /// A flip began.
    Switching,
    /// A flip ended in its target mode.
    Settled,
    /// A flip failed and its old mode is in force again.
    Reverted,
    /// A flip was taken back by somebody.
    Cancelled,
    /// The mode stayed; its reason, expiry or force changed.
    Amended,
}

impl JournalKind {
    /// What it means that `next` follows `record` in a store.
    pub fn of_step(record: &ModeRecord, next: &ModeRecord) -> JournalKind {
        match (record.phase, next.phase) {
            (_, Phase::Switching) => JournalKind::Switching,
            (Phase::Settled, Phase::Settled) => JournalKind::Amended,
            (Phase::Switching, Phase::Settled) if next.mode == record.mode => JournalKind::Settled,
            (Phase::Switching, Phase::Settled) if next.cause.as_deref() == Some("cancelled") => JournalKind::Cancelled,
            (Phase::Switching, Phase::Settled) => JournalKind::Reverted,
        }
    }
}

/// The journal of one directory, open for appending. One writer only.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Length up to which every line is whole and chained.
    length: u64,
    entries: Vec<Link>,
}

/// What is kept in memory of each line: enough to find a record's head again.
#[derive(Debug)]
struct Link {
    hash: String,
    revision: u64,
    begins: u64,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to append.
    pub journal: Journal,
    /// Whether the file was there.
    pub existed: bool,
    /// A last line that was not written to its end was moved into this file: an append was interrupted. No alarm.
    pub torn: Option<PathBuf>,
    /// The chain is broken, in words; the whole file was moved aside and a new one begun.
    pub broken: Option<String>,
}

impl Journal {
    /// Opens (or creates) the journal and verifies the whole chain.
    pub fn open(path: &Path) -> io::Result<Opened> {
        let existed = path.try_exists()?;
        let mut file = open_for_append(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let torn = match &bytes[whole..] {
            [] => None,
            tail => Some(cut_torn_tail(path, &file, whole as u64, tail)?),
        };
        match verify(&bytes[..whole]) {
            Ok(entries) => {
                let journal = Journal { path: path.to_owned(), file, length: whole as u64, entries };
                Ok(Opened { journal, existed, torn, broken: None })
            }
            Err((line, fault)) => {
                drop(file);
                let aside = free_name(path, "aside");
                std::fs::rename(path, &aside)?;
                let broken =
                    format!("line {line} of {} {fault}; the file was moved to {}", path.display(), aside.display());
                let journal =
                    Journal { path: path.to_owned(), file: open_for_append(path)?, length: 0, entries: Vec::new() };
                Ok(Opened { journal, existed, torn, broken: Some(broken) })
            }
        }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The hash of the newest line, if there is one.
    pub fn head(&self) -> Option<&str> {
        self.entries.last().map(|link| link.hash.as_str())
    }

    /// The highest revision of any line; 0 when there is none.
    pub fn highest_revision(&self) -> u64 {
        self.entries.iter().map(|link| link.revision).max().unwrap_or(0)
    }

    /// How many lines follow the line with this hash; `None` when no line has it.
    pub fn lines_after(&self, hash: &str) -> Option<usize> {
        self.entries.iter().rev().position(|link| link.hash == hash)
    }

    /// Appends a line, durably, and returns its hash. After an error the journal is as it was, as far as the disk lets
    /// it.
    pub fn append(&mut self, kind: JournalKind, record: &ModeRecord, time: Timestamp) -> io::Result<String> {
        let previous = self.head().unwrap_or(NO_HASH).to_owned();
        let record = ModeRecord { journal_head: self.head().map(str::to_owned), ..record.clone() };
        let revision = record.revision;
        let mut entry = JournalEntry { hash: NO_HASH.to_owned(), previous, time, kind, record };
        let line = serde_json::to_string(&entry)?;
        entry.hash = sha256_hex(hashed_part(&line).unwrap_or_default());
        let line = serde_json::to_string(&entry)? + "\n";
        if let Err(error) = self.write_at_end(line.as_bytes()) {
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.entries.push(Link { hash: entry.hash.clone(), revision, begins: self.length });
        self.length += line.len() as u64;
        Ok(entry.hash)
    }

    /// Takes the newest line back: the record that it tells of was not saved.
    pub fn take_back(&mut self) -> io::Result<()> {
        let Some(link) = self.entries.pop() else { return Ok(()) };
        self.length = link.begins;
        self.file.set_len(link.begins)?;
        self.file.sync_all()
    }

    fn write_at_end(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.path.try_exists()? {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} was removed", self.path.display())));
        }
        // What a line that could not be taken back left behind must not follow this one.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(line)?;
        self.file.sync_all()
    }
}

/// The newest `limit` entries, newest first, without a lock: for the admin API, while another thread may append.
/// A last line that is being written is left out. An absent file holds nothing.
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<JournalEntry>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let newest = whole.lines().rev().take(limit);
    newest.map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// A name beside `path` that nothing has: `<path>.<word>-<time>`.
pub(super) fn free_name(path: &Path, word: &str) -> PathBuf {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let named = |suffix: String| PathBuf::from(format!("{}.{word}-{time}{suffix}", path.display()));
    let mut candidate = named(String::new());
    let mut counter = 1;
    while candidate.symlink_metadata().is_ok() {
        counter += 1;
        candidate = named(format!("-{counter}"));
    }
    candidate
}

fn open_for_append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn cut_torn_tail(path: &Path, file: &File, whole: u64, tail: &[u8]) -> io::Result<PathBuf> {
    let torn = free_name(path, "torn");
    let mut copy = File::create_new(&torn)?;
    copy.write_all(tail)?;
    copy.sync_all()?;
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(torn)
}

/// The links of a sound chain, or the number of the first bad line and what is wrong with it.
fn verify(whole: &[u8]) -> Result<Vec<Link>, (usize, String)> {
    let text = std::str::from_utf8(whole).map_err(|_| (1, "is not text".to_owned()))?;
    let mut links: Vec<Link> = Vec::new();
    let mut begins = 0;
    for (index, line) in text.split_terminator('\n').enumerate() {
        let previous = links.last().map_or(NO_HASH, |link| link.hash.as_str());
        let entry = verify_line(line, previous).map_err(|fault| (index + 1, fault))?;
        links.push(Link { hash: entry.hash, revision: entry.record.revision, begins });
        begins += line.len() as u64 + 1;
    }
    Ok(links)
}

fn verify_line(line: &str, previous: &str) -> Result<JournalEntry, String> {
    let hashed = hashed_part(line).ok_or("does not begin with a hash")?;
    let entry: JournalEntry = serde_json::from_str(line).map_err(|error| format!("is not an entry ({error})"))?;
    if entry.hash != sha256_hex(hashed) {
        return Err("was changed: its hash is wrong".to_owned());
    }
    if entry.previous != previous {
        return Err("does not follow the line before: one was removed, inserted or changed".to_owned());
    }
    Ok(entry)
}

/// What stands after the `hash` member.
fn hashed_part(line: &str) -> Option<&str> {
    let hash_and_rest = line.strip_prefix(HASH_OPENS)?;
    hash_and_rest.get(NO_HASH.len()..)?.strip_prefix(HASH_CLOSES)
}

#[cfg(test)]
#[path = "tests/journal.rs"]
mod tests;
