//! The world of the model: processes, each with its gate and its disk, the store, writes that land late, and requesters.

use super::mutants::Mutant;
use super::part::Part;
use super::store::Store;
use crate::policy::fleet::words::{Closed, Effect, Event, Id, Memory, Op, OpEnd, Record, Shown};
use crate::policy::fleet::{Member, member::index};
use crate::policy::flip::{Step, Ticket};
use crate::policy::mode::Mode;

/// How often the environment may do what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bounds {
    /// Processes, and on how many names they are: two on one name claim it from two directories.
    pub(super) processes: usize,
    pub(super) nodes: usize,
    /// Of these, not started at the beginning.
    pub(super) joiners: usize,
    pub(super) flips: u8,
    pub(super) kills: u8,
    /// Writes whose outcome is unknown: they land later, or never.
    pub(super) unknown: u8,
    pub(super) drain_timeouts: u8,
    /// The whole limit of a flip passes.
    pub(super) overdue: u8,
    /// A UCS refuses production.
    pub(super) refusals: u8,
    pub(super) leaves: u8,
    pub(super) forgets: u8,
    /// The operator's word that the process is gone is false.
    pub(super) false_forgets: u8,
    pub(super) fences: u8,
    /// The store is restored from a copy: under its own identity, or another one.
    pub(super) restores: u8,
    pub(super) same_identity: bool,
    /// Every process is a member already, and all are in production.
    pub(super) joined: bool,
}

/// One process, or what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) node: usize,
    pub(super) member: Option<Member>,
    pub(super) disk: Memory,
    pub(super) has_left: bool,
    /// The operation under way, and its result once the store performed it.
    pub(super) flight: Option<(Op, Option<OpEnd>)>,
    /// The part of a read that was performed, if a mutant reads in two transactions.
    pub(super) half_read: Option<(Record, i64)>,
    /// What the gate admits.
    pub(super) gate: Option<Mode>,
    /// Operations that only this mode admits may be running.
    pub(super) running: [bool; 2],
    /// The same, left at UCS by a process that was killed.
    pub(super) orphans: [bool; 2],
    /// Running when the operator said falsely that the process is gone, or begun before it noticed.
    pub(super) excused: [bool; 2],
    pub(super) is_forgotten: bool,
    /// Of a mutant: it does not look for its acknowledgement again.
    pub(super) takes_itself_for_read: bool,
    /// Its drains wait for the orphans.
    pub(super) has_grace: bool,
    pub(super) work: Option<Step>,
    pub(super) asked: Vec<Asked>,
    /// Each process draws its own.
    pub(super) next_id: Id,
    pub(super) next_ticket: Ticket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) mode: Mode,
    /// The record of the store when it was asked for.
    pub(super) revision: u64,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct World {
    pub(super) mutant: Mutant,
    pub(super) left: Bounds,
    pub(super) processes: Vec<Part<Process>>,
    pub(super) store: Part<Store>,
    pub(super) copy: Option<Part<Store>>,
    /// Writes that may still land.
    pub(super) late: Vec<(usize, Op)>,
    /// A node that is being forgotten, the entry that was seen, and what has its grace until it is deleted.
    pub(super) forgetting: Option<(usize, i64, [bool; 2])>,
}

impl World {
    pub(super) fn new(bounds: Bounds, mutant: Mutant) -> World {
        let processes = (0..bounds.processes).map(|place| Process {
            node: place.min(bounds.nodes - 1),
            member: None,
            disk: Memory { directory: 100 + place as Id, highest: 0, opened: 0 },
            has_left: true,
            flight: None,
            half_read: None,
            gate: None,
            running: [false; 2],
            orphans: [false; 2],
            excused: [false; 2],
            is_forgotten: false,
            has_grace: false,
            takes_itself_for_read: false,
            work: None,
            asked: Vec::new(),
            next_id: 1000 * (place as Id + 1),
            next_ticket: 10 * (place as Ticket + 1),
        });
        let mut world = World {
            mutant,
            left: bounds,
            processes: processes.map(Part::new).collect(),
            store: Part::new(Store::new(bounds.nodes, 1)),
            copy: None,
            late: Vec::new(),
            forgetting: None,
        };
        let started = bounds.processes - bounds.joiners;
        for place in 0..started {
            world.start(place).expect("the first start keeps all rules");
            while bounds.joined && world.processes[place].flight.is_some() {
                world.carry(place).expect("joining keeps all rules");
            }
        }
        world.is_sound().expect("joining keeps all rules");
        world
    }

    /// Performs the operation under way, and gives the member its end.
    pub(super) fn carry(&mut self, place: usize) -> Result<(), String> {
        self.perform(place)?;
        self.deliver(place)
    }

    pub(super) fn perform(&mut self, place: usize) -> Result<(), String> {
        let process = &mut self.processes[place];
        let node = process.node;
        let Some((op, None)) = &process.flight else { return Ok(()) };
        let op = *op;
        if self.mutant == Mutant::ReadsInTwo && matches!(op, Op::Read { .. }) && process.half_read.is_none() {
            process.half_read = Some((self.store.record, self.store.token));
            return Ok(());
        }
        let mut end = self.store.perform(node, &op, self.mutant)?;
        if let (OpEnd::Read(view), Some((record, token))) = (&mut end, process.half_read.take()) {
            (view.record, view.token) = (record, token);
        }
        if let (OpEnd::Read(view), Some(member)) = (&mut end, &process.member)
            && process.takes_itself_for_read
        {
            view.own.iter_mut().for_each(|(own, _)| own.ack = member.ack());
        }
        process.flight = Some((op, Some(end)));
        Ok(())
    }

    pub(super) fn deliver(&mut self, place: usize) -> Result<(), String> {
        match self.processes[place].flight.take() {
            Some((_, Some(end))) => {
                let process = &mut self.processes[place];
                if let (OpEnd::Read(view), Some(member)) = (&end, &process.member) {
                    process.is_forgotten &= view.own.is_some_and(|(own, _)| own.incarnation == member.incarnation);
                }
                self.feed(place, Event::OpEnded(end))
            }
            flight => {
                self.processes[place].flight = flight;
                Ok(())
            }
        }
    }

    /// Starts a process. It always believes that the one before it ended well, as a copied directory may say so.
    pub(super) fn start(&mut self, place: usize) -> Result<(), String> {
        let process = &mut self.processes[place];
        process.next_id += Id::from(self.mutant != Mutant::ReusesAnIncarnation);
        process.has_left = false;
        process.member = Some(Member::new(process.disk, true, process.next_id));
        self.feed(place, Event::Resync)
    }

    pub(super) fn feed(&mut self, place: usize, event: Event) -> Result<(), String> {
        let Some(mut member) = self.processes[place].member.take() else { return Ok(()) };
        let process = &mut self.processes[place];
        let effects = self.mutant.step(&mut member, event, &mut || {
            process.next_id += 1;
            process.next_id
        });
        process.work = process.work.filter(|work| member.step_under_way() == Some(*work));
        process.member = Some(member);
        for effect in effects {
            self.apply(place, effect)?;
        }
        Ok(())
    }

    fn apply(&mut self, place: usize, effect: Effect) -> Result<(), String> {
        let process = &mut self.processes[place];
        match effect {
            Effect::Show(shown) => self.show(place, shown)?,
            Effect::Store(op) => {
                if process.flight.is_some() {
                    return Err("two operations at once".to_owned());
                }
                process.flight = Some((op, None));
            }
            Effect::Consider(ticket) => self.consider(place, ticket)?,
            Effect::Begin(step) => process.work = Some(step),
            Effect::Reply(ticket, end) => self.reply(place, ticket, end)?,
            Effect::Remember(memory) => process.disk = memory,
            Effect::Left => {
                (process.member, process.has_left, process.gate) = (None, true, None);
                (process.flight, process.work) = (None, None);
            }
            Effect::Crashed => process.has_grace = true,
            Effect::SetUpstreamBack(_) | Effect::Refused => {}
        }
        Ok(())
    }

    fn show(&mut self, place: usize, shown: Shown) -> Result<(), String> {
        let process = &mut self.processes[place];
        let Record { brief, .. } = shown.record;
        let before = process.gate;
        let wrong = self.mutant == Mutant::NarrowedOpensTheOther && shown.closed == Some(Closed::Behind);
        process.gate = match shown.closed {
            None if !brief.switching => Some(brief.mode),
            Some(_) if wrong && !brief.switching => Some(brief.mode.other()),
            _ if self.mutant == Mutant::AcknowledgesUnpublished && brief.switching => before,
            _ => None,
        };
        if brief.revision < process.disk.highest {
            return Err("an earlier record is applied".to_owned());
        }
        if let Some(mode) = process.gate.filter(|_| process.gate != before)
            && (process.overlaps(mode) || process.running[index(mode.other())])
        {
            return Err("a mode opens while the other one's operations are running".to_owned());
        }
        Ok(())
    }

    /// What a process was killed with stays at UCS, and its writes may land late.
    pub(super) fn kill(&mut self, place: usize) {
        let process = &mut self.processes[place];
        for mode in [0, 1] {
            process.orphans[mode] |= process.running[mode];
            process.excused[mode] |= process.is_forgotten && process.running[mode];
        }
        if let Some((op, None)) = process.flight.take()
            && !matches!(op, Op::Read { .. })
        {
            self.late.push((process.node, op));
        }
        (process.member, process.gate, process.work, process.running) = (None, None, None, [false; 2]);
        (process.half_read, process.is_forgotten, process.has_grace) = (None, false, false);
        process.asked.clear();
    }

    /// Nothing of these modes is running at this process any more.
    pub(super) fn end_operations(&mut self, place: usize, modes: &[Mode]) {
        let process = &mut self.processes[place];
        for mode in modes {
            let mode = index(*mode);
            process.running[mode] = false;
            process.orphans[mode] &= !process.has_grace;
            process.excused[mode] &= process.orphans[mode];
        }
    }
}

impl Process {
    /// Operations are running, or can begin, that `mode` forbids.
    pub(super) fn overlaps(&self, mode: Mode) -> bool {
        let other = index(mode.other());
        (self.running[other] || self.orphans[other]) && !self.excused[other]
    }
}
