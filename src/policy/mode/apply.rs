//! The pure rule by which one record follows another. It keeps no clock and does no I/O.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Actor, ActorKind, DrainOutcome, End, Left, Mode, ModeChange, ModeRecord, OnTimeout, OperationCount, Phase,
    Scheduled, When,
};

/// The drain timeout if neither the change nor the operator sets one.
pub(crate) const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The cause of the record that says that UCS went to production past the gateway. It stays an alarm until the mode is
/// requested again, even the one in force.
pub(crate) const UPSTREAM_MOVED: &str = "upstream_moved";

/// The cause of the automatic switch, and of every refusal that follows from it. An alarm in the same way.
pub(crate) const NO_PROFILE_SCHEMA: &str = "no_profile_schema";

/// The causes of a revert by a stop or a crash: a scheduled flip is then still to come.
const INTERRUPTED: [&str; 2] = ["shutting_down", "recovered"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A mode is requested. During a flip, a request for its `from` cancels the flip.
    Set(ModeChange),
    /// The flip under way is over.
    Settle {
        /// How sure it is that no request of the old mode is running.
        drain: DrainOutcome,
        /// The requests behind that: given up on, or still running.
        abandoned: Vec<OperationCount>,
    },
    /// The flip under way failed: its `from` is in force again.
    Revert {
        /// The gateway's cause, e.g. `drain_timeout`.
        cause: String,
        actor: Actor,
    },
    /// The time of `expires` has come.
    Expire { drain_timeout: Duration },
    /// The time of the scheduled flip has come.
    RunScheduled {
        /// The drain timeout, if the flip has none.
        drain_timeout: Duration,
    },
    /// The scheduled flip is given up.
    GiveUpScheduled {
        /// The gateway's cause: `schedule_missed` or `schedule_failed`.
        cause: String,
    },
    /// A profile schema is defined, so `force` is no longer needed.
    EndForce,
}

/// The reason why a change does not apply to a record. The record stays unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// `if_revision` names another revision.
    #[error("the record is not at the requested revision")]
    Stale,
    #[error("a flip is under way")]
    Busy,
    /// No flip is under way that could settle or be reverted.
    #[error("no flip is under way")]
    NotSwitching,
    /// The time has not come yet, or there is no scheduled flip, or no `force` to end.
    #[error("the change is not due yet")]
    NotDue,
}

impl ModeRecord {
    /// Whether the flip under way was begun by the end of the mode that it leaves.
    fn is_expiry(&self) -> bool {
        self.actor.kind == ActorKind::Expiry
    }

    /// The expiry counts from settling, so it moves by the duration of the drain.
    fn expires_once_settled(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires.map(|expires| later(now, expires.duration_since(self.since).unsigned_abs()))
    }

    /// The target mode, drained.
    fn settled(&self, drain: DrainOutcome, abandoned: Vec<OperationCount>, now: Timestamp) -> ModeRecord {
        ModeRecord {
            expires: self.expires_once_settled(now),
            drain: Some(drain),
            abandoned: OperationCount::bounded(abandoned),
            ..self.at_rest(self.mode, now)
        }
    }

    /// The mode that a flip was leaving, as it was before the flip: a revert changes nothing about it.
    fn restored(&self, now: Timestamp) -> ModeRecord {
        let Left { expires, drain, abandoned, message, back_at, force, scheduled: _ } = self.left.clone();
        ModeRecord {
            expires,
            // Records of before this was kept say complete, as they always did.
            drain: drain.or(Some(DrainOutcome::Complete)),
            abandoned,
            message,
            back_at,
            force,
            ..self.at_rest(self.stable_mode(), now)
        }
    }

    fn at_rest(&self, mode: Mode, now: Timestamp) -> ModeRecord {
        ModeRecord {
            revision: self.revision.saturating_add(1),
            mode,
            phase: Phase::Settled,
            from: None,
            left: Left::default(),
            deadline: None,
            since: now,
            drain_timeout_ms: None,
            on_timeout: None,
            ..self.clone()
        }
    }

    fn switching(&self, drain_timeout: Duration, on_timeout: OnTimeout, now: Timestamp) -> ModeRecord {
        ModeRecord {
            revision: self.revision.saturating_add(1),
            mode: self.mode.other(),
            phase: Phase::Switching,
            from: Some(self.mode),
            left: Left {
                expires: self.expires,
                drain: self.drain,
                abandoned: self.abandoned.clone(),
                message: self.message.clone(),
                back_at: self.back_at,
                force: self.force,
                scheduled: None,
            },
            deadline: Some(later(now, drain_timeout)),
            since: now,
            message: None,
            back_at: None,
            drain: None,
            abandoned: Vec::new(),
            drain_timeout_ms: Some(u64::try_from(drain_timeout.as_millis()).unwrap_or(u64::MAX)),
            on_timeout: Some(on_timeout),
            attempt: None,
            report: None,
            missing: Vec::new(),
            ..self.clone()
        }
    }
}

/// The record that follows from `record` by `change`. Pure and total. The result is `record` itself (the request was already
/// fulfilled) or has a higher revision; revisions are assumed to stay below 2^63, which a gateway that flips every
/// microsecond reaches after 290,000 years.
pub(crate) fn apply(record: &ModeRecord, change: &Change, now: Timestamp) -> Result<ModeRecord, Refusal> {
    match (change, record.phase) {
        (Change::Set(requested), _) if requested.if_revision.is_some_and(|named| named != record.revision) => {
            Err(Refusal::Stale)
        }
        (Change::Set(ModeChange { at: Some(_), .. }), Phase::Switching) => Err(Refusal::Busy),
        (Change::Set(requested @ ModeChange { at: Some(at), .. }), Phase::Settled) => {
            Ok(schedule(record, requested, *at))
        }
        (Change::Set(requested), Phase::Settled) => Ok(set(record, requested, DEFAULT_DRAIN_TIMEOUT, now)),
        (Change::Set(requested), Phase::Switching) if Some(requested.mode) == record.from => {
            Ok(cancelled(record, requested, now))
        }
        (Change::Set(_), Phase::Switching) => Err(Refusal::Busy),
        (Change::Settle { drain, abandoned }, Phase::Switching) => Ok(record.settled(*drain, abandoned.clone(), now)),
        (Change::Revert { cause, actor }, Phase::Switching) => {
            let again = record.left.scheduled.clone().filter(|_| INTERRUPTED.contains(&&**cause));
            let scheduled = again.or_else(|| record.scheduled.clone());
            Ok(ModeRecord { actor: actor.clone(), cause: Some(cause.clone()), scheduled, ..record.restored(now) })
        }
        (Change::Settle { .. } | Change::Revert { .. }, Phase::Settled) => Err(Refusal::NotSwitching),
        (
            Change::Expire { .. } | Change::EndForce | Change::RunScheduled { .. } | Change::GiveUpScheduled { .. },
            Phase::Switching,
        ) => Err(Refusal::Busy),
        (Change::RunScheduled { drain_timeout }, Phase::Settled) => match &record.scheduled {
            Some(scheduled) if scheduled.is_due(now) => Ok(run(record, scheduled, *drain_timeout, now)),
            _ => Err(Refusal::NotDue),
        },
        (Change::GiveUpScheduled { cause }, Phase::Settled) if record.scheduled.is_some() => Ok(give_up(record, cause)),
        (Change::GiveUpScheduled { .. }, Phase::Settled) => Err(Refusal::NotDue),
        (Change::Expire { drain_timeout }, Phase::Settled) => match record.expires {
            Some(expires) if expires <= now => Ok(expired(record, *drain_timeout, now)),
            _ => Err(Refusal::NotDue),
        },
        (Change::EndForce, Phase::Settled) if record.force => Ok(ModeRecord { force: false, ..amended(record) }),
        (Change::EndForce, Phase::Settled) => Err(Refusal::NotDue),
    }
}

/// The scheduled flip. The record is amended first: the flip is no longer to come, even if the mode is in force already.
fn run(record: &ModeRecord, scheduled: &Scheduled, drain_timeout: Duration, now: Timestamp) -> ModeRecord {
    let begun = ModeRecord { scheduled: None, ..amended(record) };
    let mut next = set(&begun, &scheduled.change(), drain_timeout, now);
    if next.phase == Phase::Switching {
        next.left.scheduled = Some(scheduled.clone());
    }
    ModeRecord { revision: begun.revision, ..next }
}

/// The mode that is requested at rest: the same one is confirmed, the other one begins a flip.
fn set(record: &ModeRecord, requested: &ModeChange, default_drain: Duration, now: Timestamp) -> ModeRecord {
    if requested.mode == record.mode {
        return confirm(record, requested, now);
    }
    let drain_timeout = requested.drain_timeout.unwrap_or(default_drain);
    signed(record.switching(drain_timeout, requested.on_timeout.unwrap_or_default(), now), requested, now)
}

/// The flip is taken back. The old mode keeps what it had, unless the request says something else; but its end is over if the
/// flip was that end, or the mode would end again at once.
fn cancelled(record: &ModeRecord, requested: &ModeChange, now: Timestamp) -> ModeRecord {
    let restored = record.restored(now);
    let asked = confirm(&restored, requested, now);
    let ended = record.is_expiry() && requested.expires_in.is_none();
    ModeRecord {
        revision: restored.revision,
        actor: requested.actor.clone(),
        reason: requested.reason.clone(),
        cause: requested.cause.clone().or_else(|| Some("cancelled".to_owned())),
        expires: asked.expires.filter(|_| !ended),
        attempt: restored.attempt,
        ..asked
    }
}

/// The settled mode is requested again: a new record only if the request changes something else.
fn confirm(record: &ModeRecord, requested: &ModeChange, now: Timestamp) -> ModeRecord {
    let is_alarm = |cause: &Option<String>| matches!(cause.as_deref(), Some(UPSTREAM_MOVED | NO_PROFILE_SCHEMA));
    let is_new_alarm = is_alarm(&requested.cause) != is_alarm(&record.cause);
    let next = ModeRecord {
        reason: requested.reason.clone().or_else(|| record.reason.clone()),
        message: requested.message.clone().map_or_else(|| record.message.clone(), said),
        expires: if requested.expires_in.is_some() { end_of(requested, now) } else { record.expires },
        back_at: if requested.back_at.is_some() { promise_of(requested) } else { record.back_at },
        force: record.force || (requested.force && record.mode == Mode::Production),
        ..record.clone()
    };
    if next == *record && !is_new_alarm {
        return next;
    }
    // The cause of an earlier record does not apply to this one.
    ModeRecord { actor: requested.actor.clone(), cause: requested.cause.clone(), ..amended(&next) }
}

/// A scheduled flip is made, replaced or cancelled; the mode in force stays as it is.
fn schedule(record: &ModeRecord, requested: &ModeChange, at: When) -> ModeRecord {
    let scheduled = match at {
        When::At(at) => Some(Scheduled::of(requested, at)),
        When::Never => None,
    };
    if scheduled == record.scheduled {
        return record.clone();
    }
    // The cause stays: it tells how the mode in force came about.
    ModeRecord { actor: requested.actor.clone(), scheduled, ..amended(record) }
}

/// A scheduled flip is given up.
fn give_up(record: &ModeRecord, cause: &str) -> ModeRecord {
    ModeRecord { actor: Actor::gateway(), scheduled: None, cause: Some(cause.to_owned()), ..amended(record) }
}

/// The next record of a mode that stays. It is no part of the flip that brought the mode about.
fn amended(record: &ModeRecord) -> ModeRecord {
    ModeRecord { revision: record.revision.saturating_add(1), attempt: None, ..record.clone() }
}

/// Adds the fields of a request to the record of its flip.
fn signed(record: ModeRecord, requested: &ModeChange, now: Timestamp) -> ModeRecord {
    ModeRecord {
        actor: requested.actor.clone(),
        reason: requested.reason.clone(),
        message: requested.message.clone().and_then(said),
        cause: requested.cause.clone(),
        expires: end_of(requested, now),
        back_at: promise_of(requested),
        force: requested.force && requested.mode == Mode::Production,
        ..record
    }
}

/// A message; an empty one says nothing.
fn said(message: String) -> Option<String> {
    (!message.is_empty()).then_some(message)
}

fn promise_of(requested: &ModeChange) -> Option<Timestamp> {
    match requested.back_at {
        Some(When::At(time)) => Some(time),
        Some(When::Never) | None => None,
    }
}

/// The expiry of the requested mode, if it began now.
fn end_of(requested: &ModeChange, now: Timestamp) -> Option<Timestamp> {
    match requested.expires_in {
        Some(End::After(after)) => Some(later(now, after)),
        Some(End::Never) | None => None,
    }
}

fn expired(record: &ModeRecord, drain_timeout: Duration, now: Timestamp) -> ModeRecord {
    ModeRecord {
        actor: Actor::new(ActorKind::Expiry, "expiry"),
        reason: None,
        cause: Some("expired".to_owned()),
        expires: None,
        force: false,
        ..record.switching(drain_timeout, OnTimeout::Revert, now)
    }
}

/// `now` plus `duration`, or the end of time.
fn later(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}
