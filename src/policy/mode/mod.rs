//! The mode, its record, and the pure rule by which one record follows another. It keeps no clock and does no I/O.

mod apply;
mod bypass;
mod local;
mod record;
mod scheduled;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use apply::{Change, NO_PROFILE_SCHEMA, Refusal, UPSTREAM_MOVED, apply};
pub(crate) use bypass::{BypassEntry, BypassLog};
pub(crate) use local::{Local, LocalChange, LocalEntry, LocalLog};
pub use record::ModeRecord;
pub(crate) use record::{DrainOutcome, DrainReport, Left, OperationCount, Phase, STATE_SET_ASIDE};
pub(crate) use scheduled::Scheduled;

pub(crate) use super::duration::End;
pub(crate) use super::written_time::When;

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
    pub(crate) const ALL: [Mode; 2] = [Mode::Production, Mode::Maintenance];

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

impl FromStr for Mode {
    type Err = String;

    /// In any case, as UCS reads it.
    fn from_str(text: &str) -> Result<Mode, String> {
        let mode = Mode::ALL.into_iter().find(|mode| text.eq_ignore_ascii_case(mode.as_str()));
        mode.ok_or_else(|| format!("there is no mode {text:?}"))
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
    pub(crate) fn index(self) -> usize {
        match self {
            ModeSet::Production => 0,
            ModeSet::Maintenance => 1,
            ModeSet::Both => 2,
        }
    }

    /// The set that holds just `mode`.
    pub(crate) fn only(mode: Mode) -> ModeSet {
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

/// The requester of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Actor {
    /// By which way.
    pub kind: ActorKind,
    /// The principal's name, or the gateway's word for itself.
    pub name: String,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Actor {
    pub(crate) fn new(kind: ActorKind, name: impl Into<String>) -> Actor {
        Actor { kind, name: name.into(), unknown: Map::new() }
    }

    pub(crate) fn gateway() -> Actor {
        Actor::new(ActorKind::Automatic, "gateway")
    }
}

/// By which way a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActorKind {
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

/// The action when the drain is not over at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnTimeout {
    /// Restore the old mode and name the requests that still run.
    #[default]
    Revert,
    /// Abort the requests that still run, wait the orphan grace, commit.
    Cut,
    /// Commit while it still runs: `drain: forced`.
    Commit,
}

impl OnTimeout {
    /// Every value with its name and meaning.
    pub(crate) const NAMES: &[(OnTimeout, &str, &str)] = &[
        (OnTimeout::Revert, "revert", "Revert to the previous mode"),
        (OnTimeout::Cut, "cut", "Abort the remaining requests, then change the mode"),
        (OnTimeout::Commit, "commit", "Change the mode although requests are still running"),
    ];
}

/// A requested change of the mode, from any source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModeChange {
    pub(crate) mode: Mode,
    /// The requester.
    pub actor: Actor,
    /// The operator's reason, for the history.
    pub reason: Option<String>,
    /// The message for clients; empty removes that of a mode that stays.
    pub message: Option<String>,
    /// When clients may expect the other mode.
    pub back_at: Option<When>,
    /// Make the change at this time, or take away the one that is scheduled; at once if absent.
    pub at: Option<When>,
    /// The gateway's cause for an automatic change.
    pub(crate) cause: Option<String>,
    /// Reject the change unless the record still has this revision.
    pub(crate) if_revision: Option<u64>,
    /// The drain timeout; the gateway's default if absent.
    pub(crate) drain_timeout: Option<Duration>,
    /// The action at the drain timeout; `Revert` if absent.
    pub(crate) on_timeout: Option<OnTimeout>,
    /// The expiry of the mode; if absent, a mode already in force keeps its expiry.
    pub(crate) expires_in: Option<End>,
    /// Switch to production even if no profile schema is defined.
    pub(crate) force: bool,
}

impl ModeChange {
    /// A change to `mode` that leaves everything else at its default.
    pub(crate) fn to(mode: Mode, actor: Actor) -> ModeChange {
        ModeChange {
            mode,
            actor,
            reason: None,
            message: None,
            back_at: None,
            at: None,
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
pub(crate) enum SchemaKnowledge {
    /// UCS has one.
    Defined,
    /// UCS has none.
    Undefined,
    /// Unknown; never triggers a flip.
    Unknown,
}

#[cfg(test)]
mod tests;
