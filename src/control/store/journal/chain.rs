//! Reads a journal from its first line to its last and checks that each line is chained to the one before. It reads line by
//! line, as a journal may be longer than the memory, and changes nothing.

use std::io::{self, BufRead, Read};

use super::entry::{IndexEntry, JournalEntry, NO_HASH, hashed_part};
use crate::hex::sha256_hex;

/// No entry is so long, in bytes: a file of zeros must not take all memory.
const LONGEST_LINE: u64 = 4 << 20;

/// The result of reading a journal.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The lines up to the first bad one.
    pub(super) entries: Vec<IndexEntry>,
    /// The head of the lost file that the first line follows.
    pub(super) continues: Option<String>,
    /// The number of the first bad line, and its fault.
    pub(super) fault: Option<(usize, String)>,
    /// The highest revision of all lines that are sound in themselves; 0 if there is none.
    pub(super) highest: u64,
    /// The length of all complete lines, in bytes.
    pub(super) length: u64,
    /// The bytes after them: a line that was not completed.
    pub(super) tail: Vec<u8>,
}

impl Chain {
    pub(super) fn read(mut journal: impl BufRead) -> io::Result<Chain> {
        let (mut chain, mut number, mut bytes) = (Chain::default(), 0, Vec::new());
        while journal.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)? > 0 {
            let Some(line) = bytes.strip_suffix(b"\n") else {
                match bytes.len() as u64 {
                    LONGEST_LINE => {
                        chain.fault = chain.fault.or(Some((number + 1, "is longer than any entry".to_owned())))
                    }
                    _ => chain.tail = bytes,
                }
                break;
            };
            number += 1;
            chain.add(number, line);
            chain.length += bytes.len() as u64;
            bytes.clear();
        }
        Ok(chain)
    }

    fn add(&mut self, number: usize, line: &[u8]) {
        let text = std::str::from_utf8(line).map_err(|_| "is not text".to_owned());
        let entry = text.and_then(read_line);
        self.highest = entry.as_ref().map_or(0, |entry| entry.record.revision).max(self.highest);
        if self.fault.is_some() {
            return;
        }
        let previous = self.entries.last().map_or(NO_HASH, |link| link.hash.as_str());
        match entry.and_then(|entry| follows(entry, previous)) {
            Ok(entry) => {
                if self.entries.is_empty() {
                    self.continues = entry.continues;
                }
                let (hash, revision) = (entry.hash, entry.record.revision);
                self.entries.push(IndexEntry { hash, revision, begins: self.length });
            }
            Err(fault) => self.fault = Some((number, fault)),
        }
    }
}

/// An entry whose hash is right.
pub(super) fn read_line(line: &str) -> Result<JournalEntry, String> {
    let hashed = hashed_part(line).ok_or("does not begin with a hash")?;
    let entry: JournalEntry = serde_json::from_str(line).map_err(|error| format!("is not an entry ({error})"))?;
    if entry.hash != sha256_hex(hashed) {
        return Err("was changed: its hash is wrong".to_owned());
    }
    Ok(entry)
}

fn follows(entry: JournalEntry, previous: &str) -> Result<JournalEntry, String> {
    if entry.previous != previous {
        return Err("does not follow the previous line: a line was removed, inserted or changed".to_owned());
    }
    Ok(entry)
}
