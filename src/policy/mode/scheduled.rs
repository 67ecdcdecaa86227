//! A flip at a time to come: its part of the record, and whether its time has come. It keeps no clock; `apply`
//! decides how it changes a record.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Actor, End, Mode, ModeChange, OnTimeout, When};
use crate::policy::duration::Written;

/// How late a scheduled flip may begin. A later one would surprise: it is given up, with an alarm.
const LATEST: Duration = Duration::from_secs(5 * 60);

/// The cause of the records of a scheduled flip.
const SCHEDULED: &str = "scheduled";

/// A flip at a time to come. It is made by an operator, stays over other flips, and leaves the record when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheduled {
    /// When it begins.
    pub at: Timestamp,
    /// Its target.
    pub mode: Mode,
    /// The requester.
    pub actor: Actor,
    /// This and the fields below have the meaning of their namesakes in a change of the mode.
    pub reason: Option<String>,
    /// For clients.
    #[serde(default)]
    pub message: Option<String>,
    /// For clients.
    #[serde(default)]
    pub back_at: Option<Timestamp>,
    /// The end of the mode, from settling.
    #[serde(default)]
    pub(crate) expires_in: Option<End>,
    #[serde(default)]
    pub(crate) drain_timeout: Option<Written>,
    #[serde(default)]
    pub on_timeout: Option<OnTimeout>,
    /// Without a profile schema.
    #[serde(default)]
    pub force: bool,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Scheduled {
    /// The flip that `requested` describes, at that time.
    pub(super) fn of(requested: &ModeChange, at: Timestamp) -> Scheduled {
        Scheduled {
            at,
            mode: requested.mode,
            actor: requested.actor.clone(),
            reason: requested.reason.clone(),
            message: requested.message.clone(),
            back_at: match requested.back_at {
                Some(When::At(time)) => Some(time),
                Some(When::Never) | None => None,
            },
            expires_in: requested.expires_in,
            drain_timeout: requested.drain_timeout.map(Written),
            on_timeout: requested.on_timeout,
            force: requested.force,
            unknown: Map::new(),
        }
    }

    /// The change that it makes when its time has come.
    pub(crate) fn change(&self) -> ModeChange {
        ModeChange {
            reason: self.reason.clone(),
            message: self.message.clone(),
            back_at: self.back_at.map(When::At),
            cause: Some(SCHEDULED.to_owned()),
            drain_timeout: self.drain_timeout.map(|timeout| timeout.0),
            on_timeout: self.on_timeout,
            expires_in: self.expires_in,
            force: self.force,
            ..ModeChange::to(self.mode, self.actor.clone())
        }
    }

    /// Whether its time has come, and has not passed so long ago that it is no longer expected.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now && !self.is_missed(now)
    }

    /// Whether its time was over for too long: the gateway was not running, a flip was under way, or the clock jumped.
    pub(crate) fn is_missed(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) > LATEST.try_into().unwrap_or(jiff::SignedDuration::MAX)
    }
}
