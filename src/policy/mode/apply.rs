//! The pure rule by which one record follows another. It keeps no clock and does no I/O.

use std::time::Duration;

use jiff::Timestamp;

use super::{Actor, ActorKind, End, Mode, ModeChange, ModeRecord, OnTimeout, Phase};

/// The drain timeout if neither the change nor the operator sets one.
pub(crate) const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The format that this program writes and reads.
pub(crate) const RECORD_FORMAT: u32 = 1;

/// A change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A mode is requested. During a flip, a request for its `from` cancels the flip.
    Set(ModeChange),
    /// The flip under way is over; `drained` is true if no request of the old mode was in flight.
    Settle {
        /// False after a forced commit.
        drained: bool,
    },
    /// The flip under way failed: its `from` is in force again.
    Revert {
        /// The gateway's cause, e.g. `drain_timeout`.
        cause: String,
        /// The actor of the revert.
        actor: Actor,
    },
    /// The time of `expires` has come.
    Expire { drain_timeout: Duration },
    /// A profile schema is defined, so `force` is no longer needed.
    EndForce,
}

/// The reason why a change does not apply to a record. The record stays unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// `if_revision` names another revision.
    #[error("the record is not at the requested revision")]
    Stale,
    /// A flip is under way.
    #[error("a flip is under way")]
    Busy,
    /// No flip is under way that could settle or be reverted.
    #[error("no flip is under way")]
    NotSwitching,
    /// The expiry has not come yet, or there is no `force` to end.
    #[error("the change is not due yet")]
    NotDue,
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
            from_expires: None,
            from_drained: None,
            deadline: None,
            since: now,
            actor: Actor::gateway(),
            reason: None,
            cause: Some(cause.to_owned()),
            expires: None,
            drained: Some(true),
            drain_timeout_ms: None,
            on_timeout: None,
            force: false,
            journal_head: None,
        }
    }

    /// Whether the fields agree with each other: what a flip needs is there if and only if one is under way.
    pub fn is_consistent(&self) -> bool {
        let switching = self.phase == Phase::Switching;
        self.format == RECORD_FORMAT
            && self.from == switching.then(|| self.mode.other())
            && self.deadline.is_some() == switching
            && self.drain_timeout_ms.is_some() == switching
            && self.on_timeout.is_some() == switching
            && self.drained.is_none() == switching
    }

    /// While switching, the mode that is being left; settled, the mode itself: what is in force if nothing goes on.
    pub(crate) fn stable_mode(&self) -> Mode {
        self.from.unwrap_or(self.mode)
    }

    /// Whether the mode that is being left had been drained. Records of before this was kept say yes, as they always did.
    fn was_drained(&self) -> bool {
        self.from_drained.unwrap_or(true)
    }

    /// Whether the flip under way was begun by the end of the mode that it leaves.
    fn is_expiry(&self) -> bool {
        self.actor.kind == ActorKind::Expiry
    }

    /// The end counts from settling, so it moves on by what the drain took.
    fn expires_once_settled(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires.map(|expires| later(now, expires.duration_since(self.since).unsigned_abs()))
    }

    fn settled(&self, mode: Mode, drained: bool) -> ModeRecord {
        ModeRecord {
            revision: self.revision.saturating_add(1),
            mode,
            phase: Phase::Settled,
            from: None,
            from_expires: None,
            from_drained: None,
            deadline: None,
            drained: Some(drained),
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
            from_expires: self.expires,
            from_drained: self.drained,
            deadline: Some(later(now, drain_timeout)),
            since: now,
            drained: None,
            drain_timeout_ms: Some(u64::try_from(drain_timeout.as_millis()).unwrap_or(u64::MAX)),
            on_timeout: Some(on_timeout),
            ..self.clone()
        }
    }
}

impl Actor {
    /// The gateway itself.
    pub(crate) fn gateway() -> Actor {
        Actor { kind: ActorKind::Automatic, name: "gateway".to_owned() }
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
        (Change::Set(requested), Phase::Settled) if requested.mode == record.mode => {
            Ok(confirm(record, requested, now))
        }
        (Change::Set(requested), Phase::Settled) => {
            let drain_timeout = requested.drain_timeout.unwrap_or(DEFAULT_DRAIN_TIMEOUT);
            let switching = record.switching(drain_timeout, requested.on_timeout.unwrap_or_default(), now);
            Ok(signed(switching, requested, now))
        }
        (Change::Set(requested), Phase::Switching) if Some(requested.mode) == record.from => {
            let restored = ModeRecord { since: now, ..record.settled(requested.mode, record.was_drained()) };
            let cause = requested.cause.clone().or_else(|| Some("cancelled".to_owned()));
            let restored = signed(restored, requested, now);
            // A cancel restores the previous expiry unless it sets its own; but a cancel of a flip that the expiry started
            // removes it, or the mode would expire again at once.
            let before = record.from_expires.filter(|_| requested.expires_in.is_none() && !record.is_expiry());
            Ok(ModeRecord { cause, expires: restored.expires.or(before), ..restored })
        }
        (Change::Set(_), Phase::Switching) => Err(Refusal::Busy),
        (Change::Settle { drained }, Phase::Switching) => Ok(ModeRecord {
            since: now,
            expires: record.expires_once_settled(now),
            ..record.settled(record.mode, *drained)
        }),
        (Change::Revert { cause, actor }, Phase::Switching) => Ok(ModeRecord {
            since: now,
            actor: actor.clone(),
            cause: Some(cause.clone()),
            expires: record.from_expires,
            force: false,
            ..record.settled(record.stable_mode(), record.was_drained())
        }),
        (Change::Settle { .. } | Change::Revert { .. }, Phase::Settled) => Err(Refusal::NotSwitching),
        (Change::Expire { .. } | Change::EndForce, Phase::Switching) => Err(Refusal::Busy),
        (Change::Expire { drain_timeout }, Phase::Settled) => match record.expires {
            Some(expires) if expires <= now => Ok(expired(record, *drain_timeout, now)),
            _ => Err(Refusal::NotDue),
        },
        (Change::EndForce, Phase::Settled) if record.force => {
            Ok(ModeRecord { force: false, revision: record.revision.saturating_add(1), ..record.clone() })
        }
        (Change::EndForce, Phase::Settled) => Err(Refusal::NotDue),
    }
}

/// The settled mode is requested again: a new record only if the request changes something else.
fn confirm(record: &ModeRecord, requested: &ModeChange, now: Timestamp) -> ModeRecord {
    let new_reason = requested.reason.is_some() && requested.reason != record.reason;
    let new_force = requested.force && !record.force && record.mode == Mode::Production;
    let new_end = match requested.expires_in {
        None => false,
        Some(End::After(_)) => true,
        Some(End::Never) => record.expires.is_some(),
    };
    if !new_reason && !new_force && !new_end {
        return record.clone();
    }
    ModeRecord {
        revision: record.revision.saturating_add(1),
        actor: requested.actor.clone(),
        reason: requested.reason.clone().or_else(|| record.reason.clone()),
        // The cause of an earlier record does not apply to this one.
        cause: requested.cause.clone(),
        expires: if requested.expires_in.is_some() { end_of(requested, now) } else { record.expires },
        force: record.force || new_force,
        ..record.clone()
    }
}

/// Adds the actor, reason, cause and expiry of a request.
fn signed(record: ModeRecord, requested: &ModeChange, now: Timestamp) -> ModeRecord {
    ModeRecord {
        actor: requested.actor.clone(),
        reason: requested.reason.clone(),
        cause: requested.cause.clone(),
        expires: end_of(requested, now),
        force: requested.force && requested.mode == Mode::Production,
        ..record
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
        actor: Actor { kind: ActorKind::Expiry, name: "expiry".to_owned() },
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
