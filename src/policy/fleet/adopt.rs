//! The end of an operation: a read is checked and adopted, and the results of changes are reported. Which operation follows is
//! in `decide`.

use super::member::{Flip, Member, Standing, Stop, index, tell};
use super::words::{Effect, End, Id, Op, OpEnd, Record, Tried, View};
use crate::policy::flip::{Failure, Outcome, RecordKind, Step};

impl Member {
    pub(super) fn op_ended(&mut self, end: OpEnd, ids: &mut dyn FnMut() -> Id, effects: &mut Vec<Effect>) {
        let Some(op) = self.op.take() else { return };
        self.is_paused |= matches!(end, OpEnd::NotDone | OpEnd::Unknown);
        match (op, end) {
            (Op::Read { journal, .. }, OpEnd::Read(view)) => self.read(view, journal, ids, effects),
            (Op::Save { tried, .. }, OpEnd::Done(token)) => self.confirmed(&tried, token, effects),
            (Op::Save { tried, .. }, OpEnd::NotDone) if !tried.is_unknown => self.not_done(effects),
            // The journal shows its outcome: an earlier one of the same writes may have been done.
            (Op::Save { .. }, _) => {
                self.tried.iter_mut().for_each(|tried| tried.is_unknown = true);
                self.must_read = true;
            }
            (Op::PutEntry { entry, .. }, OpEnd::Done(token)) => {
                // Only a read that was sent after the entry was written shows what to adopt.
                self.must_read = self.standing != Standing::In;
                self.view.iter_mut().for_each(|view| view.own = Some((entry, token)));
            }
            (Op::DeleteEntry { .. }, OpEnd::Done(_)) => self.leave(effects),
            (Op::Read { .. } | Op::PutEntry { .. } | Op::DeleteEntry { .. }, _) => self.must_read = true,
        }
    }

    /// The own write is the record.
    fn confirmed(&mut self, tried: &Tried, token: i64, effects: &mut Vec<Effect>) {
        let requester = self.tried.take().and_then(|tried| tried.ticket);
        if let Some(view) = &mut self.view {
            // The roster that counts is read after the switching record was written.
            (view.record, view.token, view.others) = (tried.record, token, None);
        }
        self.adopt(tried.record, effects);
        self.is_written(Tried { ticket: requester, ..*tried }, effects);
        self.tell_ended(None, effects);
    }

    fn not_done(&mut self, effects: &mut Vec<Effect>) {
        self.must_read = true;
        let requester = self.tried.take().and_then(|tried| tried.ticket);
        effects.extend(requester.map(|ticket| Effect::Reply(ticket, End::StoreUnavailable)));
    }

    fn read(&mut self, view: View, journal: Option<u64>, ids: &mut dyn FnMut() -> Id, effects: &mut Vec<Effect>) {
        self.must_read = false;
        self.is_foreign = self.is_foreign(&view);
        if self.is_foreign {
            self.view = Some(view);
            return self.tell_all(End::StoreUnavailable, effects);
        }
        self.place(&view, ids, effects);
        if self.standing == Standing::In {
            self.is_fenced = false;
            self.adopt(view.record, effects);
            self.find_tried(&view, effects);
            self.tell_ended(journal.map(|revision| (revision, view.journal)), effects);
            self.consider(effects);
        } else {
            self.asking.iter_mut().for_each(|(_, is_sent)| *is_sent = false);
        }
        self.view = Some(view);
    }

    /// Another store, or an older copy of it: nothing in it counts.
    fn is_foreign(&self, view: &View) -> bool {
        let is_other = |known: Record| known.brief.revision == view.record.brief.revision && !known.is(&view.record);
        !view.is_home || view.record.brief.revision < self.memory.highest || self.in_force.is_some_and(is_other)
    }

    /// Where this member stands: an entry counts only if it is of this very joining.
    fn place(&mut self, view: &View, ids: &mut dyn FnMut() -> Id, effects: &mut Vec<Effect>) {
        let was = self.standing;
        self.standing = match &view.own {
            Some((entry, _)) if entry.incarnation == self.incarnation => Standing::In,
            Some((entry, _)) if entry.directory != self.memory.directory => Standing::Refused,
            Some(_) if self.stop < Stop::Emptied => {
                // Of a process that was killed.
                self.clear = [false; 2];
                effects.push(Effect::Crashed);
                Standing::Out
            }
            Some(_) | None => Standing::Out,
        };
        if self.standing != Standing::In && self.stop == Stop::Leaving {
            self.leave(effects);
        }
        if was == Standing::In && self.standing != Standing::In {
            self.incarnation = ids();
        }
        if self.standing == Standing::Refused && was != Standing::Refused {
            effects.push(Effect::Refused);
            self.tell_all(End::StoreUnavailable, effects);
        }
    }

    /// Adopts a record, never an earlier one.
    fn adopt(&mut self, record: Record, effects: &mut Vec<Effect>) {
        let before = self.in_force;
        if before.is_some_and(|before| before.brief.revision >= record.brief.revision) {
            return;
        }
        self.in_force = Some(record);
        self.memory.highest = record.brief.revision;
        (self.ready, self.want, self.has_turn, self.is_overdue) = (None, None, false, false);
        if let Some(ticket) = self.drop_pending() {
            self.waiting.push(ticket);
        }
        let mode = record.brief.mode;
        if before.is_none() && self.memory.opened == record.brief.revision {
            // The very record that this directory had in force last: only its own mode was open.
            self.clear[index(mode.other())] = true;
        }
        if record.brief.switching {
            self.drain = Default::default();
            self.flips.push(Flip::of(record, false));
        }
        if self.stop >= Stop::Emptied {
            return;
        }
        self.work = None;
        if record.brief.switching {
            self.begin_work(Step::Drain, effects);
        }
        let is_back = before.is_some_and(|before| before.brief.switching && before.brief.mode != mode);
        if is_back && self.touched_upstream {
            effects.push(Effect::SetUpstreamBack(record.failure.unwrap_or(Failure::Cancelled)));
        }
        self.touched_upstream &= record.brief.switching;
    }

    /// Resolves a write of unknown outcome: the journal's entry of its revision is this write, or it was never applied.
    fn find_tried(&mut self, view: &View, effects: &mut Vec<Effect>) {
        let Some(tried) = self.tried else { return };
        if view.record.brief.revision < tried.record.brief.revision {
            // Not yet: the same write is repeated.
            return;
        }
        let known = [Some(view.record), view.journal];
        let there = known.into_iter().flatten().find(|known| known.brief.revision == tried.record.brief.revision);
        self.tried = None;
        match there {
            Some(there) if there.is(&tried.record) => self.is_written(tried, effects),
            _ => self.waiting.extend(tried.ticket),
        }
    }

    /// The change of this write is made.
    fn is_written(&mut self, tried: Tried, effects: &mut Vec<Effect>) {
        let record = tried.record;
        if !matches!(tried.next.kind, RecordKind::Requested(_)) {
            return;
        }
        if !record.brief.switching {
            return tried.ticket.into_iter().for_each(|ticket| tell(effects, ticket, Outcome::InForce));
        }
        let known = self.flips.iter().position(|flip| flip.record.is(&record));
        let place = known.unwrap_or_else(|| {
            self.flips.insert(0, Flip::of(record, true));
            0
        });
        self.flips[place].is_mine = true;
        self.flips[place].tickets.extend(tried.ticket);
    }

    /// Tells the ends of flips: each is the record after its switching record. `asked`: what the journal holds there.
    fn tell_ended(&mut self, asked: Option<(u64, Option<Record>)>, effects: &mut Vec<Effect>) {
        let Some(in_force) = self.in_force else { return };
        for mut flip in std::mem::take(&mut self.flips) {
            let end = flip.record.brief.revision + 1;
            if in_force.brief.revision >= end {
                self.waiting.append(&mut flip.later);
            }
            let is_idle = flip.tickets.is_empty() && flip.cancel.is_none();
            match asked {
                _ if in_force.brief.revision < end => self.flips.push(flip),
                _ if is_idle => {}
                _ if in_force.brief.revision == end => self.tell_end(flip, Some(in_force), End::Of, effects),
                Some((revision, there)) if revision == end => {
                    self.tell_end(flip, there, |outcome| End::Journalled(outcome, end), effects);
                }
                _ => self.flips.push(flip),
            }
        }
    }

    /// Tells those who asked for a flip how it ended, by the record of its end; `None` if the journal has none.
    fn tell_end(&mut self, flip: Flip, ended: Option<Record>, end: impl Fn(Outcome) -> End, effects: &mut Vec<Effect>) {
        let Some(ended) = ended else {
            let unknown = flip.tickets.into_iter().chain(flip.cancel);
            return effects.extend(unknown.map(|ticket| Effect::Reply(ticket, End::StoreUnavailable)));
        };
        let is_settled = ended.brief.mode == flip.record.brief.mode;
        let failed = Outcome::Failed(ended.failure.unwrap_or(Failure::Cancelled));
        let told = if is_settled { Outcome::Settled } else { failed };
        effects.extend(flip.tickets.into_iter().map(|ticket| Effect::Reply(ticket, end(told))));
        match flip.cancel {
            // It came too late: a flip of its own.
            Some(ticket) if is_settled => self.waiting.push(ticket),
            Some(ticket) => effects.push(Effect::Reply(ticket, end(Outcome::Restored))),
            None => {}
        }
    }

    /// The requests that this read was sent after meet the record that it shows.
    fn consider(&mut self, effects: &mut Vec<Effect>) {
        self.asking.retain(|(ticket, is_sent)| {
            if *is_sent {
                effects.push(Effect::Consider(*ticket));
            }
            !is_sent
        });
    }
}
