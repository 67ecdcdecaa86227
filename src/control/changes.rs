//! From a requested change to its result: each has a ticket for the step function, whose reply becomes the result that the
//! requester receives.

use std::sync::Arc;

use jiff::Timestamp;

use crate::control::requests::{Ended, Request, Requester};
use crate::control::stats::count_change;
use crate::control::{Alarms, Control};
use crate::control_handle::{ChangeError, FlipReport, Flipped};
use crate::policy::fleet;
use crate::policy::flip::{Applied, Event, Failure, Outcome, Ticket, Wish};
use crate::policy::mode::{self, Change, Mode, ModeRecord, Phase, Refusal, SchemaKnowledge, When};

impl Control {
    pub(super) fn submit(&mut self, change: Change, requester: Requester) {
        self.next_ticket += 1;
        self.requests.insert(self.next_ticket, Request { change, requester });
        self.request(self.next_ticket);
    }

    /// Requests the change of this ticket, for the first time or again.
    pub(super) fn request(&mut self, ticket: Ticket) {
        if let Some(fleet) = self.protocol.fleet() {
            // It is compared with the record of a read that comes after it.
            fleet.timers.requested();
            return self.feed_fleet(fleet::Event::Asked(ticket));
        }
        if let Some(wish) = self.wish(ticket) {
            self.feed(Event::Requested(wish));
        }
    }

    /// The change as the step function sees it.
    pub(super) fn wish(&self, ticket: Ticket) -> Option<Wish> {
        let Request { change, requester } = self.requests.get(&ticket)?;
        let record = self.record();
        let applied = match mode::apply(record, change, Timestamp::now()) {
            Err(Refusal::Stale) => Applied::Stale,
            Err(Refusal::Busy) if is_unscheduling(change) => Applied::Later,
            Err(Refusal::Busy | Refusal::NotSwitching | Refusal::NotDue) => Applied::Refused,
            Ok(next) if next == **record => Applied::Same,
            Ok(next) if next.phase == Phase::Switching => Applied::Flip,
            Ok(_) => Applied::Noted,
        };
        let (mode, on_timeout, force) = match change {
            Change::Set(wanted) => (wanted.mode, wanted.on_timeout.unwrap_or_default(), wanted.force),
            Change::RunScheduled { .. } => {
                record.scheduled.as_ref().map_or((record.mode, Default::default(), false), |to| {
                    (to.mode, to.on_timeout.unwrap_or_default(), to.force)
                })
            }
            Change::Expire { .. } => (record.mode.other(), Default::default(), false),
            _ => (record.mode, Default::default(), false),
        };
        let lacks_schema = mode == Mode::Production && !force && self.schema.knowledge() == SchemaKnowledge::Undefined;
        // A change that is scheduled for later neither joins a flip nor cancels it.
        let is_later = matches!(change, Change::Set(wanted) if wanted.at.is_some());
        let requested = matches!(requester, Requester::Command(_)) && !is_later;
        Some(Wish { ticket, mode, requested, applied, on_timeout, force, lacks_schema })
    }

    /// Sends a requester its result. `counts`: one flip counts once, however many requests joined or cancelled it.
    pub(super) fn reply(&mut self, ticket: Ticket, outcome: Outcome, counts: bool) {
        self.reply_with(ticket, self.ended(outcome), counts);
    }

    pub(super) fn reply_with(&mut self, ticket: Ticket, ended: Ended, counts: bool) {
        let Some(Request { requester, .. }) = self.requests.remove(&ticket) else { return };
        if counts {
            count_change(&self.stats, &ended);
        }
        if ended.is_ok() && matches!(requester, Requester::Command(_)) {
            let Alarms { start, followed, scheduled, .. } = &mut self.alarms;
            let cleared = [start.take(), followed.take(), scheduled.take()];
            if cleared.iter().any(Option::is_some) {
                self.publish();
            }
        }
        match requester {
            // The requester may have disconnected; the change stands.
            Requester::Command(reply) => drop(reply.send(ended)),
            automatic => self.automatic_change_ended(automatic, ended),
        }
    }

    /// The store of the fleet did not respond, or does not count this gateway among its members.
    pub(super) fn store_unavailable(&self) -> ChangeError {
        if let Some(why) = self.why_not_in_fleet() {
            return ChangeError::NotInFleet(why);
        }
        ChangeError::StoreUnavailable(self.in_force.is_known().then(|| Arc::clone(self.record())))
    }

    pub(super) fn ended(&self, outcome: Outcome) -> Ended {
        self.ended_with(outcome, Arc::clone(self.record()), self.flip.report.clone())
    }

    /// The same with the record and the report of the end.
    pub(super) fn ended_with(&self, outcome: Outcome, record: Arc<ModeRecord>, report: FlipReport) -> Ended {
        match outcome {
            Outcome::Settled => Ok(Flipped { record, report: FlipReport { changed: true, ..report } }),
            Outcome::InForce => Ok(Flipped { record, report: FlipReport::default() }),
            Outcome::Restored => Ok(Flipped { record, report }),
            Outcome::Stale => Err(ChangeError::Stale(record)),
            Outcome::Busy | Outcome::Failed(Failure::Recovered) => Err(ChangeError::Busy(record)),
            Outcome::NoSchema | Outcome::Failed(Failure::NoSchema) => Err(ChangeError::NoSchema(record)),
            Outcome::NotDurable | Outcome::Failed(Failure::NotDurable) => {
                Err(ChangeError::NotDurable { record, detail: self.flip.save_error.clone() })
            }
            Outcome::ShuttingDown | Outcome::Failed(Failure::ShuttingDown) => Err(ChangeError::ShuttingDown),
            Outcome::Failed(Failure::Cancelled) => Err(ChangeError::Cancelled(record)),
            Outcome::Failed(Failure::DrainTimeout) => Err(ChangeError::Deadline { record, report }),
            Outcome::Failed(Failure::MemberMissing) => Err(ChangeError::MemberMissing { record, report }),
            Outcome::Failed(Failure::Upstream) => {
                Err(ChangeError::Upstream { record, detail: self.flip.upstream_words.clone(), report })
            }
        }
    }
}

/// Whether it cancels the scheduled flip.
fn is_unscheduling(change: &Change) -> bool {
    matches!(change, Change::Set(wanted) if wanted.at == Some(When::Never))
}
