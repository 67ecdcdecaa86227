//! The record that follows: which change it is of, what its drain was, how long the whole flip may take. `mode::apply` decides
//! whether it may follow.

use std::time::Duration;

use jiff::Timestamp;
use tracing::error;

use crate::control::Control;
use crate::control::drain::unfinished;
use crate::control::fleet::keys::{MemberEntry, hex_id, random_id};
use crate::control::fleet::ops::{self, Sight};
use crate::control::protocol::Protocol;
use crate::policy::fleet::Tried;
use crate::policy::flip::{Failure, NextRecord, RecordKind, Ticket};
use crate::policy::mode::{self, Actor, Change, DrainOutcome, Mode, ModeRecord, OnTimeout, OperationCount, Phase};

/// The longest time for aborted exchanges to end, besides the orphan grace.
pub(super) const CUT_LIMIT: Duration = Duration::from_secs(10);

/// The longest wait for UCS in a flip to maintenance: it settles without UCS, which is set later.
const LONGEST_WAIT_FOR_MAINTENANCE: Duration = Duration::from_secs(15);

impl Control {
    /// The record of the next save.
    pub(super) fn next_record(&self, next: NextRecord) -> Result<ModeRecord, mode::Refusal> {
        let in_force = &**self.record();
        let switching = self.flip.switching.as_ref().unwrap_or(in_force);
        let now = Timestamp::now();
        let ends_a_drain = match next.kind {
            RecordKind::Settled(_) | RecordKind::Cancelled(_) => true,
            RecordKind::Reverted(failure) => failure != Failure::Recovered,
            RecordKind::Same | RecordKind::Requested(_) => false,
        };
        let (base, change, now) = match next.kind {
            RecordKind::Same => return Ok(in_force.clone()),
            RecordKind::Requested(ticket) => (in_force, self.requested_change(ticket), now),
            RecordKind::Cancelled(ticket) => (switching, self.requested_change(ticket), now),
            RecordKind::Settled(drain) => (switching, self.settle(drain), now),
            // The same record after each crash, as it may have been reported without being saved.
            RecordKind::Reverted(Failure::Recovered) => (switching, recovered(switching), switching.since),
            RecordKind::Reverted(failure) => (switching, revert(failure), now),
        };
        let mut record = mode::apply(base, &change, now)?;
        record.revision = next.revision;
        if ends_a_drain {
            record.report = Some(self.flip.report.of_the_drain());
        }
        if record.phase == Phase::Switching {
            record.attempt = new_attempt();
            self.extend_deadline(&mut record);
        }
        Ok(record)
    }

    fn requested_change(&self, ticket: Ticket) -> Change {
        let change = self.requests.get(&ticket).map(|request| request.change.clone());
        match change {
            Some(Change::Set(mut wanted)) => {
                wanted.drain_timeout.get_or_insert(self.drain_timeout);
                // The step function has compared it with the record in force.
                wanted.if_revision = None;
                Change::Set(wanted)
            }
            Some(change) => change,
            None => revert(Failure::Cancelled),
        }
    }

    fn settle(&self, drain: DrainOutcome) -> Change {
        let report = &self.flip.report;
        let has_orphans = self.orphans_until.is_some() || !report.abandoned.is_empty();
        let drain = match drain {
            DrainOutcome::Forced => DrainOutcome::Forced,
            _ if has_orphans => DrainOutcome::Assumed,
            _ => DrainOutcome::Complete,
        };
        Change::Settle { drain, abandoned: unfinished(drain, report) }
    }

    /// How long a flip may take beyond its drain timeout: the graces (after a cut, the end of the cut too), and UCS's step.
    fn beyond_the_drain(&self, record: &ModeRecord) -> Duration {
        let cut = if record.on_timeout == Some(OnTimeout::Cut) { CUT_LIMIT } else { Duration::ZERO };
        let upstream = if self.upstream.enabled() { self.upstream_limit(record.mode) } else { Duration::ZERO };
        self.orphan_grace + cut + upstream
    }

    pub(super) fn upstream_limit(&self, target: Mode) -> Duration {
        let limit = self.upstream.link.set_mode_timeout;
        if target == Mode::Maintenance { limit.min(LONGEST_WAIT_FOR_MAINTENANCE) } else { limit }
    }

    /// The record that a member of a fleet tries to write, on the one that it has read.
    pub(super) fn record_of_fleet(&self, tried: &Tried) -> Option<ModeRecord> {
        let Protocol::Fleet(fleet) = &self.protocol else { return None };
        let (before, sight) = (fleet.before(tried)?, fleet.sight()?);
        let change = match tried.next.kind {
            RecordKind::Requested(ticket) | RecordKind::Cancelled(ticket) => self.requested_change(ticket),
            RecordKind::Settled(drain) => {
                let others = acknowledged_by_others(sight, before.revision, fleet.node());
                let own = unfinished(drain, &self.flip.report);
                Change::Settle { drain, abandoned: OperationCount::added_up(own.into_iter().chain(others)) }
            }
            RecordKind::Reverted(failure) => revert(failure),
            RecordKind::Same => return None,
        };
        let mut next = match mode::apply(before, &change, Timestamp::now()) {
            Ok(next) => next,
            Err(refusal) => {
                error!(%refusal, "the record that a member wants cannot follow");
                return None;
            }
        };
        next.attempt = Some(hex_id(tried.record.attempt));
        if before.phase == Phase::Switching {
            next.report = Some(self.flip.report.of_the_drain());
        }
        if tried.next.kind == RecordKind::Reverted(Failure::MemberMissing) {
            next.missing = missing(sight, before.revision);
        }
        if next.phase == Phase::Switching {
            self.extend_deadline(&mut next);
        }
        let agrees = ops::record_of(&next).brief == tried.record.brief;
        if !agrees {
            error!(wanted = ?tried.record.brief, made = ?ops::record_of(&next).brief, "a record was not made as wanted");
        }
        agrees.then_some(next)
    }

    fn extend_deadline(&self, record: &mut ModeRecord) {
        let beyond = self.beyond_the_drain(record);
        record.deadline = record.deadline.map(|deadline| deadline.checked_add(beyond).unwrap_or(Timestamp::MAX));
    }
}

/// The requests that the other members have abandoned, by their acknowledgements of this record.
fn acknowledged_by_others<'s>(
    sight: &'s Sight,
    revision: u64,
    node: &'s str,
) -> impl Iterator<Item = OperationCount> + 's {
    let others = sight.contents.members.iter().filter(move |(name, _)| *name != node);
    let acks = others.filter_map(|(_, member)| member.value.ack.as_ref());
    acks.filter(move |ack| ack.revision == revision).flat_map(|ack| ack.abandoned.clone())
}

/// The members that have not acknowledged this record.
fn missing(sight: &Sight, revision: u64) -> Vec<String> {
    let lacks = |entry: &MemberEntry| entry.ack.as_ref().is_none_or(|ack| ack.revision != revision);
    let members = sight.contents.members.iter().filter(|(_, member)| lacks(&member.value));
    members.map(|(name, _)| name.clone()).collect()
}

/// The record of a flip that failed.
fn revert(failure: Failure) -> Change {
    Change::Revert { cause: failure.cause().to_owned(), actor: Actor::gateway() }
}

/// The end of a flip that a start found unfinished, after the grace: see [`ModeRecord::mode_after_start`].
fn recovered(switching: &ModeRecord) -> Change {
    if switching.mode_after_start() == switching.mode {
        return Change::Settle { drain: DrainOutcome::Assumed, abandoned: Vec::new() };
    }
    revert(Failure::Recovered)
}

/// A name that no other flip has, on this machine or another.
fn new_attempt() -> Option<String> {
    random_id().ok().map(hex_id)
}
