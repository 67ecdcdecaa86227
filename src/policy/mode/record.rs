//! The mode record and its form in JSON. It keeps members that it does not know, and reads those of the form before. Which
//! record may follow another is the subject of `apply`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Actor, Mode, OnTimeout, Scheduled};

/// The format that this program writes and reads. Members may be added within a format: a reader keeps the ones that it does
/// not know. A change that no older reader may ignore gets a new number, and the older reader sets the file aside.
pub(crate) const RECORD_FORMAT: u32 = 1;

/// The cause of a record in place of one that could not be read.
pub(crate) const STATE_SET_ASIDE: &str = "state_set_aside";

/// The most operations that a record names as abandoned; the counts of all others are added up.
const MOST_NAMED: usize = 32;

/// Whether a record is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The mode is in force, and `drain` says how it was drained.
    Settled,
    /// A flip to `mode` is under way: operations of either single mode are refused.
    Switching,
}

/// How sure it is that nothing that a settled mode forbids is still running, from the surest to the least sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DrainOutcome {
    /// All requests that were admitted have ended.
    #[default]
    Complete,
    /// The gateway gave up on some (a cut, a timeout, a client that left, a gateway that was killed), and they have had the
    /// orphan grace to end in UCS.
    Assumed,
    /// The mode was put in force while requests were running.
    Forced,
}

impl DrainOutcome {
    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DrainOutcome::Complete => "complete",
            DrainOutcome::Assumed => "assumed",
            DrainOutcome::Forced => "forced",
        }
    }

    /// Reads the word, or the boolean `drained` that earlier versions wrote in its place.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DrainOutcome>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(DrainOutcome),
            Drained(bool),
        }
        Ok(Option::<Written>::deserialize(deserializer)?.map(|written| match written {
            Written::Word(outcome) => outcome,
            Written::Drained(true) => DrainOutcome::Complete,
            Written::Drained(false) => DrainOutcome::Forced,
        }))
    }
}

/// A number of requests of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationCount {
    /// The operation's name in the route table.
    pub operation: String,
    pub class: String,
    /// The number.
    pub count: u64,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl OperationCount {
    pub(crate) fn new(operation: impl Into<String>, class: impl Into<String>, count: u64) -> OperationCount {
        OperationCount { operation: operation.into(), class: class.into(), count, unknown: Map::new() }
    }

    /// One count for each operation, in the order of their first counts.
    pub(crate) fn added_up(counts: impl IntoIterator<Item = OperationCount>) -> Vec<OperationCount> {
        let mut sums: Vec<OperationCount> = Vec::new();
        for one in counts {
            match sums.iter_mut().find(|sum| (&sum.operation, &sum.class) == (&one.operation, &one.class)) {
                Some(sum) => sum.count += one.count,
                None => sums.push(one),
            }
        }
        sums
    }

    /// The same counts, the largest first, in a list of limited length: the last entry adds up those beyond it.
    pub(crate) fn bounded(mut counts: Vec<OperationCount>) -> Vec<OperationCount> {
        counts.sort_by_key(|one| std::cmp::Reverse(one.count));
        if counts.len() > MOST_NAMED {
            let others = counts.split_off(MOST_NAMED - 1);
            let count = others.iter().map(|one| one.count).sum();
            counts.push(OperationCount::new(format!("{} other operations", others.len()), "other", count));
        }
        counts
    }
}

/// The drain of a flip, for the history: how long it took, and the requests that it met. Each list is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DrainReport {
    /// Milliseconds from the first publication to the end of the drain.
    pub drain_ms: u64,
    /// In flight when the drain began.
    pub waited_for: Vec<OperationCount>,
    /// Given up on since the old mode was last drained.
    pub abandoned: Vec<OperationCount>,
    /// Still in flight at the drain timeout.
    pub still_running: Vec<OperationCount>,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The authoritative record. In JSON the fields stand flat at the top level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeRecord {
    /// Version of this format: 1.
    pub format: u32,
    /// Grows by at least one with every saved record.
    pub revision: u64,
    /// The mode in force; while switching, the target.
    pub mode: Mode,
    /// Settled or switching.
    pub(crate) phase: Phase,
    /// While switching: the mode that is being left.
    pub from: Option<Mode>,
    /// While switching: the members that a revert restores.
    #[serde(flatten)]
    pub(crate) left: Left,
    /// While switching: when the flip has ended at the latest, with UCS and the record.
    pub deadline: Option<Timestamp>,
    /// When the current mode (or this switch) began.
    pub since: Timestamp,
    /// The requester.
    pub(crate) actor: Actor,
    /// The operator's own words, for the history.
    pub reason: Option<String>,
    /// The operator's words for clients that are refused.
    #[serde(default)]
    pub message: Option<String>,
    /// The gateway's own word for an automatic or upstream change, e.g. `no_profile_schema`.
    pub cause: Option<String>,
    /// When the mode ends by itself and the other one follows.
    pub expires: Option<Timestamp>,
    /// When clients may expect the other mode: a promise, which changes nothing by itself.
    #[serde(default)]
    pub back_at: Option<Timestamp>,
    /// Settled: how sure it is that nothing that the mode forbids was running when it settled.
    #[serde(alias = "drained", default, deserialize_with = "DrainOutcome::read")]
    pub(crate) drain: Option<DrainOutcome>,
    /// Settled: the requests that the gateway gave up on, and after a forced commit those that were running.
    #[serde(default)]
    pub(crate) abandoned: Vec<OperationCount>,
    /// While switching: how long the drain may take, in whole milliseconds.
    pub drain_timeout_ms: Option<u64>,
    /// While switching: the action at the deadline.
    pub(crate) on_timeout: Option<OnTimeout>,
    /// Whether a missing profile schema was overridden.
    pub force: bool,
    /// A flip at a time to come.
    #[serde(default)]
    pub(crate) scheduled: Option<Scheduled>,
    /// Names a flip, from its first record to the one that ends it.
    #[serde(default)]
    pub attempt: Option<String>,
    /// Settled: how the drain of the last flip went, whether it settled or was reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<DrainReport>,
    /// In a fleet: the members that had not acknowledged the flip that this record reverts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
    /// Hash of the newest journal entry, so that a cut-off tail shows.
    pub journal_head: Option<String>,
    /// Members that this program does not know: kept and written back.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The part of a record about the mode that is being left, so that a revert restores it. In JSON these are members of the record
/// that begin with `from_`, absent unless they say something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// When it would have ended by itself.
    #[serde(rename = "from_expires", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// How it had been drained.
    #[serde(
        rename = "from_drain",
        alias = "from_drained",
        default,
        deserialize_with = "DrainOutcome::read",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) drain: Option<DrainOutcome>,
    /// The requests given up on when it settled.
    #[serde(rename = "from_abandoned", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) abandoned: Vec<OperationCount>,
    #[serde(rename = "from_message", default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When clients could expect the other mode.
    #[serde(rename = "from_back_at", default, skip_serializing_if = "Option::is_none")]
    pub back_at: Option<Timestamp>,
    /// Whether a missing profile schema was overridden.
    #[serde(rename = "from_force", default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The scheduled flip that this flip is.
    #[serde(rename = "from_scheduled", default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Scheduled>,
}

impl ModeRecord {
    /// The first record of a gateway: settled, drained, made by the gateway itself.
    pub fn first(mode: Mode, revision: u64, cause: &str, now: Timestamp) -> ModeRecord {
        ModeRecord {
            format: RECORD_FORMAT,
            revision,
            mode,
            phase: Phase::Settled,
            from: None,
            left: Left::default(),
            deadline: None,
            since: now,
            actor: Actor::gateway(),
            reason: None,
            message: None,
            cause: Some(cause.to_owned()),
            expires: None,
            back_at: None,
            drain: Some(DrainOutcome::Complete),
            abandoned: Vec::new(),
            drain_timeout_ms: None,
            on_timeout: None,
            force: false,
            scheduled: None,
            attempt: None,
            report: None,
            missing: Vec::new(),
            journal_head: None,
            unknown: Map::new(),
        }
    }

    /// Whether the fields agree with each other: the fields of a flip are set if and only if one is under way.
    pub fn is_consistent(&self) -> bool {
        let switching = self.phase == Phase::Switching;
        self.format == RECORD_FORMAT
            && self.from == switching.then(|| self.mode.other())
            && self.deadline.is_some() == switching
            && self.drain_timeout_ms.is_some() == switching
            && self.on_timeout.is_some() == switching
            && self.drain.is_none() == switching
    }

    /// While switching: when the drain times out; the rest of the flip may take until `deadline`.
    pub(crate) fn drain_deadline(&self) -> Option<Timestamp> {
        let timeout = Duration::from_millis(self.drain_timeout_ms?);
        Some(self.since.checked_add(timeout).unwrap_or(Timestamp::MAX))
    }

    /// The mode that a start puts in force: the one that an unfinished flip left. A flip to maintenance in place of a record
    /// that could not be read is brought to its end.
    pub(crate) fn mode_after_start(&self) -> Mode {
        if self.cause.as_deref() == Some(STATE_SET_ASIDE) { self.mode } else { self.stable_mode() }
    }

    /// While switching, the mode that is being left; settled, the mode itself: the mode in force if the flip does not
    /// continue.
    pub fn stable_mode(&self) -> Mode {
        self.from.unwrap_or(self.mode)
    }
}
