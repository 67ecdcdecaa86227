//! What can happen next in the world of the model: by itself, and by the environment within its bounds.

use super::mutants::Mutant;
use super::world::{Asked, Bounds, Process, World};
use crate::policy::fleet::member::index;
use crate::policy::fleet::roster::acknowledged;
use crate::policy::fleet::words::{Event, Op, OpEnd};
use crate::policy::flip::{Step, UpstreamAnswer};
use crate::policy::mode::Mode;

pub(super) type Moves = Vec<Result<World, String>>;

impl World {
    /// What goes on by itself.
    pub(super) fn progress(&self) -> Moves {
        let mut moves = Vec::new();
        for (place, process) in self.processes.iter().enumerate() {
            match &process.flight {
                // The writer of its own entry learns of it at once: no other member depends on that moment.
                Some((Op::PutEntry { .. } | Op::DeleteEntry { .. }, None)) => {
                    moves.push(self.after(|world| world.carry(place)));
                }
                Some((_, None)) => moves.push(self.after(|world| world.perform(place))),
                Some((_, Some(_))) => moves.push(self.after(|world| world.deliver(place))),
                None if self.is_behind(process) => moves.push(self.after(|world| world.feed(place, Event::Resync))),
                None => {}
            }
            moves.extend(self.ends_of_work(place, process));
            let Some(member) = &process.member else { continue };
            if member.switching().is_some() && !member.has_turn && process.flight.is_none() && self.is_acknowledged() {
                moves.push(self.after(|world| world.feed(place, Event::Turn)));
            }
        }
        if let Some(forgetting) = self.forgetting {
            moves.push(self.after(|world| world.forget(forgetting)));
        }
        moves
    }

    fn is_acknowledged(&self) -> bool {
        let entries = self.store.entries.iter().flatten().map(|(entry, _)| entry);
        acknowledged(self.store.record.brief.revision, entries).is_full
    }

    /// A read would show something else that matters to this member. Only a member that may end the flip depends on all entries.
    fn is_behind(&self, process: &Process) -> bool {
        let Some(member) = &process.member else { return false };
        let Some(known) = &member.view else { return true };
        let mut now = self.store.view(process.node, None, true);
        if process.takes_itself_for_read {
            now.own = known.own;
        }
        member.is_paused
            || member.is_fenced
            || (known.record, known.own, known.is_home) != (now.record, now.own, now.is_home)
            || (member.may_end() && known.others != now.others)
    }

    fn ends_of_work(&self, place: usize, process: &Process) -> Moves {
        let mut moves = Vec::new();
        let Some(record) = process.member.as_ref().and_then(|member| member.in_force) else {
            if process.work == Some(Step::Grace) {
                moves.push(self.after(|world| world.grace_over(place)));
            }
            return moves;
        };
        match process.work {
            Some(Step::Drain | Step::Cut) => {
                moves.push(self.after(|world| {
                    world.end_operations(place, &[record.brief.mode.other()]);
                    world.feed(place, Event::Drained { complete: true, assumed: false })
                }));
                if self.left.drain_timeouts > 0 && record.brief.switching {
                    moves.push(self.bounded(
                        |left| &mut left.drain_timeouts,
                        |world| world.feed(place, Event::Drained { complete: false, assumed: false }),
                    ));
                }
            }
            Some(Step::Upstream) => {
                let answer = |answer| move |world: &mut World| world.feed(place, Event::UpstreamAnswered(answer));
                moves.push(self.after(answer(UpstreamAnswer::InStep)));
                if self.left.refusals > 0 {
                    moves.push(self.bounded(|left| &mut left.refusals, answer(UpstreamAnswer::Refused)));
                }
            }
            Some(Step::Look) => moves.push(self.after(|world| world.feed(place, Event::Looked { undefined: false }))),
            Some(Step::Grace) => moves.push(self.after(|world| world.grace_over(place))),
            _ => {}
        }
        moves
    }

    fn grace_over(&mut self, place: usize) -> Result<(), String> {
        self.end_operations(place, &Mode::ALL);
        self.feed(place, Event::GraceOver)
    }

    /// What the environment does.
    pub(super) fn faults(&self) -> Moves {
        let mut moves = Vec::new();
        for (place, process) in self.processes.iter().enumerate() {
            if process.member.is_some() {
                moves.extend(self.faults_of_running(place, process));
            } else {
                moves.push(self.after(|world| world.start(place)));
            }
        }
        for (place, (node, op)) in self.late.iter().enumerate() {
            let (node, op) = (*node, *op);
            moves.push(self.after(|world| {
                world.late.remove(place);
                world.store.perform(node, &op, world.mutant).map(|_| ())
            }));
        }
        moves.extend(self.forgets());
        match &self.copy {
            None if self.left.restores > 0 => moves.push(self.after(|world| {
                world.copy = Some(world.store.clone());
                Ok(())
            })),
            Some(copy) if self.left.restores > 0 => moves.push(self.bounded(
                |left| &mut left.restores,
                |world| {
                    world.store = copy.clone();
                    world.store.restored = Some(!world.left.same_identity);
                    Ok(())
                },
            )),
            _ => {}
        }
        moves
    }

    fn faults_of_running(&self, place: usize, process: &Process) -> Moves {
        let mut moves = Vec::new();
        if self.left.flips > 0 {
            moves.extend(Mode::ALL.map(|mode| self.bounded(|left| &mut left.flips, |world| world.ask(place, mode))));
        }
        if self.left.kills > 0 {
            moves.push(self.bounded(
                |left| &mut left.kills,
                |world| {
                    world.kill(place);
                    Ok(())
                },
            ));
        }
        if let Some((op, None)) = process.flight
            && !matches!(op, Op::Read { .. })
            && self.left.unknown > 0
        {
            moves.push(self.bounded(
                |left| &mut left.unknown,
                |world| {
                    world.late.push((process.node, op));
                    let process = &mut world.processes[place];
                    process.flight = Some((op, Some(OpEnd::Unknown)));
                    let acknowledges = matches!(op, Op::PutEntry { entry, .. } if entry.ack.is_some());
                    process.takes_itself_for_read = acknowledges && world.mutant == Mutant::AcknowledgesOnce;
                    Ok(())
                },
            ));
        }
        let member = process.member.as_ref();
        if self.left.overdue > 0 && member.is_some_and(|member| member.switching().is_some() && !member.is_overdue) {
            moves.push(self.bounded(|left| &mut left.overdue, |world| world.feed(place, Event::Overdue)));
        }
        if self.left.leaves > 0 {
            moves.push(self.bounded(
                |left| &mut left.leaves,
                |world| {
                    world.feed(place, Event::Stop)?;
                    world.processes[place].gate = None;
                    world.feed(place, Event::Emptied)
                },
            ));
        }
        if self.left.fences > 0 && member.is_some_and(|member| !member.is_fenced) {
            moves.push(self.bounded(|left| &mut left.fences, |world| world.feed(place, Event::Fence)));
        }
        let is_idle = |mode: &Mode| process.gate != Some(*mode) && process.running[index(*mode)];
        if member.is_some_and(|member| member.is_fenced) && Mode::ALL.iter().any(is_idle) {
            moves.push(self.after(|world| {
                let ended: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| is_idle(mode)).collect();
                world.end_operations(place, &ended);
                Ok(())
            }));
        }
        moves
    }

    fn ask(&mut self, place: usize, mode: Mode) -> Result<(), String> {
        let revision = self.store.record.brief.revision;
        let process = &mut self.processes[place];
        let ticket = process.next_ticket;
        process.next_ticket += 1;
        process.asked.push(Asked { ticket, mode, revision });
        self.feed(place, Event::Asked(ticket))
    }

    fn forgets(&self) -> Moves {
        let mut moves = Vec::new();
        if self.forgetting.is_some() {
            return moves;
        }
        for (node, entry) in self.store.entries.iter().enumerate() {
            let Some((_, token)) = *entry else { continue };
            let runs = self.processes.iter().any(|process| process.node == node && process.member.is_some());
            let begin = move |world: &mut World| {
                let mut graced = [false; 2];
                // What the operator is wrong about is excused; it counts again once it was drained.
                for process in world.processes.iter_mut().filter(|process| process.node == node) {
                    for mode in 0..2 {
                        graced[mode] |= process.orphans[mode];
                        process.excused[mode] |= runs && process.running[mode];
                    }
                }
                world.forgetting = Some((node, token, graced));
                Ok(())
            };
            if runs && self.left.false_forgets > 0 {
                moves.push(self.bounded(|left| &mut left.false_forgets, begin));
            }
            if !runs && self.left.forgets > 0 {
                moves.push(self.bounded(|left| &mut left.forgets, begin));
            }
        }
        moves
    }

    /// The entry that was seen is deleted, and no other: after the orphan grace of what was running then.
    fn forget(&mut self, (node, token, graced): (usize, i64, [bool; 2])) -> Result<(), String> {
        self.forgetting = None;
        for process in self.processes.iter_mut().filter(|process| process.node == node) {
            for mode in 0..2 {
                process.orphans[mode] &= !graced[mode] || self.mutant == Mutant::ForgetsWithoutGrace;
            }
        }
        let known = self.store.entries[node].map_or(0, |(_, token)| token);
        if known != token && self.mutant != Mutant::DeletesUncompared {
            return Ok(());
        }
        self.store.entries[node] = None;
        for process in self.processes.iter_mut().filter(|process| process.node == node) {
            // A fenced member opens nothing before it has read.
            let has_read = matches!(process.flight, Some((Op::Read { .. }, Some(_))));
            let admits = process.member.as_ref().is_some_and(|member| !member.is_fenced || has_read);
            process.is_forgotten = admits && self.mutant != Mutant::DeletesUncompared;
            for mode in 0..2 {
                process.excused[mode] |= process.is_forgotten && process.running[mode];
            }
        }
        Ok(())
    }

    fn bounded(
        &self,
        bound: impl FnOnce(&mut Bounds) -> &mut u8,
        change: impl FnOnce(&mut World) -> Result<(), String>,
    ) -> Result<World, String> {
        self.after(|world| {
            *bound(&mut world.left) -= 1;
            change(world)
        })
    }

    fn after(&self, change: impl FnOnce(&mut World) -> Result<(), String>) -> Result<World, String> {
        let mut world = self.clone();
        change(&mut world)?;
        world.is_sound()?;
        Ok(world)
    }
}
