//! What must hold in the world of the model, whatever happens.

use super::mutants::Mutant;
use super::world::{Asked, World};
use crate::policy::fleet::member::index;
use crate::policy::fleet::words::{End, Event};
use crate::policy::flip::{Applied, Outcome, Ticket, Wish};

impl World {
    /// As control does: the change is compared with the record shown.
    pub(super) fn consider(&mut self, place: usize, ticket: Ticket) -> Result<(), String> {
        let process = &self.processes[place];
        let asked = process.asked.iter().find(|asked| asked.ticket == ticket);
        let Asked { mode, .. } = *asked.ok_or("a request is considered that was answered")?;
        let shown = process.member.as_ref().and_then(|member| member.shown).ok_or("nothing is shown")?;
        let record = shown.record.brief;
        let applied = match record.switching {
            true if record.mode == mode => Applied::Refused,
            true => Applied::Noted,
            false if record.mode == mode => Applied::Same,
            false => Applied::Flip,
        };
        let wish = Wish {
            ticket,
            mode,
            requested: true,
            applied,
            on_timeout: Default::default(),
            // The look at the schema is not the subject here.
            force: true,
            lacks_schema: false,
        };
        let no_force = Wish { force: false, ..wish };
        let wish = if self.left.refusals > 0 { no_force } else { wish };
        self.feed(place, Event::Requested(wish))
    }

    /// What a requester is told is true.
    pub(super) fn reply(&mut self, place: usize, ticket: Ticket, end: End) -> Result<(), String> {
        let process = &mut self.processes[place];
        let position = process.asked.iter().position(|asked| asked.ticket == ticket);
        let Asked { mode, revision, .. } = process.asked.remove(position.ok_or("a request is answered twice")?);
        let (outcome, ended) = match end {
            End::Of(outcome) => {
                (outcome, process.member.as_ref().and_then(|member| member.shown).map(|shown| shown.record))
            }
            End::Journalled(outcome, revision) => (outcome, self.store.journal.get(revision as usize - 1).copied()),
            End::StoreUnavailable => return Ok(()),
        };
        // The record that goes with it is the end of a flip to that mode.
        let ends = ended.is_none_or(|record| !record.brief.switching && record.brief.mode == mode);
        if matches!(outcome, Outcome::Settled | Outcome::Restored) && !ends && self.store.restored.is_none() {
            return Err(format!("{outcome:?} is told for {mode} with {ended:?}"));
        }
        let since = |revision: u64| self.store.journal.iter().skip(revision as usize - 1);
        let settled = |revision: u64| since(revision).any(|one| !one.brief.switching && one.brief.mode == mode);
        let reverted = since(revision).any(|one| one.failure.is_some() && one.brief.mode != mode);
        let is_true = match outcome {
            Outcome::Settled | Outcome::InForce | Outcome::Restored => settled(revision),
            Outcome::Failed(_) => reverted,
            _ => true,
        };
        if is_true || self.store.restored.is_some() {
            return Ok(());
        }
        Err(format!("{outcome:?} is told for {mode}, which is not so"))
    }

    /// Settled: nothing that the mode forbids is running, anywhere.
    pub(super) fn is_sound(&mut self) -> Result<(), String> {
        for process in &mut self.processes {
            if let Some(mode) = process.gate.map(index)
                && (!process.running[mode] || process.is_forgotten > process.excused[mode])
            {
                process.running[mode] = true;
                process.excused[mode] |= process.is_forgotten;
            }
        }
        let record = self.store.record.brief;
        if record.switching || self.store.restored.is_some() {
            return Ok(());
        }
        let overlaps = self.processes.iter().any(|process| process.overlaps(record.mode));
        if overlaps {
            return Err(format!("an operation runs that the settled {} forbids", record.mode));
        }
        Ok(())
    }

    /// Where nothing goes on by itself, nothing is left undone.
    pub(super) fn is_converged(&self) -> Result<(), String> {
        if self.store.restored.is_some() || self.forgetting.is_some() {
            return Ok(());
        }
        let record = self.store.record;
        let is_dead =
            |process: &super::part::Part<super::world::Process>| process.member.is_none() && !process.has_left;
        let has_dead = self.processes.iter().any(is_dead);
        if record.brief.switching && !has_dead {
            return Err("a flip never ends".to_owned());
        }
        for process in self.processes.iter().filter(|process| process.member.is_some()) {
            let member = process.member.as_ref().ok_or("filtered")?;
            let is_refused = self.left.nodes < self.left.processes && !member.is_in();
            if is_refused {
                continue;
            }
            let shown = member.shown.ok_or("a member shows nothing")?;
            if !shown.record.is(&record) {
                return Err("a member does not learn of a record".to_owned());
            }
            let is_open = process.gate.is_some() || shown.closed.is_some_and(|closed| closed.is_of_upstream());
            if !record.brief.switching && !is_open {
                return Err("a member stays closed".to_owned());
            }
            if !record.brief.switching && !process.asked.is_empty() {
                return Err("a requester waits for ever".to_owned());
            }
        }
        if self.mutant == Mutant::None && self.processes.iter().any(|process| process.half_read.is_some()) {
            return Err("half a read".to_owned());
        }
        Ok(())
    }
}
