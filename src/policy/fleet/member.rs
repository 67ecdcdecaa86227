//! A member: its state, and the step function. `adopt` handles the ends of operations, and `decide` chooses the next one.

use super::words::{Closed, Effect, End, Event, Id, Memory, Op, Record, Shown, Tried, View, Word};
use crate::policy::flip::{Failure, Outcome, RecordKind, Step, Ticket, UpstreamAnswer, Wish};
use crate::policy::mode::{DrainOutcome, Mode, OnTimeout};

/// One gateway of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(super) memory: Memory,
    /// Of this joining.
    pub(super) incarnation: Id,
    pub(super) standing: Standing,
    /// Single modes are closed until the own entry is read again.
    pub(super) is_fenced: bool,
    pub(super) is_foreign: bool,
    /// The last read, with the writes that were confirmed since.
    pub(super) view: Option<View>,
    /// The view is no ground for a write: it must be read again.
    pub(super) must_read: bool,
    /// Something may have changed.
    pub(super) is_dirty: bool,
    /// An operation failed: the next one waits for [`Event::Resync`].
    pub(super) is_paused: bool,
    pub(super) op: Option<Op>,
    pub(super) in_force: Option<Record>,
    /// Nothing that only this mode admits is in flight here, by mode.
    pub(super) clear: [bool; 2],
    pub(super) work: Option<Step>,
    /// UCS may have been set to the target.
    pub(super) touched_upstream: bool,
    /// The switching record of this revision can be acknowledged.
    pub(super) ready: Option<u64>,
    pub(super) drain: DrainOutcome,
    pub(super) narrowed: Option<Word>,
    /// May end a flip that another member began.
    pub(super) has_turn: bool,
    pub(super) is_overdue: bool,
    /// How the flip is to be ended.
    pub(super) want: Option<RecordKind>,
    pub(super) tried: Option<Tried>,
    pub(super) pending: Option<Pending>,
    pub(super) flips: Vec<Flip>,
    /// Requesters, and whether the read that decides about them was sent.
    pub(super) asking: Vec<(Ticket, bool)>,
    /// Requesters that ask again once no change is being written.
    pub(super) waiting: Vec<Ticket>,
    pub(super) stop: Stop,
    pub(super) shown: Option<Shown>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// No read has shown the own entry.
    Out,
    In,
    /// The name belongs to another state directory.
    Refused,
}

/// An accepted change that is not being written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub wish: Wish,
    /// The record that it follows.
    pub revision: u64,
    /// It waits for a look at the profile schema.
    pub looks: bool,
}

/// A flip whose end was not read yet, and the requesters that wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flip {
    /// Of its switching record.
    pub record: Record,
    /// This member began it.
    pub is_mine: bool,
    pub tickets: Vec<Ticket>,
    pub cancel: Option<Ticket>,
    /// Requesters that ask again after its end.
    pub later: Vec<Ticket>,
}

impl Flip {
    pub(super) fn of(record: Record, is_mine: bool) -> Flip {
        Flip { record, is_mine, tickets: Vec::new(), cancel: None, later: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stop {
    No,
    /// No change is taken any more.
    Begun,
    /// Nothing is in flight: the graces run.
    Emptied,
    /// They are over: the entry is deleted.
    Leaving,
    Left,
}

pub(super) fn index(mode: Mode) -> usize {
    usize::from(mode == Mode::Maintenance)
}

impl Member {
    /// A member before its first read. `is_clean`: nothing that an earlier process of the directory admitted is running.
    pub(crate) fn new(memory: Memory, is_clean: bool, incarnation: Id) -> Member {
        Member {
            memory,
            incarnation,
            standing: Standing::Out,
            is_fenced: false,
            is_foreign: false,
            view: None,
            must_read: true,
            is_dirty: false,
            is_paused: false,
            op: None,
            in_force: None,
            clear: [is_clean; 2],
            work: None,
            touched_upstream: false,
            ready: None,
            drain: DrainOutcome::Complete,
            narrowed: None,
            has_turn: false,
            is_overdue: false,
            want: None,
            tried: None,
            pending: None,
            flips: Vec::new(),
            asking: Vec::new(),
            waiting: Vec::new(),
            stop: Stop::No,
            shown: None,
        }
    }

    /// The work under way here, or for the requester: a flip, or the opening of a mode that waits for the end of the other
    /// one.
    pub(crate) fn step_under_way(&self) -> Option<Step> {
        self.work
    }

    /// The record in force, while a flip is under way in the fleet.
    pub(crate) fn switching(&self) -> Option<&Record> {
        self.in_force.as_ref().filter(|record| record.brief.switching)
    }

    /// Whether the last read has shown the own entry of this joining, in the store of this fleet.
    pub(crate) fn is_in(&self) -> bool {
        self.standing == Standing::In && !self.is_foreign
    }

    /// Whether the name belongs to another state directory.
    pub(crate) fn is_refused(&self) -> bool {
        self.standing == Standing::Refused
    }

    /// The state that the gate enforces.
    pub(crate) fn shown(&self) -> Option<Shown> {
        self.shown
    }

    /// Why this member is closed beside the record, or would be if production were settled.
    pub(crate) fn narrowed(&self) -> Option<Word> {
        self.narrowed
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop > Stop::No
    }

    pub(crate) fn has_left(&self) -> bool {
        self.stop == Stop::Left
    }

    /// Steps the state. Total: an event that no longer matters has no effect. `ids` draws random numbers.
    pub(crate) fn step(&mut self, event: Event, ids: &mut dyn FnMut() -> Id) -> Vec<Effect> {
        let (mut effects, mut followed) = (Vec::new(), Vec::new());
        self.react(event, ids, &mut followed);
        // Shown first: a drain counts requests after the record was published, and a reply reports the record in force.
        self.show(&mut effects);
        self.resume(&mut effects);
        effects.append(&mut followed);
        if self.pending.is_none() && self.tried.is_none() {
            self.asking.extend(self.waiting.drain(..).map(|ticket| (ticket, false)));
        }
        if let Some(op) = self.next_op(ids) {
            self.op = Some(op);
            effects.push(Effect::Store(op));
        }
        effects
    }

    fn react(&mut self, event: Event, ids: &mut dyn FnMut() -> Id, effects: &mut Vec<Effect>) {
        match event {
            Event::Asked(ticket) if self.is_stopping() => tell(effects, ticket, Outcome::ShuttingDown),
            // It reads again only after an operator has done something.
            Event::Asked(ticket) if self.standing == Standing::Refused || self.is_foreign => {
                effects.push(Effect::Reply(ticket, End::StoreUnavailable));
            }
            Event::Asked(ticket) => self.asking.push((ticket, false)),
            Event::Requested(wish) => self.requested(wish, effects),
            Event::OpEnded(end) => self.op_ended(end, ids, effects),
            Event::Resync => (self.is_dirty, self.is_paused) = (true, false),
            Event::StoreLost => self.tell_all(End::StoreUnavailable, effects),
            Event::Fence => self.is_fenced = true,
            Event::Looked { undefined } => self.looked(undefined, effects),
            Event::Drained { complete: false, .. } => self.drain_timed_out(effects),
            Event::Drained { complete: true, assumed } => self.drained(assumed, effects),
            Event::UpstreamAnswered(answer) => self.upstream_answered(answer),
            Event::Narrowed(word) => self.narrowed = word,
            Event::Turn => (self.has_turn, self.is_dirty) = (true, true),
            Event::Overdue => (self.has_turn, self.is_overdue, self.must_read) = (true, true, true),
            Event::Stop if !self.is_stopping() => {
                self.stop = Stop::Begun;
                self.tell_all(End::Of(Outcome::ShuttingDown), effects);
            }
            Event::Emptied if self.stop <= Stop::Begun => {
                self.stop = Stop::Emptied;
                self.work = Some(Step::Grace);
                effects.push(Effect::Begin(Step::Grace));
            }
            Event::GraceOver if self.stop == Stop::Emptied => {
                (self.stop, self.work, self.must_read) = (Stop::Leaving, None, true);
                if self.standing == Standing::Refused {
                    self.leave(effects);
                }
            }
            Event::Stop | Event::Emptied | Event::GraceOver => {}
        }
    }

    pub(super) fn leave(&mut self, effects: &mut Vec<Effect>) {
        self.stop = Stop::Left;
        effects.push(Effect::Left);
    }

    fn drain_timed_out(&mut self, effects: &mut Vec<Effect>) {
        // A settled record is adopted when the other mode has ended, however long that takes.
        let Some(record) = self.switching().filter(|_| self.drains()) else { return };
        let leaving = index(record.brief.mode.other());
        let (step, drain) = match (self.work, record.on_timeout) {
            (Some(Step::Drain), OnTimeout::Cut) => (Step::Cut, DrainOutcome::Assumed),
            (Some(Step::Drain), OnTimeout::Commit) => (Step::Upstream, DrainOutcome::Forced),
            _ => {
                self.work = None;
                self.want.get_or_insert(RecordKind::Reverted(Failure::DrainTimeout));
                return;
            }
        };
        self.drain = drain;
        self.clear[leaving] |= step == Step::Upstream;
        self.begin_work(step, effects);
    }

    fn drained(&mut self, assumed: bool, effects: &mut Vec<Effect>) {
        let Some(record) = self.in_force.filter(|_| self.drains()) else { return };
        self.clear[index(record.brief.mode.other())] = true;
        self.work = None;
        if assumed {
            self.drain = self.drain.max(DrainOutcome::Assumed);
        }
        if record.brief.switching {
            self.begin_work(Step::Upstream, effects);
        }
    }

    fn drains(&self) -> bool {
        matches!(self.work, Some(Step::Drain | Step::Cut))
    }

    /// A settled record whose other mode has not ended here is drained until it opens, whatever work came between.
    fn resume(&mut self, effects: &mut Vec<Effect>) {
        let is_idle = self.work.is_none() && self.standing == Standing::In && self.stop < Stop::Emptied;
        let settled = self.in_force.filter(|record| is_idle && !record.brief.switching);
        if settled.is_some_and(|record| !self.clear[index(record.brief.mode.other())]) {
            self.begin_work(Step::Drain, effects);
        }
    }

    pub(super) fn begin_work(&mut self, step: Step, effects: &mut Vec<Effect>) {
        self.work = Some(step);
        self.touched_upstream |= step == Step::Upstream;
        effects.push(Effect::Begin(step));
    }

    /// A member whose UCS does not take the mode is closed, and acknowledges all the same.
    fn upstream_answered(&mut self, answer: UpstreamAnswer) {
        let Some(record) = self.in_force.filter(|_| self.work == Some(Step::Upstream)) else { return };
        self.work = None;
        self.ready = Some(record.brief.revision);
        let by_operator = self.narrowed.filter(|word| *word == Word::LocalClose);
        self.narrowed = match answer {
            UpstreamAnswer::InStep => by_operator,
            // Nothing that UCS should refuse passes the gate.
            _ if record.brief.mode == Mode::Maintenance => by_operator,
            UpstreamAnswer::NoSchema | UpstreamAnswer::Absent if record.force => by_operator,
            UpstreamAnswer::NoSchema => Some(Word::NoSchema),
            UpstreamAnswer::Absent | UpstreamAnswer::Refused => Some(Word::Behind),
        };
    }

    /// Shows the state that the gate enforces from now on, if it has changed.
    fn show(&mut self, effects: &mut Vec<Effect>) {
        let Some(record) = self.in_force else { return };
        let shown = Shown { record, closed: self.closed(&record) };
        if shown.closed.is_none() && !record.brief.switching {
            self.clear[index(record.brief.mode)] = false;
            self.memory.opened = record.brief.revision;
        }
        if self.shown != Some(shown) {
            self.shown = Some(shown);
            effects.push(Effect::Show(shown));
            effects.push(Effect::Remember(self.memory));
        }
    }

    fn closed(&self, record: &Record) -> Option<Closed> {
        let is_clear = record.brief.switching || self.clear[index(record.brief.mode.other())];
        let narrowed = self.narrowed.filter(|_| record.brief.mode == Mode::Production);
        match narrowed {
            _ if self.is_foreign => Some(Closed::AnotherStore),
            _ if self.standing != Standing::In => Some(Closed::Joining),
            _ if self.stop >= Stop::Emptied => Some(Closed::Leaving),
            _ if self.is_fenced => Some(Closed::Fenced),
            _ if !is_clear => Some(Closed::Joining),
            Some(Word::Behind) => Some(Closed::Behind),
            Some(Word::NoSchema) => Some(Closed::NoSchema),
            Some(Word::InMode | Word::LocalClose) | None => None,
        }
    }

    /// Replies to every waiting requester.
    pub(super) fn tell_all(&mut self, end: End, effects: &mut Vec<Effect>) {
        let mut tickets: Vec<Ticket> = self.asking.drain(..).map(|(ticket, _)| ticket).collect();
        tickets.append(&mut self.waiting);
        for flip in &mut self.flips {
            tickets.append(&mut flip.tickets);
            tickets.extend(flip.cancel.take());
            tickets.append(&mut flip.later);
        }
        tickets.extend(self.tried.as_mut().and_then(|tried| tried.ticket.take()));
        if let Some(pending) = self.drop_pending() {
            tickets.push(pending);
        }
        effects.extend(tickets.into_iter().map(|ticket| Effect::Reply(ticket, end)));
    }

    /// Gives up the change that is not being written yet: its requester.
    pub(super) fn drop_pending(&mut self) -> Option<Ticket> {
        let pending = self.pending.take()?;
        if self.work == Some(Step::Look) {
            self.work = None;
        }
        Some(pending.wish.ticket)
    }
}

pub(super) fn tell(effects: &mut Vec<Effect>, ticket: Ticket, outcome: Outcome) {
    effects.push(Effect::Reply(ticket, End::Of(outcome)));
}
