//! The local close: an operator closes both single modes at one gateway alone, whatever the record says. Its file keeps the
//! latest changes, the last of which is in force. Pure: no clock, no I/O.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Actor;

/// The cause of a close by an operator, and the reason of every refusal that follows from it.
const LOCAL_CLOSE: &str = "local_close";

/// The changes that are kept for the history.
const KEPT: usize = 100;

/// Why both single modes are closed at this gateway alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Local {
    /// The gateway's word: `local_close`.
    pub cause: String,
    pub since: Timestamp,
    /// The operator's own words.
    pub reason: Option<String>,
    /// The principal that closed it.
    pub(crate) actor: Actor,
}

/// A requested close, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalChange {
    /// Close, or open again.
    pub closed: bool,
    /// The operator's reason.
    pub reason: Option<String>,
    /// The requester.
    pub actor: Actor,
}

/// One change, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalEntry {
    pub time: Timestamp,
    /// Closed, or opened again.
    pub closed: bool,
    /// The gateway's word.
    pub cause: String,
    /// The operator's own words.
    pub reason: Option<String>,
    pub actor: Actor,
    /// Members that this program does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The latest changes, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalLog {
    format: u32,
    changes: Vec<LocalEntry>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Default for LocalLog {
    fn default() -> LocalLog {
        LocalLog { format: 1, changes: Vec::new(), unknown: Map::new() }
    }
}

impl LocalLog {
    /// The log in a file. A format that this program does not know is an error.
    pub(crate) fn read(text: &str) -> Result<LocalLog, String> {
        let log: LocalLog = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if log.format == 1 { Ok(log) } else { Err(format!("its format is {}", log.format)) }
    }

    /// A log that closes, for a file that cannot be read: it may have closed too.
    pub(crate) fn closed_for(reason: String, now: Timestamp) -> LocalLog {
        let closed = LocalChange { closed: true, reason: Some(reason), actor: Actor::gateway() };
        LocalLog::default().after(&closed, now)
    }

    pub(crate) fn in_force(&self) -> Option<Local> {
        let LocalEntry { time, cause, reason, actor, .. } = self.changes.last().filter(|entry| entry.closed)?.clone();
        Some(Local { cause, since: time, reason, actor })
    }

    /// The changes, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &LocalEntry> {
        self.changes.iter().rev()
    }

    /// The log after a change; the same one if the change says nothing new.
    pub(crate) fn after(&self, change: &LocalChange, now: Timestamp) -> LocalLog {
        let in_force = self.in_force();
        let is_new_reason = change.reason.is_some() && in_force.as_ref().is_some_and(|now| now.reason != change.reason);
        if change.closed == in_force.is_some() && !(change.closed && is_new_reason) {
            return self.clone();
        }
        let mut log = self.clone();
        log.changes.push(LocalEntry {
            // A close with a new reason is still the same close.
            time: in_force.filter(|_| change.closed).map_or(now, |now| now.since),
            closed: change.closed,
            cause: LOCAL_CLOSE.to_owned(),
            reason: change.reason.clone(),
            actor: change.actor.clone(),
            unknown: Map::new(),
        });
        log.changes.drain(..log.changes.len().saturating_sub(KEPT));
        log
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn change(closed: bool, reason: &str) -> LocalChange {
        LocalChange { closed, reason: Some(reason.to_owned()), actor: Actor::gateway() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_last_change_is_in_force_and_says_something_new() {
        let empty = LocalLog::default();
        assert_eq!(empty.after(&change(false, "open already"), at(1)), empty);
        let closed = empty.after(&change(true, "disk"), at(1));
        let local = closed.in_force().unwrap();
        assert_eq!((&*local.cause, local.since, local.reason.as_deref()), ("local_close", at(1), Some("disk")));
        assert_eq!(closed.after(&change(true, "disk"), at(2)), closed);
        let reworded = closed.after(&change(true, "disk 7"), at(2)).in_force().unwrap();
        assert_eq!((reworded.since, reworded.reason.as_deref()), (at(1), Some("disk 7")));
        let opened = closed.after(&change(false, "mended"), at(3));
        assert_eq!((opened.in_force(), opened.newest_first().count()), (None, 2));
    }

    #[test]
    fn the_file_is_read_back_with_what_a_newer_version_has_added_and_stays_short() {
        let mut log = LocalLog::default();
        for second in 0..1000 {
            log = log.after(&change(second % 2 == 0, "again"), at(second));
        }
        assert_eq!(log.newest_first().count(), 100);
        let mut json = serde_json::to_value(&log).unwrap();
        json["colour"] = "green".into();
        json["changes"][99]["colour"] = "green".into();
        let read = LocalLog::read(&json.to_string()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), json);
        for foreign in ["", "{}", "[]", r#"{"format":2,"changes":[]}"#] {
            assert!(LocalLog::read(foreign).is_err(), "{foreign}");
        }
    }
}
