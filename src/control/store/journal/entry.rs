//! A line of the journal: its members, the reasons for a save, and what is kept of it in memory. It reads and writes no file.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::policy::mode::{ModeRecord, Phase};

/// The `previous` of the first line.
pub(crate) const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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

/// The part of a line that is kept in memory: enough to find the head of a record.
#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) hash: String,
    pub(super) revision: u64,
    pub(super) begins: u64,
}

/// The text after the `hash` member.
pub(crate) fn hashed_part(line: &str) -> Option<&str> {
    let hash_and_rest = line.strip_prefix(HASH_OPENS)?;
    hash_and_rest.get(NO_HASH.len()..)?.strip_prefix(HASH_CLOSES)
}
