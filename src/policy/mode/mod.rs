//! The mode, its record, and the pure rule by which one record follows another. It keeps no clock and does no I/O.

mod apply;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use apply::{Change, DEFAULT_DRAIN_TIMEOUT, RECORD_FORMAT, Refusal, UPSTREAM_MOVED, apply};

/// The Server Mode of UCS (Context Services Developer's Guide, "Server Mode").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Profile and service operations are open, schemas should not change.
    Production,
    /// Only schema operations are open.
    Maintenance,
}

impl Mode {
    /// The one that this mode is not.
    pub fn other(self) -> Mode {
        match self {
            Mode::Production => Mode::Maintenance,
            Mode::Maintenance => Mode::Production,
        }
    }

    /// `production` or `maintenance`, as UCS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Production => "production",
            Mode::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The modes that admit a route. There is no empty set: a route that no mode admits is a fault of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeSet {
    /// Production only.
    Production,
    /// Maintenance only.
    Maintenance,
    /// Both, and while a flip is under way.
    Both,
}

impl ModeSet {
    /// All three, in the order of their indexes.
    pub const ALL: [ModeSet; 3] = [ModeSet::Production, ModeSet::Maintenance, ModeSet::Both];

    /// 0, 1 or 2: the place of this set in the gate's counters.
    pub fn index(self) -> usize {
        match self {
            ModeSet::Production => 0,
            ModeSet::Maintenance => 1,
            ModeSet::Both => 2,
        }
    }

    /// The set that holds just `mode`.
    pub fn only(mode: Mode) -> ModeSet {
        match mode {
            Mode::Production => ModeSet::Production,
            Mode::Maintenance => ModeSet::Maintenance,
        }
    }

    /// Whether a settled `mode` admits this set.
    pub fn admits(self, mode: Mode) -> bool {
        self == ModeSet::Both || self == ModeSet::only(mode)
    }
}

/// Whether a record is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The mode is in force and drained (or `drained` says that it is not).
    Settled,
    /// A flip to `mode` is under way: operations of either single mode are refused.
    Switching,
}

/// Who caused a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// By which way.
    pub kind: ActorKind,
    /// The principal's name, or the gateway's word for itself.
    pub name: String,
}

/// By which way a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// The admin API, the CLI or the web page.
    Operator,
    /// Set Server Mode on the data port.
    Client,
    /// The record's own `expires`.
    Expiry,
    /// The gateway: no profile schema, first start, recovery after a crash.
    Automatic,
    /// UCS switched by itself.
    Upstream,
}

/// What to do when the drain is not over at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// Restore the old mode and name what still runs.
    #[default]
    Revert,
    /// Abort what still runs, wait the orphan grace, commit.
    Cut,
    /// Commit with `drained: false`.
    Commit,
}

/// The authoritative record. In JSON the fields stand flat at the top level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeRecord {
    /// Version of this format: 1.
    pub format: u32,
    /// Grows by at least one with every saved record.
    pub revision: u64,
    /// The mode in force; while switching, the target.
    pub mode: Mode,
    /// Settled or switching.
    pub phase: Phase,
    /// While switching: the mode that is being left.
    pub from: Option<Mode>,
    /// While switching: when the mode that is being left would have ended by itself; a revert brings it back.
    #[serde(default)]
    pub from_expires: Option<Timestamp>,
    /// While switching: whether the mode that is being left had been drained; a revert changes nothing about it.
    #[serde(default)]
    pub from_drained: Option<bool>,
    /// While switching: when the drain is given up.
    pub deadline: Option<Timestamp>,
    /// When the current mode (or this switch) began.
    pub since: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The operator's own words.
    pub reason: Option<String>,
    /// The gateway's own word for an automatic or upstream change, e.g. `no_profile_schema`.
    pub cause: Option<String>,
    /// When the mode ends by itself and the other one follows.
    pub expires: Option<Timestamp>,
    /// After a flip: whether nothing that the mode forbids was in flight when it settled. `false` after a forced commit.
    pub drained: Option<bool>,
    /// While switching: how long the drain may take, in whole milliseconds.
    pub drain_timeout_ms: Option<u64>,
    /// While switching: what happens at the deadline.
    pub on_timeout: Option<OnTimeout>,
    /// Whether a missing profile schema was overridden.
    pub force: bool,
    /// Hash of the newest journal entry, so that a cut-off tail shows.
    pub journal_head: Option<String>,
}

/// The end of a requested mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This long after it settled.
    After(Duration),
    /// Never: an existing expiry is removed.
    Never,
}

/// A requested change of the mode, from any source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeChange {
    /// The requested mode.
    pub mode: Mode,
    /// The requester.
    pub actor: Actor,
    /// The operator's reason.
    pub reason: Option<String>,
    /// The gateway's cause for an automatic change.
    pub cause: Option<String>,
    /// Reject the change unless the record still has this revision.
    pub if_revision: Option<u64>,
    /// The drain timeout; the gateway's default if absent.
    pub drain_timeout: Option<Duration>,
    /// The action at the drain timeout; `Revert` if absent.
    pub on_timeout: Option<OnTimeout>,
    /// The expiry of the mode; if absent, a mode already in force keeps its expiry.
    pub expires_in: Option<End>,
    /// Switch to production even if no profile schema is defined.
    pub force: bool,
}

impl ModeChange {
    /// A change to `mode` that leaves everything else at its default.
    pub fn to(mode: Mode, actor: Actor) -> ModeChange {
        ModeChange {
            mode,
            actor,
            reason: None,
            cause: None,
            if_revision: None,
            drain_timeout: None,
            on_timeout: None,
            expires_in: None,
            force: false,
        }
    }
}

/// The knowledge of UCS's profile schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaKnowledge {
    /// UCS has one.
    Defined,
    /// UCS has none.
    Undefined,
    /// Unknown; never triggers a flip.
    Unknown,
}

#[cfg(test)]
mod tests;
