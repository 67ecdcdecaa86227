//! The uses of a bypass, for the history: each operation that a principal has sent past the mode of one record is noted once.
//! Pure: no clock, no I/O.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Mode, ModeRecord};

const KEPT: usize = 200;

/// The first use of an operation by a principal under one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BypassEntry {
    pub time: Timestamp,
    pub principal: String,
    pub operation: String,
    pub mode: Mode,
    /// The record of that mode.
    pub revision: u64,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The latest uses, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BypassLog {
    uses: Vec<BypassEntry>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl BypassLog {
    /// The log in a file; an empty one if it cannot be read.
    pub(crate) fn read(text: &str) -> BypassLog {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The uses, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &BypassEntry> {
        self.uses.iter().rev()
    }

    /// Notes a use; returns whether it is new.
    pub(crate) fn note(&mut self, principal: &str, operation: &str, record: &ModeRecord, now: Timestamp) -> bool {
        let known = |entry: &BypassEntry| {
            entry.revision == record.revision && entry.principal == principal && entry.operation == operation
        };
        if self.uses.iter().any(known) {
            return false;
        }
        let (principal, operation) = (principal.to_owned(), operation.to_owned());
        let (mode, revision) = (record.mode, record.revision);
        self.uses.push(BypassEntry { time: now, principal, operation, mode, revision, unknown: Map::new() });
        self.uses.drain(..self.uses.len().saturating_sub(KEPT));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_of_a_principal_is_noted_once_for_a_record() {
        let (mut log, now) = (BypassLog::default(), Timestamp::UNIX_EPOCH);
        let mut record = ModeRecord::first(Mode::Maintenance, 1, "test", now);
        assert!(log.note("ann", "Query", &record, now));
        assert!(!log.note("ann", "Query", &record, now), "it is noted already");
        assert!(log.note("ann", "Create", &record, now) && log.note("bob", "Query", &record, now));
        for revision in 2..1000 {
            record.revision = revision;
            assert!(log.note("ann", "Query", &record, now));
        }
        assert_eq!(log.newest_first().count(), KEPT);
        let json = serde_json::to_string(&log).expect("it is JSON");
        assert_eq!(BypassLog::read(&json), log);
        assert_eq!(BypassLog::read("torn"), BypassLog::default());
    }
}
