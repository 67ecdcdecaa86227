//! The step function: the effects of an event.

use super::state::{
    Applied, Brief, Effect, Event, Failure, Flip, NextRecord, Outcome, Purpose, RecordKind, Saving, State, Step,
    Ticket, UpstreamAnswer, Wish,
};
use crate::policy::mode::{DrainOutcome, Mode, OnTimeout};

impl State {
    /// The state of a start that found `record`, and the first effects. If that is switching, `restored` is the mode that
    /// follows. `used` is the highest revision that may have been reported before.
    pub(crate) fn found(record: Brief, restored: Mode, used: u64) -> (State, Vec<Effect>) {
        let tried = used.max(record.revision);
        let mut state = State { in_force: record, unsaved: false, tried, saving: None, flip: None, stopping: false };
        if !record.switching {
            return (state, Vec::new());
        }
        // Nothing of a single mode is admitted until the grace is over.
        let flip =
            Flip { step: Step::Grace, touched_upstream: true, ..Flip::to(restored.other(), OnTimeout::Revert, false) };
        state.flip = Some(flip);
        (state, vec![Effect::Begin(Step::Grace)])
    }

    /// The step that the flip under way waits for.
    pub(crate) fn step_under_way(&self) -> Option<Step> {
        self.flip.as_ref().map(|flip| flip.step)
    }

    /// Whether no change and no save is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.flip.is_none() && self.saving.is_none()
    }

    /// The store may hold a record that was not put in force: saving the one in force is retried.
    pub(crate) fn lose_track(&mut self) {
        self.unsaved = true;
    }

    /// Whether the store may not hold the record in force.
    #[cfg(test)]
    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved
    }

    /// Whether the record in force is settled and durable: the next start then finds all that was ever reported.
    pub(crate) fn is_settled_durably(&self) -> bool {
        self.is_idle() && !self.unsaved && !self.in_force.switching
    }

    /// Whether the gateway stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The requester that began the flip under way.
    pub(crate) fn first_requester(&self) -> Option<Ticket> {
        self.flip.as_ref().and_then(|flip| flip.tickets.first().copied())
    }

    /// Steps the state. Total: an event that no longer matters has no effect.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        match (event, self.step_under_way()) {
            (Event::Requested(wish), _) => self.requested(wish),
            (Event::Looked { undefined: true }, Some(Step::Look)) => self.give_up(Outcome::NoSchema),
            (Event::Looked { undefined: false }, Some(Step::Look)) => self.announce(),
            (Event::Drained { complete }, Some(Step::Drain)) => self.drained(complete),
            (Event::Drained { complete: true }, Some(Step::Cut)) => self.begin(Step::Upstream),
            (Event::Drained { complete: false }, Some(Step::Cut)) => self.restore(Failure::DrainTimeout),
            (Event::UpstreamAnswered(answer), Some(Step::Upstream)) => self.upstream_answered(answer),
            (Event::GraceOver, Some(Step::Grace)) => self.restore(Failure::Recovered),
            (Event::SaveEnded { saved }, step) => self.save_ended(saved, step),
            (Event::RetryDue, None) if self.unsaved && self.saving.is_none() => {
                vec![self.save(Purpose::Retry, self.in_force, RecordKind::Same)]
            }
            (Event::Stop, step) => self.stop(step),
            (
                Event::Looked { .. }
                | Event::Drained { .. }
                | Event::UpstreamAnswered(_)
                | Event::GraceOver
                | Event::RetryDue,
                _,
            ) => Vec::new(),
        }
    }

    fn requested(&mut self, wish: Wish) -> Vec<Effect> {
        if self.stopping {
            return vec![Effect::Reply(wish.ticket, Outcome::ShuttingDown)];
        }
        match &self.flip {
            Some(_) if wish.applied == Applied::Later => vec![Effect::Wait(wish.ticket)],
            Some(flip) if wish.mode == flip.target => self.requested_again(wish),
            Some(_) => self.requested_back(wish),
            None if self.saving.is_some() => vec![Effect::Wait(wish.ticket)],
            None => self.requested_idle(wish),
        }
    }

    fn requested_idle(&mut self, wish: Wish) -> Vec<Effect> {
        let ticket = wish.ticket;
        match wish.applied {
            Applied::Stale => vec![Effect::Reply(ticket, Outcome::Stale)],
            Applied::Refused | Applied::Later => vec![Effect::Reply(ticket, Outcome::Busy)],
            // Nothing changes, but a record that is not durable is never acknowledged.
            Applied::Same if self.unsaved => vec![self.save(Purpose::Note(ticket), self.in_force, RecordKind::Same)],
            Applied::Same => vec![Effect::Reply(ticket, Outcome::InForce)],
            Applied::Noted => {
                let noted = Brief { revision: self.next_revision(), ..self.in_force };
                vec![self.save(Purpose::Note(ticket), noted, RecordKind::Requested(ticket))]
            }
            Applied::Flip => {
                self.flip = Some(Flip { tickets: vec![ticket], ..Flip::to(wish.mode, wish.on_timeout, wish.force) });
                let looks = wish.mode == Mode::Production && !wish.force;
                if looks { vec![Effect::Begin(Step::Look)] } else { self.announce() }
            }
        }
    }

    /// A request for the target of the flip under way joins it.
    fn requested_again(&mut self, wish: Wish) -> Vec<Effect> {
        let Some(flip) = &mut self.flip else { return Vec::new() };
        if wish.applied == Applied::Stale {
            return vec![Effect::Reply(wish.ticket, Outcome::Stale)];
        }
        let ends = flip.cancel.is_some() || matches!(flip.step, Step::Grace | Step::Restore);
        if !wish.requested || ends {
            return vec![Effect::Reply(wish.ticket, Outcome::Busy)];
        }
        flip.tickets.push(wish.ticket);
        Vec::new()
    }

    /// A request for the mode that the flip under way leaves cancels it.
    fn requested_back(&mut self, wish: Wish) -> Vec<Effect> {
        let Some(flip) = &mut self.flip else { return Vec::new() };
        let refusal = match wish.applied {
            Applied::Stale => Some(Outcome::Stale),
            _ if !wish.requested || flip.cancel.is_some() => Some(Outcome::Busy),
            _ if wish.lacks_schema => Some(Outcome::NoSchema),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return vec![Effect::Reply(wish.ticket, refusal)];
        }
        match flip.step {
            Step::Look => {
                let mut effects = self.give_up(Outcome::Failed(Failure::Cancelled));
                effects.push(Effect::Wait(wish.ticket));
                effects
            }
            // The old mode is on its way. The record that a start restores must not depend on a requester: if it cannot be saved, the
            // next start restores it under the same revision.
            Step::Grace | Step::Restore => vec![Effect::Wait(wish.ticket)],
            // The outcome of the save under way comes first.
            Step::Announce | Step::Settle => {
                flip.cancel = Some(wish.ticket);
                Vec::new()
            }
            Step::Drain | Step::Cut | Step::Upstream => {
                flip.cancel = Some(wish.ticket);
                self.restore(Failure::Cancelled)
            }
        }
    }

    fn drained(&mut self, complete: bool) -> Vec<Effect> {
        let Some(flip) = &mut self.flip else { return Vec::new() };
        match flip.on_timeout {
            _ if complete => self.begin(Step::Upstream),
            OnTimeout::Revert => self.restore(Failure::DrainTimeout),
            OnTimeout::Commit => {
                flip.drain = DrainOutcome::Forced;
                self.begin(Step::Upstream)
            }
            OnTimeout::Cut => {
                flip.drain = DrainOutcome::Assumed;
                self.begin(Step::Cut)
            }
        }
    }

    /// UCS can spoil a flip to production, never one to maintenance: the gate admits nothing that UCS should refuse.
    fn upstream_answered(&mut self, answer: UpstreamAnswer) -> Vec<Effect> {
        let Some(flip) = &self.flip else { return Vec::new() };
        match answer {
            UpstreamAnswer::InStep => self.settle(),
            _ if flip.target == Mode::Maintenance => self.settle(),
            UpstreamAnswer::NoSchema | UpstreamAnswer::Absent if flip.force => self.settle(),
            UpstreamAnswer::NoSchema => self.restore(Failure::NoSchema),
            UpstreamAnswer::Absent | UpstreamAnswer::Refused => self.restore(Failure::Upstream),
        }
    }

    fn save_ended(&mut self, saved: bool, step: Option<Step>) -> Vec<Effect> {
        let Some(saving) = self.saving.take() else { return Vec::new() };
        match (saving.purpose, step) {
            (Purpose::Flip, Some(Step::Announce)) => self.announced(saved, saving.record),
            (Purpose::Flip, Some(Step::Settle)) => self.settled(saved, saving.record),
            (Purpose::Flip, _) => self.restored(saved, saving.record),
            (Purpose::Retry, _) if saved => self.publish(saving.record),
            (Purpose::Retry, _) => Vec::new(),
            (Purpose::Note(ticket), _) if saved => {
                let mut effects = self.publish(saving.record);
                effects.push(Effect::Reply(ticket, Outcome::InForce));
                effects
            }
            (Purpose::Note(ticket), _) => vec![Effect::Reply(ticket, Outcome::NotDurable)],
        }
    }

    fn announced(&mut self, saved: bool, record: Brief) -> Vec<Effect> {
        if !saved {
            return self.give_up(Outcome::NotDurable);
        }
        // The switching record is durable, but nothing was refused because of it yet.
        if let Some(failure) = self.taken_back() {
            return self.restore(failure);
        }
        let mut effects = self.publish(record);
        effects.extend(self.begin(Step::Drain));
        effects
    }

    fn settled(&mut self, saved: bool, record: Brief) -> Vec<Effect> {
        if !saved {
            return self.restore(self.taken_back().unwrap_or(Failure::NotDurable));
        }
        // A cancel that came meanwhile is a flip of its own.
        let mut effects = self.publish(record);
        effects.extend(self.give_up(Outcome::Settled));
        effects
    }

    /// The old mode is in force again, whether it could be saved or not; UCS is set back afterwards.
    fn restored(&mut self, saved: bool, record: Brief) -> Vec<Effect> {
        let Some(flip) = self.flip.take() else { return Vec::new() };
        let failure = flip.failure.unwrap_or(Failure::Recovered);
        let mut effects = self.publish(record);
        if !saved {
            self.unsaved = true;
            effects = vec![Effect::KeepUnsaved];
        }
        if flip.touched_upstream {
            effects.push(Effect::SetUpstreamBack(failure));
        }
        let told = match failure {
            Failure::Cancelled if !saved => Outcome::NotDurable,
            failure => Outcome::Failed(failure),
        };
        effects.extend(flip.tickets.iter().map(|ticket| Effect::Reply(*ticket, told)));
        // A record that is not durable is never acknowledged.
        let cancelled = if saved { Outcome::Restored } else { Outcome::NotDurable };
        effects.extend(flip.cancel.map(|ticket| Effect::Reply(ticket, cancelled)));
        effects
    }

    fn stop(&mut self, step: Option<Step>) -> Vec<Effect> {
        self.stopping = true;
        match step {
            Some(Step::Drain | Step::Cut | Step::Upstream) => self.restore(Failure::ShuttingDown),
            // The next start waits for the grace.
            Some(Step::Look | Step::Grace) => self.give_up(Outcome::ShuttingDown),
            // The outcome of the save under way comes first.
            Some(Step::Announce | Step::Settle | Step::Restore) | None => Vec::new(),
        }
    }

    /// Why the flip is to be taken back although its save went well.
    fn taken_back(&self) -> Option<Failure> {
        let cancelled = self.flip.as_ref().is_some_and(|flip| flip.cancel.is_some());
        match () {
            () if cancelled => Some(Failure::Cancelled),
            () if self.stopping => Some(Failure::ShuttingDown),
            () => None,
        }
    }

    fn announce(&mut self) -> Vec<Effect> {
        let revision = self.next_revision();
        let Some(flip) = &mut self.flip else { return Vec::new() };
        flip.step = Step::Announce;
        let ticket = flip.tickets.first().copied().unwrap_or_default();
        let record = Brief { revision, mode: flip.target, switching: true };
        vec![self.save(Purpose::Flip, record, RecordKind::Requested(ticket))]
    }

    /// Goes on to a step that is no save.
    fn begin(&mut self, step: Step) -> Vec<Effect> {
        let Some(flip) = &mut self.flip else { return Vec::new() };
        flip.step = step;
        flip.touched_upstream |= step == Step::Upstream;
        vec![Effect::Begin(step)]
    }

    fn settle(&mut self) -> Vec<Effect> {
        let revision = self.next_revision();
        let Some(flip) = &mut self.flip else { return Vec::new() };
        flip.step = Step::Settle;
        let (record, drain) = (Brief { revision, mode: flip.target, switching: false }, flip.drain);
        vec![self.save(Purpose::Flip, record, RecordKind::Settled(drain))]
    }

    /// The old mode first: durably, then at the gate.
    pub(super) fn restore(&mut self, failure: Failure) -> Vec<Effect> {
        let revision = self.next_revision();
        let Some(flip) = &mut self.flip else { return Vec::new() };
        flip.step = Step::Restore;
        flip.failure = Some(failure);
        let record = Brief { revision, mode: flip.target.other(), switching: false };
        let kind = flip.cancel.map_or(RecordKind::Reverted(failure), RecordKind::Cancelled);
        vec![self.save(Purpose::Flip, record, kind)]
    }

    /// Ends the flip where no record follows; a cancel that was noted is requested again.
    fn give_up(&mut self, outcome: Outcome) -> Vec<Effect> {
        let Some(flip) = self.flip.take() else { return Vec::new() };
        let replies = flip.tickets.iter().map(|ticket| Effect::Reply(*ticket, outcome));
        replies.chain(flip.cancel.map(Effect::Wait)).collect()
    }

    fn save(&mut self, purpose: Purpose, record: Brief, kind: RecordKind) -> Effect {
        self.saving = Some(Saving { record, purpose });
        Effect::Save(NextRecord { revision: record.revision, kind })
    }

    fn publish(&mut self, record: Brief) -> Vec<Effect> {
        self.in_force = record;
        self.unsaved = false;
        vec![Effect::Publish]
    }

    /// A revision that no save has tried before: one revision never names two records.
    fn next_revision(&mut self) -> u64 {
        self.tried = self.tried.max(self.in_force.revision).saturating_add(1);
        self.tried
    }
}

impl Flip {
    fn to(target: Mode, on_timeout: OnTimeout, force: bool) -> Flip {
        Flip {
            target,
            on_timeout,
            force,
            step: Step::Look,
            tickets: Vec::new(),
            cancel: None,
            failure: None,
            drain: DrainOutcome::Complete,
            touched_upstream: false,
        }
    }
}
