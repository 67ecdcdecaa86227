//! The decisions of a member: on requests, and on the one operation on the store that follows.

use super::member::{Member, Pending, Standing, Stop, tell};
use super::roster::acknowledged;
use super::words::{Ack, Effect, End, Entry, Id, Op, Record, Tried, View, Word};
use crate::policy::flip::{Applied, Brief, Failure, NextRecord, Outcome, RecordKind, Step, Wish};
use crate::policy::mode::Mode;

impl Member {
    /// A change meets the record of a read that was sent after the change was asked for.
    pub(super) fn requested(&mut self, wish: Wish, effects: &mut Vec<Effect>) {
        let ticket = wish.ticket;
        let Some(record) = self.in_force.filter(|_| self.standing == Standing::In && !self.is_foreign) else {
            return effects.push(Effect::Reply(ticket, End::StoreUnavailable));
        };
        match wish.applied {
            _ if self.is_stopping() => tell(effects, ticket, Outcome::ShuttingDown),
            Applied::Stale => tell(effects, ticket, Outcome::Stale),
            _ if record.brief.switching => self.requested_while_switching(wish, &record, effects),
            _ if self.pending.is_some() || self.tried.is_some() => self.waiting.push(ticket),
            Applied::Refused | Applied::Later => tell(effects, ticket, Outcome::Busy),
            Applied::Same => tell(effects, ticket, Outcome::InForce),
            Applied::Noted | Applied::Flip => {
                let looks = wish.applied == Applied::Flip && wish.mode == Mode::Production && !wish.force;
                self.pending = Some(Pending { wish, revision: record.brief.revision, looks });
                if looks {
                    self.begin_work(Step::Look, effects);
                }
            }
        }
    }

    /// A request for the target joins the flip, one for the mode that it leaves cancels it.
    fn requested_while_switching(&mut self, wish: Wish, record: &Record, effects: &mut Vec<Effect>) {
        let is_cancelled = matches!(self.want, Some(RecordKind::Cancelled(_)));
        let Some(flip) = self.flips.iter_mut().find(|flip| flip.record.is(record)) else {
            return self.waiting.push(wish.ticket);
        };
        if wish.applied == Applied::Later {
            flip.later.push(wish.ticket);
        } else if !wish.requested || is_cancelled {
            tell(effects, wish.ticket, Outcome::Busy);
        } else if wish.mode == record.brief.mode {
            flip.tickets.push(wish.ticket);
        } else if wish.lacks_schema {
            tell(effects, wish.ticket, Outcome::NoSchema);
        } else {
            flip.cancel = Some(wish.ticket);
            self.want = Some(RecordKind::Cancelled(wish.ticket));
        }
    }

    pub(super) fn looked(&mut self, undefined: bool, effects: &mut Vec<Effect>) {
        if self.work != Some(Step::Look) {
            return;
        }
        self.work = None;
        if undefined && let Some(ticket) = self.drop_pending() {
            tell(effects, ticket, Outcome::NoSchema);
        }
        self.pending.iter_mut().for_each(|pending| pending.looks = false);
    }

    /// The operation that follows. One at a time: a read is sent after all that the member knows was known.
    pub(super) fn next_op(&mut self, ids: &mut dyn FnMut() -> Id) -> Option<Op> {
        if self.op.is_some() || self.is_paused || self.stop == Stop::Left {
            return None;
        }
        let is_in = self.standing == Standing::In && !self.is_foreign;
        let view = self.view.take().filter(|_| !self.must_read);
        let write = view.as_ref().and_then(|view| self.next_write(view, ids));
        self.view = view;
        if write.is_some() {
            return write;
        }
        let (journal, roster) = (self.journal_wanted(), is_in && self.may_end());
        self.must_read |= roster && self.view.as_ref().is_none_or(|view| view.others.is_none());
        let asks = self.asking.iter().any(|(_, is_sent)| !is_sent);
        if !(self.must_read || self.is_dirty || (is_in && (asks || journal.is_some()))) {
            return None;
        }
        (self.is_dirty, self.must_read) = (false, true);
        if is_in {
            self.asking.iter_mut().for_each(|(_, is_sent)| *is_sent = true);
        }
        Some(Op::Read { journal, roster })
    }

    /// The entry of the journal that shows the outcome of a change.
    fn journal_wanted(&self) -> Option<u64> {
        let highest = self.in_force?.brief.revision;
        let ends = self.flips.iter().map(|flip| flip.record.brief.revision + 1).filter(|end| *end < highest);
        let tried = self.tried.map(|tried| tried.record.brief.revision);
        tried.or(ends.min())
    }

    fn next_write(&mut self, view: &View, ids: &mut dyn FnMut() -> Id) -> Option<Op> {
        match self.standing {
            _ if self.is_foreign => return None,
            Standing::Refused => return None,
            Standing::Out if self.stop >= Stop::Emptied => return None,
            Standing::Out => {
                let entry = Entry { directory: self.memory.directory, incarnation: self.incarnation, ack: None };
                return Some(Op::PutEntry { entry, token: view.own.map_or(0, |(_, token)| token) });
            }
            Standing::In => {}
        }
        let (own, token) = view.own?;
        if self.stop == Stop::Leaving {
            return Some(Op::DeleteEntry { token });
        }
        if let Some(tried) = self.tried {
            return Some(Op::Save { tried, own: token, again: true });
        }
        let ack = self.ack();
        if ack.is_some() && ack != own.ack {
            return Some(Op::PutEntry { entry: Entry { ack, ..own }, token });
        }
        if let Some(kind) = self.end_due(view) {
            let record = self.in_force?;
            return Some(self.save(view, token, ended(&record, kind), kind));
        }
        self.begin_change(view, token, ids)
    }

    /// What this member acknowledges: exactly the switching record in force, once it is done here.
    pub(super) fn ack(&self) -> Option<Ack> {
        let record = self.switching()?;
        let revision = self.ready.filter(|ready| *ready == record.brief.revision)?;
        let to_production = record.brief.mode == Mode::Production;
        let word = self.narrowed.filter(|_| to_production).unwrap_or(Word::InMode);
        Some(Ack { revision, word, drain: self.drain })
    }

    /// Whether this member may end the flip under way by the acknowledgements of all: only then it depends on their entries,
    /// and not before it has acknowledged the flip itself.
    pub(crate) fn may_end(&self) -> bool {
        let Some(record) = self.switching().filter(|_| self.want.is_none()) else { return false };
        let own = self.view.as_ref().and_then(|view| view.own?.0.ack);
        let is_mine = self.flips.iter().any(|flip| flip.is_mine && flip.record.is(record));
        let has_acknowledged = own.is_some_and(|ack| ack.revision == record.brief.revision);
        self.is_overdue || (has_acknowledged && (is_mine || self.has_turn))
    }

    /// How the flip under way can be ended, if it is this member's turn.
    fn end_due(&self, view: &View) -> Option<RecordKind> {
        let record = self.switching().filter(|record| record.is(&view.record))?;
        if self.want.is_some() {
            return self.want;
        }
        let others = view.others.as_ref()?;
        let roster = view.own.iter().map(|(entry, _)| entry).chain(others);
        let acknowledged = acknowledged(record.brief.revision, roster);
        let is_mine = self.flips.iter().any(|flip| flip.is_mine && flip.record.is(record));
        let refusal = acknowledged.refusal().filter(|_| record.brief.mode == Mode::Production);
        match refusal {
            _ if !acknowledged.is_full => self.is_overdue.then_some(RecordKind::Reverted(Failure::MemberMissing)),
            _ if !is_mine && !self.has_turn => None,
            Some(failure) => Some(RecordKind::Reverted(failure)),
            None => Some(RecordKind::Settled(acknowledged.drain)),
        }
    }

    fn begin_change(&mut self, view: &View, own: i64, ids: &mut dyn FnMut() -> Id) -> Option<Op> {
        let Pending { wish, revision, .. } = self.pending.filter(|pending| !pending.looks)?;
        self.pending = None;
        if view.record.brief.revision != revision {
            self.asking.push((wish.ticket, false));
            return None;
        }
        let flips = wish.applied == Applied::Flip;
        let mode = if flips { wish.mode } else { view.record.brief.mode };
        let brief = Brief { revision: revision + 1, mode, switching: flips };
        let (on_timeout, force) = (wish.on_timeout, wish.force);
        let record = Record { brief, attempt: ids(), failure: None, on_timeout, force };
        Some(self.save(view, own, record, RecordKind::Requested(wish.ticket)))
    }

    fn save(&mut self, view: &View, own: i64, record: Record, kind: RecordKind) -> Op {
        let next = NextRecord { revision: record.brief.revision, kind };
        let ticket = match kind {
            RecordKind::Requested(ticket) => Some(ticket),
            _ => None,
        };
        let tried = Tried { token: view.token, record, next, ticket, is_unknown: false };
        self.tried = Some(tried);
        Op::Save { tried, own, again: false }
    }
}

/// The record that ends the flip of a switching record.
fn ended(switching: &Record, kind: RecordKind) -> Record {
    let Brief { revision, mode, .. } = switching.brief;
    let (mode, failure) = match kind {
        RecordKind::Cancelled(_) => (mode.other(), Some(Failure::Cancelled)),
        RecordKind::Reverted(failure) => (mode.other(), Some(failure)),
        _ => (mode, None),
    };
    Record { brief: Brief { revision: revision + 1, mode, switching: false }, failure, ..*switching }
}
