//! The invariants of the model.

use super::world::{Asked, Record, World, index};
use crate::policy::flip::{Brief, Event, Failure, NextRecord, Outcome, RecordKind, Step, Ticket, UpstreamAnswer};
use crate::policy::mode::{DrainOutcome, Mode};

impl World {
    pub(super) fn save(&mut self, next: NextRecord) -> Result<(), String> {
        if self.writing.is_some() {
            return Err("two saves are under way".to_owned());
        }
        let asked = |ticket: Ticket| self.asked.iter().find(|(open, _)| *open == ticket).map(|(_, asked)| *asked);
        let base = self.switching.unwrap_or(self.gate);
        let Brief { mode, .. } = base.brief;
        let (mode, switching, forced) = match next.kind {
            RecordKind::Same => (self.gate.brief.mode, self.gate.brief.switching, self.gate.forced),
            RecordKind::Requested(ticket) => {
                let wanted = asked(ticket).ok_or("a change is saved whose requester is gone")?.mode;
                (wanted, wanted != self.gate.brief.mode, self.gate.forced)
            }
            RecordKind::Settled(drain) => (mode, false, drain == DrainOutcome::Forced),
            RecordKind::Cancelled(_) | RecordKind::Reverted(_) => (mode.other(), false, base.forced),
        };
        let brief = Brief { revision: next.revision, mode, switching };
        let record = if next.kind == RecordKind::Same {
            self.gate
        } else {
            // Control derives the record of a recovery from the one that was found, so it is the same after each crash.
            let life = if next.kind == RecordKind::Reverted(Failure::Recovered) { 0 } else { self.life };
            Record { brief, kind: next.kind, life, forced }
        };
        if switching {
            self.switching = Some(record);
        }
        self.writing = Some(record);
        self.is_new(record)
    }

    pub(super) fn is_durable(&mut self, record: Record) -> Result<(), String> {
        self.is_new(record)?;
        self.store = record;
        self.known.retain(|known| known.brief.revision >= record.brief.revision);
        self.keep(record);
        Ok(())
    }

    pub(super) fn publish(&mut self, record: Record) -> Result<(), String> {
        self.is_new(record)?;
        self.keep(record);
        if record.brief.revision < self.gate.brief.revision {
            return Err("a revision goes back".to_owned());
        }
        let Record { brief, kind, .. } = record;
        let settles = matches!(kind, RecordKind::Settled(_)) && brief.mode == Mode::Production;
        let is_forced = self.switching.is_some_and(|switching| match switching.kind {
            RecordKind::Requested(ticket) => self.asked.iter().any(|(open, asked)| *open == ticket && asked.force),
            _ => false,
        });
        if settles && !is_forced && !self.ucs_agrees {
            return Err("production settles although UCS is not in it".to_owned());
        }
        if !brief.switching {
            self.switching = None;
            self.touched_ucs &= !matches!(kind, RecordKind::Settled(_));
        }
        if self.found_switching && self.grace && !brief.switching {
            return Err("a single mode opens in the grace after a crash".to_owned());
        }
        self.found_switching &= brief.switching;
        self.gate = record;
        Ok(())
    }

    pub(super) fn keep(&mut self, record: Record) {
        if !self.known.contains(&record) {
            self.known.push(record);
        }
    }

    pub(super) fn is_new(&self, record: Record) -> Result<(), String> {
        let same = |known: &&Record| known.brief.revision == record.brief.revision && **known != record;
        let tried = [self.not_saved, self.just_saved];
        match self.known.iter().chain(tried.iter().flatten()).find(same) {
            Some(other) => Err(format!("one revision, two records: {record:?} and {other:?}")),
            None => Ok(()),
        }
    }

    pub(super) fn reply(&mut self, ticket: Ticket, outcome: Outcome) -> Result<(), String> {
        let place = self.asked.iter().position(|(open, _)| *open == ticket).ok_or("a request is answered twice")?;
        let (_, Asked { mode, .. }) = self.asked.remove(place);
        let settled_in = |mode: Mode| !self.gate.brief.switching && self.gate.brief.mode == mode;
        let is_success = matches!(outcome, Outcome::Settled | Outcome::InForce | Outcome::Restored);
        if is_success && (self.store != self.gate || !settled_in(mode)) {
            return Err(format!("{outcome:?} is told, but the record is not durable or not in force"));
        }
        let reverts = [Failure::NoSchema, Failure::Upstream, Failure::DrainTimeout, Failure::Cancelled];
        if reverts.into_iter().any(|failure| outcome == Outcome::Failed(failure)) && !settled_in(mode.other()) {
            return Err(format!("{outcome:?} is told, but the old mode is not in force"));
        }
        Ok(())
    }

    /// Settled and drained: nothing that the mode forbids is in flight, here or at UCS.
    pub(super) fn is_sound(&self) -> Result<(), String> {
        let Brief { mode, switching, .. } = self.gate.brief;
        let other = index(mode.other());
        let overlaps = self.running[other] || self.orphans[other];
        if self.gateway.is_some() && !switching && !self.gate.forced && overlaps {
            return Err("a forbidden operation runs under a settled record".to_owned());
        }
        let ended = self.gateway.as_ref().is_some_and(|state| state.step_under_way().is_none());
        if ended && !switching && self.touched_ucs {
            return Err("UCS is not set back".to_owned());
        }
        Ok(())
    }

    /// With an environment that is fair, and with one that only ever fails, nothing stays under way and no requester waits.
    pub(super) fn never_stuck(&self) -> Result<(), String> {
        for fails in [false, true] {
            let mut world = self.clone();
            let mut steps = 0;
            while world.goes_on(fails)? {
                steps += 1;
                if steps > 60 {
                    return Err("it never ends".to_owned());
                }
            }
            let Some(state) = &world.gateway else { continue };
            let is_open = !world.asked.is_empty() || !world.waiting.is_empty();
            if !state.is_idle() || is_open || (!state.is_stopping() && world.gate.brief.switching) {
                return Err(format!("it is stuck: {world:?}"));
            }
            if !fails && !state.is_stopping() && world.gate != world.store {
                return Err("the record in force is never saved".to_owned());
            }
        }
        Ok(())
    }

    /// The one next thing of a fair environment, or of one that fails; false if there is none.
    pub(super) fn goes_on(&mut self, fails: bool) -> Result<bool, String> {
        let Some(state) = &self.gateway else {
            self.restart()?;
            return Ok(true);
        };
        if !fails && state.is_unsaved() && state.is_idle() && !state.is_stopping() {
            self.feed(Event::RetryDue)?;
            return Ok(true);
        }
        if self.writing.is_some() {
            self.save_ends(!fails)?;
            return Ok(true);
        }
        let Some(work) = self.work else { return Ok(false) };
        if !fails {
            self.running = [false; 2];
        }
        if work == Step::Grace || !fails {
            self.end_grace();
        }
        self.ucs_agrees = !fails;
        let answer = if fails { UpstreamAnswer::Refused } else { UpstreamAnswer::InStep };
        self.feed(match work {
            Step::Look => Event::Looked { undefined: false },
            Step::Drain | Step::Cut => Event::Drained { complete: !fails },
            Step::Upstream => Event::UpstreamAnswered(answer),
            Step::Grace => Event::GraceOver,
            Step::Announce | Step::Settle | Step::Restore => return Err("a save has no other work".to_owned()),
        })?;
        Ok(true)
    }
}
