//! The terms between control and a store: errors, remembered facts, and the result of the first read.

use std::path::PathBuf;

use crate::policy::mode::ModeRecord;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("the state directory {} is in use by another process; give each gateway its own --state-dir", .0.display())]
    InUse(PathBuf),
    /// A file or directory operation failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as in "cannot … path".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The store holds another revision than the caller thought.
    #[error("the store holds revision {actual}, not {expected}")]
    Conflict {
        /// What the caller thought.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// The thread that did the work is gone.
    #[error("the store's thread ended: {0}")]
    Thread(#[source] tokio::task::JoinError),
}

/// What a gateway remembers besides the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// This path of the schema probe, with the base path, has answered 200 before, so a 404 from it means something.
    SchemaPathAnswered(String),
    /// What is known of UCS's own mode, as JSON.
    UpstreamSeen(String),
}

/// What a start finds.
#[derive(Debug)]
pub struct Loaded {
    /// The record, if there is one that can be read.
    pub record: Option<ModeRecord>,
    /// Neither `mode.json` nor `journal.jsonl` was there.
    pub first_start: bool,
    /// The highest revision that was ever used here, as far as can be known.
    pub highest_revision: u64,
    /// The last stop was an orderly one with nothing left behind at UCS. True at first start.
    pub clean: bool,
    /// The path of [`Fact::SchemaPathAnswered`]; empty in a mark of a version that did not write it down.
    pub schema_path_answered: Option<String>,
    /// The text of [`Fact::UpstreamSeen`].
    pub upstream_seen: Option<String>,
    /// What an operator must look at, each in a sentence.
    pub alarms: Vec<String>,
    /// What is worth a line in the log, but no alarm.
    pub notes: Vec<String>,
}
