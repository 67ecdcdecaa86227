//! The world of the model: one gateway, its store, its gate, UCS, and requesters; what may happen next, and what must hold.

use super::mutants::Mutant;
use crate::policy::flip::{Applied, Brief, Effect, Event, RecordKind, State, Step, Ticket, UpstreamAnswer, Wish};
use crate::policy::mode::{Mode, OnTimeout};

/// How often each action of the environment may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounds {
    pub(super) requests: u8,
    pub(super) expiries: u8,
    pub(super) crashes: u8,
    pub(super) save_errors: u8,
    pub(super) stops: u8,
}

/// Revisions that a start after a crash skips. Control skips more.
const SKIPPED: u64 = 3;

/// A record with all that tells it from another one of its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) brief: Brief,
    /// The change that made it.
    pub(super) kind: RecordKind,
    /// The life of the gateway that made it.
    pub(super) life: u8,
    /// The mode was entered without a full drain.
    pub(super) forced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) mutant: Mutant,
    pub(super) left: Bounds,
    pub(super) life: u8,
    /// `None` after a crash or an orderly end.
    pub(super) gateway: Option<State>,
    pub(super) clean: bool,
    /// What the gate admits by.
    pub(super) gate: Record,
    pub(super) store: Record,
    pub(super) writing: Option<Record>,
    pub(super) just_saved: Option<Record>,
    pub(super) not_saved: Option<Record>,
    /// The switching record of the flip under way.
    pub(super) switching: Option<Record>,
    pub(super) work: Option<Step>,
    pub(super) waiting: Vec<(Ticket, Asked)>,
    /// The requesters that wait for their reply.
    pub(super) asked: Vec<(Ticket, Asked)>,
    pub(super) next_ticket: Ticket,
    /// An operation that only this mode admits is in flight.
    pub(super) running: [bool; 2],
    /// The same, left at UCS by a gateway that was killed.
    pub(super) orphans: [bool; 2],
    /// The grace after a crash is not over.
    pub(super) grace: bool,
    pub(super) found_switching: bool,
    /// UCS reported the target in this flip.
    pub(super) ucs_agrees: bool,
    pub(super) touched_ucs: bool,
    /// Every record that was published or is durable, from the revision of the store on.
    pub(super) known: Vec<Record>,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) mode: Mode,
    pub(super) requested: bool,
    pub(super) on_timeout: OnTimeout,
    pub(super) force: bool,
    /// It changes the record although the mode is in force.
    pub(super) notes: bool,
    /// It cancels the scheduled flip, as soon as no flip is under way.
    pub(super) unschedules: bool,
}

type Moves = Vec<Result<World, String>>;

pub(super) fn index(mode: Mode) -> usize {
    usize::from(mode == Mode::Maintenance)
}

impl World {
    pub(super) fn new(bounds: Bounds, mutant: Mutant) -> World {
        let brief = Brief { revision: 1, mode: Mode::Production, switching: false };
        let first = Record { brief, kind: RecordKind::Same, life: 0, forced: false };
        World {
            mutant,
            left: bounds,
            life: 0,
            gateway: Some(State::found(brief, brief.mode, 1).0),
            clean: true,
            gate: first,
            store: first,
            writing: None,
            just_saved: None,
            not_saved: None,
            switching: None,
            work: None,
            waiting: Vec::new(),
            asked: Vec::new(),
            next_ticket: 1,
            running: [false; 2],
            orphans: [false; 2],
            grace: false,
            found_switching: false,
            ucs_agrees: false,
            touched_ucs: false,
            known: vec![first],
        }
    }

    /// Everything that can happen next.
    pub(super) fn moves(&self) -> Moves {
        let Some(state) = &self.gateway else { return vec![self.after(|world| world.restart())] };
        let mut moves = self.requests();
        moves.extend(self.ends_of_work());
        if self.writing.is_some() {
            moves.push(self.after(|world| world.save_ends(true)));
            if self.left.save_errors > 0 {
                moves.push(self.after(|world| {
                    world.left.save_errors -= 1;
                    world.save_ends(false)
                }));
            }
        }
        if state.is_unsaved() && state.is_idle() {
            moves.push(self.after(|world| world.feed(Event::RetryDue)));
        }
        if self.left.stops > 0 {
            moves.push(self.after(|world| {
                world.left.stops -= 1;
                world.feed(Event::Stop)?;
                world.is_taken_up()
            }));
        }
        if state.is_stopping() && state.is_idle() {
            let clean = self.running == [false; 2] && !self.grace && state.is_settled_durably();
            moves.push(self.after(|world| {
                world.clean = clean;
                world.die();
                Ok(())
            }));
        }
        moves.extend(self.operations());
        moves.extend(self.crashes());
        moves
    }

    fn requests(&self) -> Moves {
        let mut moves = Vec::new();
        for mode in [Mode::Production, Mode::Maintenance] {
            let base = Asked {
                mode,
                requested: true,
                on_timeout: OnTimeout::Revert,
                force: false,
                notes: false,
                unschedules: false,
            };
            let mut kinds = vec![base, Asked { notes: true, ..base }];
            if self.gate.brief.switching {
                kinds.push(Asked { requested: false, unschedules: true, ..base });
            }
            if self.gate.brief.mode != mode {
                kinds.extend([OnTimeout::Cut, OnTimeout::Commit].map(|on_timeout| Asked { on_timeout, ..base }));
            }
            if mode == Mode::Production {
                kinds.push(Asked { force: true, ..base });
            }
            if self.left.requests > 0 {
                moves.extend(kinds.into_iter().map(|asked| {
                    self.after(|world| {
                        world.left.requests -= 1;
                        world.request(world.next_ticket, asked, true)
                    })
                }));
            }
            let expires = !self.gate.brief.switching && self.gate.brief.mode != mode;
            if self.left.expiries > 0 && expires {
                moves.push(self.after(|world| {
                    world.left.expiries -= 1;
                    world.request(world.next_ticket, Asked { requested: false, ..base }, true)
                }));
            }
        }
        moves
    }

    fn ends_of_work(&self) -> Moves {
        let feed = |event| self.after(|world| world.feed(event));
        match self.work {
            None => Vec::new(),
            Some(Step::Look) => [true, false].into_iter().map(|undefined| feed(Event::Looked { undefined })).collect(),
            Some(Step::Drain | Step::Cut) => {
                let mut moves = vec![feed(Event::Drained { complete: false })];
                if self.is_drained() || self.mutant == Mutant::ForgetsOrphans {
                    moves.push(feed(Event::Drained { complete: true }));
                }
                moves
            }
            Some(Step::Upstream) => {
                // A refusal stands for a lie and for no response too: the status does not say the target.
                let answers = [UpstreamAnswer::NoSchema, UpstreamAnswer::Absent, UpstreamAnswer::Refused];
                let mut moves: Moves =
                    answers.into_iter().map(|answer| feed(Event::UpstreamAnswered(answer))).collect();
                moves.push(self.after(|world| {
                    world.ucs_agrees = true;
                    world.feed(Event::UpstreamAnswered(UpstreamAnswer::InStep))
                }));
                moves
            }
            Some(Step::Grace) => vec![self.after(|world| {
                world.end_grace();
                world.feed(Event::GraceOver)
            })],
            Some(Step::Announce | Step::Settle | Step::Restore) => vec![Err("a save has no other work".to_owned())],
        }
    }

    fn is_drained(&self) -> bool {
        let leaving = index(self.gate.brief.mode.other());
        !self.running[leaving] && !self.grace
    }

    fn operations(&self) -> Moves {
        let mut moves = Vec::new();
        for mode in [Mode::Production, Mode::Maintenance] {
            let admits = !self.gate.brief.switching && self.gate.brief.mode == mode;
            if self.running[index(mode)] {
                moves.push(self.after(|world| {
                    world.running[index(mode)] = false;
                    Ok(())
                }));
            } else if admits {
                moves.push(self.after(|world| {
                    world.running[index(mode)] = true;
                    Ok(())
                }));
            }
        }
        if self.grace && self.work != Some(Step::Grace) {
            moves.push(self.after(|world| {
                world.end_grace();
                Ok(())
            }));
        }
        moves
    }

    pub(super) fn end_grace(&mut self) {
        (self.grace, self.orphans) = (false, [false; 2]);
    }

    fn crashes(&self) -> Moves {
        if self.left.crashes == 0 {
            return Vec::new();
        }
        let crash = |is_written: bool| {
            self.after(|world| {
                world.left.crashes -= 1;
                if let Some(record) = world.writing.filter(|_| is_written) {
                    world.is_durable(record)?;
                }
                world.clean = false;
                world.die();
                Ok(())
            })
        };
        if self.writing.is_some() { vec![crash(false), crash(true)] } else { vec![crash(false)] }
    }

    /// The process is gone, and with it everything that it kept in memory.
    fn die(&mut self) {
        for mode in [0, 1] {
            self.orphans[mode] |= self.running[mode];
        }
        (self.gateway, self.running) = (None, [false; 2]);
        // The next start sets UCS, as it is in no agreement with it.
        self.touched_ucs = false;
        (self.writing, self.just_saved, self.not_saved, self.switching, self.work) = (None, None, None, None, None);
        self.waiting.clear();
        self.asked.clear();
    }

    pub(super) fn restart(&mut self) -> Result<(), String> {
        self.life += 1;
        self.grace = !self.clean;
        let skipped = if self.clean || self.mutant == Mutant::SkipsNoRevision { 0 } else { SKIPPED };
        let found = self.store.brief;
        self.gate = self.store;
        self.found_switching = found.switching;
        let restored = if found.switching { found.mode.other() } else { found.mode };
        let (state, effects) = State::found(found, restored, found.revision + skipped);
        self.gateway = Some(state);
        if found.switching {
            self.switching = Some(self.store);
        }
        self.perform(effects)?;
        if self.mutant == Mutant::NoGrace { self.feed(Event::GraceOver) } else { Ok(()) }
    }

    fn request(&mut self, ticket: Ticket, mut asked: Asked, is_new: bool) -> Result<(), String> {
        if asked.unschedules {
            // It leaves the mode as it is.
            asked.mode = self.gate.brief.mode;
            self.asked.retain(|(open, _)| *open != ticket);
        }
        if is_new || asked.unschedules {
            self.asked.push((ticket, asked));
        }
        self.next_ticket += u64::from(is_new);
        let Some(state) = &self.gateway else { return Ok(()) };
        let before = (state.step_under_way(), state.is_stopping());
        let in_force = self.gate.brief;
        let applied = match in_force {
            Brief { switching: true, .. } if asked.unschedules => Applied::Later,
            _ if asked.unschedules => Applied::Noted,
            Brief { switching: true, mode, .. } if mode == asked.mode => Applied::Refused,
            Brief { switching: true, .. } => Applied::Noted,
            _ if in_force.mode != asked.mode => Applied::Flip,
            _ if asked.notes => Applied::Noted,
            _ => Applied::Same,
        };
        let Asked { mode, requested, on_timeout, force, .. } = asked;
        let wish = Wish { ticket, mode, requested, applied, on_timeout, force, lacks_schema: false };
        let is_open = self.is_open(ticket);
        self.feed(Event::Requested(wish))?;
        let cancels = matches!(before, (Some(Step::Drain | Step::Cut | Step::Upstream), false));
        if cancels && requested && in_force.mode != mode && is_open && self.is_open(ticket) {
            return self.is_taken_up();
        }
        Ok(())
    }

    fn is_open(&self, ticket: Ticket) -> bool {
        self.asked.iter().any(|(open, _)| *open == ticket)
    }

    /// A cancel or a stop was accepted: no step but a save may be under way.
    fn is_taken_up(&self) -> Result<(), String> {
        match self.gateway.as_ref().and_then(State::step_under_way) {
            Some(step @ (Step::Look | Step::Drain | Step::Cut | Step::Upstream)) => {
                Err(format!("a cancel or a stop waits for {step:?}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn save_ends(&mut self, saved: bool) -> Result<(), String> {
        let Some(record) = self.writing.take() else { return Ok(()) };
        if saved {
            self.is_durable(record)?;
            self.just_saved = Some(record);
        } else {
            self.not_saved = Some(record);
        }
        let event = Event::SaveEnded { saved: saved || self.mutant == Mutant::TakesAFailedSaveForGood };
        self.feed(event)?;
        (self.just_saved, self.not_saved) = (None, None);
        self.request_waiting()
    }

    /// As control does: once nothing is under way, waiting requests are made again.
    fn request_waiting(&mut self) -> Result<(), String> {
        while self.gateway.as_ref().is_some_and(State::is_idle) && !self.waiting.is_empty() {
            let (ticket, asked) = self.waiting.remove(0);
            self.request(ticket, asked, false)?;
        }
        Ok(())
    }

    pub(super) fn feed(&mut self, event: Event) -> Result<(), String> {
        let Some(mut state) = self.gateway.take() else { return Ok(()) };
        let target = state.step_under_way();
        let effects = self.mutant.step(&mut state, event);
        let step = state.step_under_way();
        self.gateway = Some(state);
        let to_maintenance = self.gate.brief.switching && self.gate.brief.mode == Mode::Maintenance;
        let is_answer = matches!(event, Event::UpstreamAnswered(_)) && target == Some(Step::Upstream);
        if is_answer && to_maintenance && step != Some(Step::Settle) {
            return Err("UCS spoils a flip to maintenance".to_owned());
        }
        if self.work.is_some() && self.work != step {
            self.work = None;
        }
        self.perform(effects)?;
        self.request_waiting()
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Save(next) => self.save(next)?,
                Effect::Publish => {
                    let saved = self.just_saved.ok_or("a record is published that was not saved")?;
                    self.publish(saved)?;
                }
                Effect::KeepUnsaved => {
                    let record = self.not_saved.ok_or("a record is kept unsaved that was not tried")?;
                    if !matches!(record.kind, RecordKind::Cancelled(_) | RecordKind::Reverted(_)) {
                        return Err("a record that restores nothing is kept unsaved".to_owned());
                    }
                    self.publish(record)?;
                }
                Effect::Begin(step) => {
                    self.work = Some(step);
                    self.touched_ucs |= step == Step::Upstream;
                    self.ucs_agrees &= step != Step::Upstream;
                }
                Effect::SetUpstreamBack(_) => {
                    if self.gate.brief.switching {
                        return Err("UCS is set back before the old mode is in force".to_owned());
                    }
                    self.touched_ucs = false;
                }
                Effect::Reply(ticket, outcome) => self.reply(ticket, outcome)?,
                Effect::Wait(ticket) => {
                    let asked = self.asked.iter().find(|(open, _)| *open == ticket);
                    self.waiting.push(*asked.ok_or("a request waits that was answered")?);
                }
            }
        }
        self.is_sound()
    }

    fn after(&self, change: impl FnOnce(&mut World) -> Result<(), String>) -> Result<World, String> {
        let mut world = self.clone();
        change(&mut world)?;
        world.is_sound()?;
        Ok(world)
    }
}
