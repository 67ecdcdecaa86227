//! The terms between control and its two stores: errors, what is saved, remembered facts, and the results of the first read.

use std::path::PathBuf;

use crate::policy::mode::{LocalLog, ModeRecord};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state directory {} is in use by another process; give each gateway its own --state-dir", .0.display())]
    InUse(PathBuf),
    /// A file or directory operation failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The verb of the message: "cannot … path".
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A save failed after its record had taken its place, and the old one could not be put back durably.
    #[error("{0}; the disk may hold the new record until the old one is saved again")]
    Unknown(#[source] Box<StoreError>),
    #[error("the store holds revision {actual}, not {expected}")]
    Conflict { expected: u64, actual: u64 },
    #[error("the store's thread ended: {0}")]
    Thread(#[source] tokio::task::JoinError),
    /// The record cannot follow the one before.
    #[error("{0}")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The store's own mark of what it holds, for compare-and-set. Only a store makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    /// The mark of a store that holds nothing.
    pub const NOTHING: Token = Token(0);

    pub(super) fn new(mark: u64) -> Token {
        Token(mark)
    }

    pub(super) fn mark(self) -> u64 {
        self.0
    }
}

/// Something that a store holds durably. Only a store makes one, so nothing is published that was not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved<T> {
    content: T,
    token: Token,
    fault: Option<String>,
}

impl<T> Saved<T> {
    pub(super) fn new(content: T, token: Token) -> Saved<T> {
        Saved { content, token, fault: None }
    }

    /// The same, with damage that the store found and went on from.
    pub(super) fn with_fault(self, fault: Option<String>) -> Saved<T> {
        Saved { fault, ..self }
    }

    /// Damage to earlier records that the store found while it saved, as a sentence.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The content.
    pub fn content(&self) -> &T {
        &self.content
    }

    /// The content, without the word that it is durable.
    pub fn into_inner(self) -> T {
        self.content
    }

    /// The store's mark.
    pub fn token(&self) -> Token {
        self.token
    }
}

/// A fact that is kept across restarts besides the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// This path of the schema probe, with the base path, has returned 200 before, so a 404 from it is evidence.
    SchemaPathAnswered(String),
    /// The memory of UCS's own mode, as JSON.
    UpstreamSeen(String),
    /// The local closes, as JSON.
    Local(String),
    /// The uses of a bypass, as JSON.
    Bypasses(String),
    /// The memory of a member of a fleet, as JSON.
    Fleet(String),
}

/// The result of reading the record store at start.
#[derive(Debug)]
pub struct LoadedRecord {
    /// The record, if there is a readable one.
    pub record: Option<Saved<ModeRecord>>,
    /// Neither `mode.json` nor `journal.jsonl` existed.
    pub first_start: bool,
    /// The highest revision ever used here, as far as known.
    pub highest_revision: u64,
    /// Conditions that need an operator, each as a sentence.
    pub alarms: Vec<String>,
    /// Conditions that are only logged.
    pub notes: Vec<String>,
}

/// The result of reading the local state at start.
#[derive(Debug)]
pub(crate) struct LoadedLocal {
    /// The last shutdown was clean and left no request running in UCS.
    pub clean: bool,
    /// The path of [`Fact::SchemaPathAnswered`].
    pub schema_path_answered: Option<String>,
    /// The text of [`Fact::UpstreamSeen`].
    pub upstream_seen: Option<String>,
    /// The text of [`Fact::Local`]; it closes if the file could not be read.
    pub(crate) local: LocalLog,
    /// The text of [`Fact::Bypasses`].
    pub(crate) bypasses: Option<String>,
    /// The text of [`Fact::Fleet`].
    pub(crate) fleet: Option<String>,
    /// The directory has held a record or a member of a fleet before.
    pub(crate) is_used: bool,
    /// Conditions that need an operator, each as a sentence.
    pub alarms: Vec<String>,
}
