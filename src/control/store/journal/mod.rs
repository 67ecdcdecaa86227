//! The journal: one line for every saved record, each chained to the previous one by a hash, so that later changes and
//! truncation are detected. It appends and verifies; `file` decides on the consequences.
//!
//! A line is a JSON object whose first member is `hash`: the SHA-256 of everything after that member. The second member,
//! `previous`, is the hash of the previous line (64 zeroes in the first line). A file that was moved, cut or written by
//! another process under a running gateway is noticed at the next line: the journal goes on in a new file, whose first line
//! names the lost head in `continues`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hex::sha256_hex;
use crate::policy::mode::{ModeRecord, Phase};

/// The `previous` of the first line.
pub(super) const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The part at its end that a reading of the newest lines takes first, and at most, in bytes: a journal only grows, and one
/// reading must not take all memory.
const SHORTEST_TAIL: u64 = 64 << 10;
const LONGEST_TAIL: u64 = 16 << 20;

const HASH_OPENS: &str = "{\"hash\":\"";
const HASH_CLOSES: &str = "\",";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalEntry {
    /// SHA-256 of the rest of the line, in hex.
    pub hash: String,
    /// The `hash` of the previous line; 64 zeroes in the first line.
    pub previous: String,
    /// In the first line of a file that follows a lost one: the `hash` of the last line there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    pub time: Timestamp,
    /// The reason for the save.
    pub kind: JournalKind,
    /// The saved record. Its `journal_head` is this line's `previous`: the head of the journal until then.
    pub record: ModeRecord,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The reason for a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JournalKind {
    /// The first record of this directory, or the first after a file was set aside.
    Started,
    /// A flip began.
    Switching,
    /// A flip ended in its target mode.
    Settled,
    /// A flip failed and its old mode is in force again.
    Reverted,
    /// A flip was cancelled by a later change.
    Cancelled,
    /// The mode stayed; its reason, expiry or force changed.
    Amended,
    /// The mode stayed; a flip was scheduled.
    Scheduled,
    /// The mode stayed; the scheduled flip was cancelled or given up, or its mode was in force already.
    Unscheduled,
    /// A kind that this program does not know.
    #[serde(other)]
    Other,
}

impl JournalKind {
    /// The kind of the step from `record` to `next`.
    pub(crate) fn of_step(record: &ModeRecord, next: &ModeRecord) -> JournalKind {
        match (record.phase, next.phase) {
            (_, Phase::Switching) => JournalKind::Switching,
            (Phase::Settled, Phase::Settled) if next.scheduled == record.scheduled => JournalKind::Amended,
            (Phase::Settled, Phase::Settled) if next.scheduled.is_some() => JournalKind::Scheduled,
            (Phase::Settled, Phase::Settled) => JournalKind::Unscheduled,
            (Phase::Switching, Phase::Settled) if next.mode == record.mode => JournalKind::Settled,
            (Phase::Switching, Phase::Settled) if next.cause.as_deref() == Some("cancelled") => JournalKind::Cancelled,
            (Phase::Switching, Phase::Settled) => JournalKind::Reverted,
        }
    }
}

/// The journal of one directory, open for appending. One writer only.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// The length up to which every line is complete and chained.
    length: u64,
    /// A line that was not saved could not be removed: the file may be longer.
    has_remains: bool,
    /// The head of the lost file that this one follows.
    continues: Option<String>,
    /// The loss of that file, as a sentence, until it is taken.
    lost: Option<String>,
    entries: Vec<IndexEntry>,
}

/// The part of a line that is kept in memory: enough to find the head of a record.
#[derive(Debug)]
struct IndexEntry {
    hash: String,
    revision: u64,
    begins: u64,
}

/// The result of opening a journal.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The journal, ready to append.
    pub journal: Journal,
    /// Whether the file existed.
    pub existed: bool,
    /// An append was interrupted: the partial last line was moved into this file. No alarm.
    pub torn: Option<PathBuf>,
    /// The chain is broken, as a sentence; the file was set aside and a new one started.
    pub broken: Option<String>,
    /// The highest revision in a journal that was set aside, of the lines whose hash is right; 0 otherwise.
    pub highest_aside: u64,
}

impl Journal {
    /// Opens (or creates) the journal and verifies the whole chain.
    pub(crate) fn open(path: &Path) -> io::Result<Opened> {
        let existed = path.try_exists()?;
        let mut file = open_for_append(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let torn = match &bytes[whole..] {
            [] => None,
            tail => Some(move_partial_line(path, &file, whole as u64, tail)?),
        };
        match verify(&bytes[..whole]) {
            Ok((entries, continues)) => {
                let (length, has_remains, lost) = (whole as u64, false, None);
                let journal = Journal { path: path.to_owned(), file, length, has_remains, continues, lost, entries };
                Ok(Opened { journal, existed, torn, broken: None, highest_aside: 0 })
            }
            Err((line, fault)) => {
                drop(file);
                let aside = free_name(path, "aside");
                std::fs::rename(path, &aside)?;
                let broken =
                    format!("line {line} of {} {fault}; the file was moved to {}", path.display(), aside.display());
                let file = open_for_append(path)?;
                let (length, has_remains, continues, lost, entries) = Default::default();
                let journal = Journal { path: path.to_owned(), file, length, has_remains, continues, lost, entries };
                Ok(Opened { journal, existed, torn, broken: Some(broken), highest_aside: highest_of(&bytes) })
            }
        }
    }

    /// The number of lines.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no lines.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The hash of the newest line, of this file or of the lost one before it.
    pub(crate) fn head(&self) -> Option<&str> {
        self.entries.last().map(|link| &link.hash).or(self.continues.as_ref()).map(String::as_str)
    }

    /// The highest revision of any line; 0 for an empty journal.
    pub(crate) fn highest_revision(&self) -> u64 {
        self.entries.iter().map(|link| link.revision).max().unwrap_or(0)
    }

    /// The number of lines after the one with this hash; `None` if no line has it.
    pub(crate) fn lines_after(&self, hash: &str) -> Option<usize> {
        self.entries.iter().rev().position(|link| link.hash == hash)
    }

    /// Appends a line durably and returns its hash. After an error the journal is unchanged, as far as the disk permits.
    pub(crate) fn append(&mut self, kind: JournalKind, record: &ModeRecord, time: Timestamp) -> io::Result<String> {
        if let Some(fault) = self.fault()? {
            self.begin_anew(&fault)?;
        }
        let previous = self.entries.last().map(|link| link.hash.as_str());
        let (line, hash) = next_line(previous, self.continues.as_deref(), kind, record, time)?;
        let line = line + "\n";
        if let Err(error) = self.write_at_end(line.as_bytes()) {
            self.has_remains = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.entries.push(IndexEntry { hash: hash.clone(), revision: record.revision, begins: self.length });
        self.length += line.len() as u64;
        Ok(hash)
    }

    /// Takes the loss of the file that held the lines before this one, as a sentence.
    pub fn take_lost(&mut self) -> Option<String> {
        self.lost.take()
    }

    /// Removes the newest line: its record was not saved.
    pub(crate) fn remove_last(&mut self) -> io::Result<()> {
        let Some(link) = self.entries.pop() else { return Ok(()) };
        self.length = link.begins;
        self.has_remains = true;
        self.file.set_len(link.begins)?;
        self.has_remains = false;
        self.file.sync_all()
    }

    /// What happened to the file since the last line, if anything did.
    fn fault(&self) -> io::Result<Option<String>> {
        let ours = self.file.metadata()?;
        let there = match self.path.metadata() {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some("was moved or removed".to_owned()));
            }
            Err(error) => return Err(error),
        };
        let (length, found) = (self.length, ours.len());
        Ok(if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            Some("was replaced".to_owned())
        } else if found < length {
            Some(format!("was cut from {length} to {found} bytes"))
        } else if found > length && !self.has_remains {
            Some(format!("grew from {length} to {found} bytes by another process"))
        } else {
            None
        })
    }

    /// Goes on in a new file after the old one was lost. What stands in its place is set aside.
    fn begin_anew(&mut self, fault: &str) -> io::Result<()> {
        let path = self.path.clone();
        let mut kept = String::new();
        if path.metadata().is_ok_and(|there| !there.is_file() || there.len() > 0) {
            let aside = free_name(&path, "aside");
            std::fs::rename(&path, &aside)?;
            kept = format!("; what was left is in {}", aside.display());
        }
        self.file = open_for_append(&path)?;
        let lines = self.entries.len();
        self.continues = self.head().map(str::to_owned);
        (self.length, self.has_remains, self.entries) = Default::default();
        let head = self.continues.as_deref().unwrap_or(NO_HASH);
        self.lost = Some(format!(
            "{} {fault} while the gateway was running{kept}; the history goes on in a new file, which names the last of \
             the {lines} lines before it ({head}): find the cause, and exclude the file from log rotation",
            path.display()
        ));
        Ok(())
    }

    fn write_at_end(&mut self, line: &[u8]) -> io::Result<()> {
        // The remains of a line that could not be removed must not stay behind this one.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(line)?;
        self.file.sync_all()
    }
}

/// The line that follows the one with the hash `previous`, without its end, and its own hash. A first line names the last
/// line of the journal that it `continues`.
pub(crate) fn next_line(
    previous: Option<&str>,
    continues: Option<&str>,
    kind: JournalKind,
    record: &ModeRecord,
    time: Timestamp,
) -> serde_json::Result<(String, String)> {
    let continues = continues.filter(|_| previous.is_none()).map(str::to_owned);
    let journal_head = previous.map(str::to_owned).or_else(|| continues.clone());
    let record = ModeRecord { journal_head, ..record.clone() };
    let (hash, previous) = (NO_HASH.to_owned(), previous.unwrap_or(NO_HASH).to_owned());
    sealed(JournalEntry { hash, previous, continues, time, kind, record, unknown: Map::new() })
}

/// The line of an entry, without its end, and its hash.
fn sealed(mut entry: JournalEntry) -> serde_json::Result<(String, String)> {
    let line = serde_json::to_string(&entry)?;
    entry.hash = sha256_hex(hashed_part(&line).unwrap_or_default());
    Ok((serde_json::to_string(&entry)?, entry.hash))
}

/// The newest `limit` entries, newest first, without a lock: for the admin API, while another thread may append.
/// Skips a partial last line. A running gateway has written a line, so a file without one was cut.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<JournalEntry>> {
    if !path.metadata()?.is_file() {
        // To read a pipe may take for ever.
        return Err(io::Error::other("it is no regular file"));
    }
    let text = tail(&File::open(path)?, limit)?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    if whole.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has no line"));
    }
    let newest = whole.lines().rev().take(limit);
    newest.map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// The end of a journal, with at least `lines` complete lines unless there are fewer in [`LONGEST_TAIL`].
fn tail(mut file: &File, lines: usize) -> io::Result<String> {
    let length = file.metadata()?.len();
    let mut wanted = SHORTEST_TAIL;
    loop {
        let begins = length.saturating_sub(wanted);
        file.seek(SeekFrom::Start(begins))?;
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes)?;
        let ends = || bytes.iter().enumerate().filter_map(|(at, byte)| (*byte == b'\n').then_some(at));
        if begins == 0 || wanted >= LONGEST_TAIL || ends().nth(lines).is_some() {
            // The first line is incomplete.
            let first = if begins == 0 { 0 } else { ends().next().map_or(bytes.len(), |end| end + 1) };
            return String::from_utf8(bytes.split_off(first)).map_err(io::Error::other);
        }
        wanted *= 4;
    }
}

/// An unused name beside `path`: `<path>.<word>-<time>`.
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

fn move_partial_line(path: &Path, file: &File, whole: u64, tail: &[u8]) -> io::Result<PathBuf> {
    let torn = free_name(path, "torn");
    let mut copy = File::create_new(&torn)?;
    copy.write_all(tail)?;
    copy.sync_all()?;
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(torn)
}

/// The index of a sound chain and the lost head that it follows, or the number of the first bad line and its fault.
fn verify(whole: &[u8]) -> Result<(Vec<IndexEntry>, Option<String>), (usize, String)> {
    let text = std::str::from_utf8(whole).map_err(|_| (1, "is not text".to_owned()))?;
    let mut links: Vec<IndexEntry> = Vec::new();
    let (mut begins, mut continues) = (0, None);
    for (index, line) in text.split_terminator('\n').enumerate() {
        let previous = links.last().map_or(NO_HASH, |link| link.hash.as_str());
        let entry = verify_line(line, previous).map_err(|fault| (index + 1, fault))?;
        if links.is_empty() {
            continues = entry.continues;
        }
        links.push(IndexEntry { hash: entry.hash, revision: entry.record.revision, begins });
        begins += line.len() as u64 + 1;
    }
    Ok((links, continues))
}

/// The highest revision of the lines that are sound in themselves, in a broken chain.
fn highest_of(bytes: &[u8]) -> u64 {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter_map(|line| read_line(line).ok()).map(|entry| entry.record.revision).max().unwrap_or(0)
}

/// An entry whose hash is right.
fn read_line(line: &str) -> Result<JournalEntry, String> {
    let hashed = hashed_part(line).ok_or("does not begin with a hash")?;
    let entry: JournalEntry = serde_json::from_str(line).map_err(|error| format!("is not an entry ({error})"))?;
    if entry.hash != sha256_hex(hashed) {
        return Err("was changed: its hash is wrong".to_owned());
    }
    Ok(entry)
}

fn verify_line(line: &str, previous: &str) -> Result<JournalEntry, String> {
    let entry = read_line(line)?;
    if entry.previous != previous {
        return Err("does not follow the previous line: a line was removed, inserted or changed".to_owned());
    }
    Ok(entry)
}

/// The text after the `hash` member.
pub(super) fn hashed_part(line: &str) -> Option<&str> {
    let hash_and_rest = line.strip_prefix(HASH_OPENS)?;
    hash_and_rest.get(NO_HASH.len()..)?.strip_prefix(HASH_CLOSES)
}

#[cfg(test)]
mod tests;
