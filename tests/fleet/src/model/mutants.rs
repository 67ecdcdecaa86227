//! Wrong members, stores and operators: each breaks one rule, from outside, so that the product has no code for them.

use crate::policy::fleet::Member;
use crate::policy::fleet::member::{Standing, Stop};
use crate::policy::fleet::words::{Effect, End, Event, Id, Op, OpEnd};
use crate::policy::flip::{Failure, Outcome, RecordKind, Step};
use crate::policy::mode::Mode;

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mutant {
    None,
    SavesWithoutComparing,
    /// Remembers a revision that was tried, not read or confirmed.
    RemembersATriedRevision,
    ReusesAnIncarnation,
    /// Adopts what was read before the entry was written.
    ReadsBeforeItsEntryIsWritten,
    /// Reads the record and the entries in two transactions.
    ReadsInTwo,
    TakesOverAnotherDirectorysEntry,
    /// Does not wait for what a killed process left.
    NoGrace,
    /// Opens a settled mode while operations of the other one are running.
    OpensUndrained,
    AppliesAnEarlierRecord,
    StaysOpenWithoutAnEntry,
    /// Settles without all members.
    SettlesAlone,
    /// Settles by a roster that was read before the switching record was written.
    UsesAnOldRoster,
    AcceptsAnyAcknowledgement,
    AcknowledgesUnpublished,
    AcknowledgesUndrained,
    /// Does not repeat an acknowledgement whose outcome is unknown.
    AcknowledgesOnce,
    /// Answers by a read that was sent before the request came.
    AnswersByAnOldRead,
    TakesUnknownForDone,
    TakesUnknownForNotDone,
    LeavesUndrained,
    ForgetsWithoutGrace,
    DeletesUncompared,
    NarrowedOpensTheOther,
    EndsAFenceUnread,
    IgnoresAnotherStore,
    SettlesProductionWithNoMemberInIt,
}

impl Mutant {
    /// Each with the history that it is looked for in, and how it shows.
    pub(super) const ALL: &[(Mutant, &str, &str)] = &[
        (Mutant::SavesWithoutComparing, "two flips", "Record {"),
        (Mutant::RemembersATriedRevision, "two flips", "a flip never ends"),
        (Mutant::ReusesAnIncarnation, "a kill and an unknown write", "an operation runs that the settled"),
        (Mutant::ReadsBeforeItsEntryIsWritten, "joining", "an operation runs that the settled"),
        (Mutant::ReadsInTwo, "a joiner and an unknown write", "an operation runs that the settled"),
        (Mutant::TakesOverAnotherDirectorysEntry, "two claimants", "an operation runs that the settled"),
        (Mutant::NoGrace, "a kill and an unknown write", "an operation runs that the settled"),
        (Mutant::OpensUndrained, "forgetting with a false word", "a mode opens"),
        (Mutant::AppliesAnEarlierRecord, "an older store", "an earlier record is applied"),
        (Mutant::StaysOpenWithoutAnEntry, "two flips and a false word", "an operation runs that the settled"),
        (Mutant::SettlesAlone, "two flips", "an operation runs that the settled"),
        (Mutant::UsesAnOldRoster, "a joiner", "an operation runs that the settled"),
        (Mutant::AcceptsAnyAcknowledgement, "two flips", "an operation runs that the settled"),
        (Mutant::AcknowledgesUnpublished, "two flips", "an operation runs that the settled"),
        (Mutant::AcknowledgesUndrained, "two flips", "an operation runs that the settled"),
        (Mutant::AcknowledgesOnce, "a kill and an unknown write", "a flip never ends"),
        (Mutant::AnswersByAnOldRead, "a joiner", "InForce is told"),
        (Mutant::TakesUnknownForDone, "a kill and an unknown write", "a member shows nothing"),
        (Mutant::TakesUnknownForNotDone, "a kill and an unknown write", "Failed(MemberMissing) is told"),
        (Mutant::LeavesUndrained, "a leave", "an operation runs that the settled"),
        (Mutant::ForgetsWithoutGrace, "forgetting", "an operation runs that the settled"),
        (Mutant::DeletesUncompared, "forgetting", "an operation runs that the settled"),
        (Mutant::NarrowedOpensTheOther, "a UCS that refuses", "an operation runs that the settled"),
        (Mutant::EndsAFenceUnread, "a fence", "an operation runs that the settled"),
        (Mutant::IgnoresAnotherStore, "another store", "an earlier record is applied"),
        (Mutant::SettlesProductionWithNoMemberInIt, "a UCS that refuses", "production settles"),
    ];

    /// The step function with this mutation. (Others are in `store`, `world` and `moves`.)
    pub(super) fn step(self, member: &mut Member, event: Event, ids: &mut dyn FnMut() -> Id) -> Vec<Effect> {
        let before = member.clone();
        let event = self.before(member, event);
        let mut effects = member.step(event.clone(), ids);
        self.after(&before, member, &event, &mut effects, ids);
        effects
    }

    fn before(self, member: &mut Member, mut event: Event) -> Event {
        if let Event::OpEnded(OpEnd::Read(view)) = &mut event {
            let own = view.own;
            match self {
                Mutant::TakesOverAnotherDirectorysEntry => {
                    if let Some((entry, _)) = &mut view.own {
                        entry.directory = member.memory.directory;
                    }
                }
                Mutant::StaysOpenWithoutAnEntry if member.standing == Standing::In && own.is_none() => {
                    view.own = member.view.as_ref().and_then(|view| view.own).or(member.lost_entry());
                }
                Mutant::AppliesAnEarlierRecord => {
                    member.memory.highest = 0;
                    member.in_force =
                        member.in_force.filter(|known| known.brief.revision <= view.record.brief.revision);
                }
                Mutant::IgnoresAnotherStore => {
                    view.is_home = true;
                    member.memory.highest = 0;
                    member.in_force = member.in_force.filter(|known| known.brief.revision < view.record.brief.revision);
                }
                Mutant::NoGrace if matches!(own, Some((entry, _)) if entry.incarnation != member.incarnation) => {
                    if let Some((entry, _)) = &mut view.own
                        && entry.directory == member.memory.directory
                    {
                        // As if there were none, but for the mark.
                        entry.incarnation = member.incarnation;
                        member.standing = Standing::Out;
                    }
                }
                _ => {}
            }
        }
        match (self, &event) {
            (Mutant::TakesUnknownForDone, Event::OpEnded(OpEnd::Unknown))
                if matches!(member.op, Some(Op::Save { .. })) =>
            {
                Event::OpEnded(OpEnd::Done(i64::MAX))
            }
            (Mutant::AcceptsAnyAcknowledgement, _) => {
                let revision = member.in_force.map_or(0, |record| record.brief.revision);
                if let Event::OpEnded(OpEnd::Read(view)) = &mut event {
                    let newest = view.record.brief.revision.max(revision);
                    let acks = view.others.iter_mut().flatten().filter_map(|entry| entry.ack.as_mut());
                    acks.for_each(|ack| ack.revision = newest);
                }
                event
            }
            (Mutant::LeavesUndrained, Event::Emptied) => {
                (member.stop, member.must_read) = (Stop::Leaving, true);
                event
            }
            (Mutant::EndsAFenceUnread, Event::Resync) => {
                member.is_fenced = false;
                event
            }
            _ => event,
        }
    }

    fn after(
        self,
        before: &Member,
        member: &mut Member,
        event: &Event,
        effects: &mut Vec<Effect>,
        ids: &mut dyn FnMut() -> Id,
    ) {
        let switching = member.switching().copied();
        match self {
            Mutant::RemembersATriedRevision if member.tried.is_some() => member.memory.highest += 1,
            Mutant::OpensUndrained | Mutant::AcknowledgesUndrained => {
                let is_settled = switching.is_none();
                let drains = effects.contains(&Effect::Begin(Step::Drain));
                if drains && is_settled == (self == Mutant::OpensUndrained) {
                    effects.extend(member.step(Event::Drained { complete: true, assumed: false }, ids));
                }
            }
            Mutant::SettlesAlone => {
                if let Some(view) = &mut member.view {
                    view.others = Some(Vec::new());
                }
                if member.ack_is_read() && member.op.is_none() {
                    effects.extend(member.step(Event::Drained { complete: true, assumed: false }, ids));
                }
            }
            Mutant::UsesAnOldRoster if matches!((before.op, event), (Some(Op::Save { .. }), Event::OpEnded(_))) => {
                if let (Some(view), Some(known)) = (&mut member.view, &before.view) {
                    view.others.clone_from(&known.others);
                }
            }
            Mutant::AnswersByAnOldRead if matches!(event, Event::Asked(_)) => {
                let reads = matches!(member.op, Some(Op::Read { .. }));
                member.asking.iter_mut().for_each(|(_, is_sent)| *is_sent |= reads);
            }
            Mutant::TakesUnknownForNotDone if *event == Event::OpEnded(OpEnd::Unknown) => {
                if let Some(tried) = before.tried.filter(|tried| matches!(tried.next.kind, RecordKind::Settled(_))) {
                    let flips = member.flips.iter_mut().filter(|flip| flip.record.attempt == tried.record.attempt);
                    let told = End::Of(Outcome::Failed(Failure::MemberMissing));
                    effects.extend(flips.flat_map(|flip| flip.tickets.drain(..)).map(|one| Effect::Reply(one, told)));
                }
            }
            Mutant::SettlesProductionWithNoMemberInIt => {
                if let (Some(Effect::Store(Op::Save { tried, own, .. })), Some(record)) =
                    (effects.last_mut(), switching)
                    && tried.next.kind == RecordKind::Reverted(Failure::Upstream)
                    && record.brief.mode == Mode::Production
                {
                    (tried.record.brief.mode, tried.record.failure) = (Mode::Production, None);
                    member.tried = Some(*tried);
                    member.op = Some(Op::Save { tried: *tried, own: *own, again: false });
                }
            }
            Mutant::ReadsBeforeItsEntryIsWritten if matches!(event, Event::OpEnded(OpEnd::Done(_))) => {
                let mut view = before.view.clone();
                if before.standing == Standing::Out
                    && let (Some(view), Some(Op::PutEntry { entry, .. })) = (&mut view, before.op)
                    && matches!(member.op, Some(Op::Read { .. }))
                {
                    view.own = member.entry_of(entry);
                    effects.retain(|effect| !matches!(effect, Effect::Store(_)));
                    effects.extend(member.step(Event::OpEnded(OpEnd::Read(view.clone())), ids));
                }
            }
            _ => {}
        }
    }
}

impl Member {
    fn lost_entry(&self) -> Option<(crate::policy::fleet::Entry, i64)> {
        let (directory, incarnation) = (self.memory.directory, self.incarnation);
        Some((crate::policy::fleet::Entry { directory, incarnation, ack: None }, i64::MAX))
    }

    fn entry_of(&self, entry: crate::policy::fleet::Entry) -> Option<(crate::policy::fleet::Entry, i64)> {
        self.view.as_ref().and_then(|view| view.own).or(Some((entry, 0)))
    }

    fn ack_is_read(&self) -> bool {
        let own = self.view.as_ref().and_then(|view| view.own);
        own.is_some_and(|(entry, _)| entry.ack.is_some())
    }
}
