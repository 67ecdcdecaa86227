//! The journal: one line for every saved record, each chained to the previous one by a hash, so that later changes and
//! truncation are detected. It appends and verifies; `file` decides on the consequences.
//!
//! A line is a JSON object whose first member is `hash`: the SHA-256 of everything after that member. The second member,
//! `previous`, is the hash of the previous line (64 zeroes in the first line). A file that was moved, cut or written by
//! another process under a running gateway is noticed at the next line: the journal goes on in a new file, whose first line
//! names the lost head in `continues`.

mod chain;
mod entry;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Map;

use crate::files;
use crate::hex::sha256_hex;
use crate::policy::mode::ModeRecord;
use chain::Chain;
use entry::IndexEntry;
pub(crate) use entry::{JournalEntry, JournalKind};
pub(super) use entry::{NO_HASH, hashed_part};

/// The part at its end that a reading of the newest lines takes first, and at most, in bytes: a journal only grows, and one
/// reading must not take all memory.
const SHORTEST_TAIL: u64 = 64 << 10;
const LONGEST_TAIL: u64 = 16 << 20;

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
        let existed = path.exists();
        let file = open_for_append(path)?;
        let Chain { entries, continues, fault, highest, length, tail } = Chain::read(BufReader::new(&file))?;
        let torn = match &*tail {
            [] => None,
            tail => Some(move_partial_line(path, &file, length, tail)?),
        };
        match fault {
            None => {
                let (has_remains, lost) = (false, None);
                let journal = Journal { path: path.to_owned(), file, length, has_remains, continues, lost, entries };
                Ok(Opened { journal, existed, torn, broken: None, highest_aside: 0 })
            }
            Some((line, fault)) => {
                drop(file);
                let aside = free_name(path, "aside");
                std::fs::rename(path, &aside)?;
                let broken =
                    format!("line {line} of {} {fault}; the file was moved to {}", path.display(), aside.display());
                let file = open_for_append(path)?;
                let (length, has_remains, continues, lost, entries) = Default::default();
                let journal = Journal { path: path.to_owned(), file, length, has_remains, continues, lost, entries };
                Ok(Opened { journal, existed, torn, broken: Some(broken), highest_aside: highest })
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
    let text = tail(&files::open(path)?, limit)?;
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
        // Once, and of the right size: a vector that grows takes three times as much while it is moved.
        let mut bytes = Vec::with_capacity(usize::try_from(length - begins).map_err(io::Error::other)?);
        file.take(wanted).read_to_end(&mut bytes)?;
        let ends = || bytes.iter().enumerate().filter_map(|(at, byte)| (*byte == b'\n').then_some(at));
        if begins == 0 || wanted >= LONGEST_TAIL || ends().nth(lines).is_some() {
            // The first line is incomplete.
            let first = if begins == 0 { 0 } else { ends().next().map_or(bytes.len(), |end| end + 1) };
            bytes.drain(..first);
            return String::from_utf8(bytes).map_err(io::Error::other);
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
    files::open_with(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600))
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

#[cfg(test)]
mod tests;
