//! Wrong step functions: each breaks one rule, from outside, so that the product has no code for them.

use crate::policy::flip::{Effect, Event, Failure, Outcome, State, Step, UpstreamAnswer};
use crate::policy::mode::Mode;

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mutant {
    None,
    /// Publishes `switching` before it is durable.
    PublishesBeforeSaving,
    /// Settles without waiting for the requests in flight.
    SkipsTheDrain,
    /// Commits at the deadline as if the drain had been complete.
    TakesATimeoutForADrain,
    /// A drain does not wait for the requests that a killed gateway left at UCS.
    ForgetsOrphans,
    /// What a start restores is signed by a requester.
    SignsARecovery,
    /// Opens the old mode before the grace after a crash is over.
    NoGrace,
    TakesAFailedSaveForGood,
    /// Uses a revision again whose save failed.
    ReusesARevision,
    /// Uses revisions again that may have been reported before a crash.
    SkipsNoRevision,
    /// Drops a save under way when a cancel comes.
    GivesUpASave,
    /// Handles a request while a save is under way.
    SavesTwiceAtOnce,
    /// Does not retry saving the record that it kept in memory.
    ForgetsToRetry,
    /// Acknowledges a cancel before it is durable.
    AcknowledgesACancelAtOnce,
    /// Acknowledges a cancel that could not be saved.
    AcknowledgesAnUnsavedCancel,
    /// A cancel waits for the end of the drain, or for UCS.
    CancelWaits,
    /// A stop waits for the end of the drain, or for UCS.
    StopWaits,
    /// A request that joined gets no reply.
    ForgetsWhoJoined,
    /// Believes a UCS that does not report the target.
    BelievesUcs,
    /// A flip to maintenance fails because of UCS.
    UcsSpoilsMaintenance,
    /// UCS is set back before the old mode is in force.
    SetsUcsBackFirst,
    /// UCS is not set back.
    LeavesUcs,
}

impl Mutant {
    pub(super) const ALL: [Mutant; 21] = [
        Mutant::PublishesBeforeSaving,
        Mutant::SkipsTheDrain,
        Mutant::TakesATimeoutForADrain,
        Mutant::ForgetsOrphans,
        Mutant::SignsARecovery,
        Mutant::NoGrace,
        Mutant::TakesAFailedSaveForGood,
        Mutant::ReusesARevision,
        Mutant::SkipsNoRevision,
        Mutant::GivesUpASave,
        Mutant::SavesTwiceAtOnce,
        Mutant::ForgetsToRetry,
        Mutant::AcknowledgesACancelAtOnce,
        Mutant::AcknowledgesAnUnsavedCancel,
        Mutant::CancelWaits,
        Mutant::StopWaits,
        Mutant::ForgetsWhoJoined,
        Mutant::BelievesUcs,
        Mutant::UcsSpoilsMaintenance,
        Mutant::SetsUcsBackFirst,
        Mutant::LeavesUcs,
    ];

    /// The step function with this mutation. (Four mutants are in `world`: of the store, the start and the drain.)
    pub(super) fn step(self, state: &mut State, event: Event) -> Vec<Effect> {
        let before = state.clone();
        let mut effects = state.step(self.event(&before, event));
        self.change_state(state, before.clone(), event, &mut effects);
        self.change_effects(state, &before, event, &mut effects);
        effects
    }

    /// The mutants whose next state is another, mostly that before the step.
    fn change_state(self, state: &mut State, before: State, event: Event, effects: &mut Vec<Effect>) {
        let step = before.step_under_way();
        let is_long = matches!(step, Some(Step::Drain | Step::Cut | Step::Upstream));
        match self {
            Mutant::SkipsTheDrain if effects.contains(&Effect::Begin(Step::Drain)) => {
                effects.extend(state.step(Event::Drained { complete: true }));
            }
            Mutant::GivesUpASave if step == Some(Step::Announce) && matches!(event, Event::Requested(_)) => {
                if let Some(flip) = &state.flip
                    && flip.cancel.is_some()
                {
                    effects.extend(state.restore(Failure::Cancelled));
                }
            }
            Mutant::SignsARecovery if step == Some(Step::Grace) => {
                if let (Event::Requested(wish), [Effect::Wait(_)]) = (event, &effects[..]) {
                    state.flip.iter_mut().for_each(|flip| flip.cancel = Some(wish.ticket));
                    effects.clear();
                }
            }
            Mutant::SavesTwiceAtOnce if matches!(event, Event::Requested(_)) && before.flip.is_none() => {
                *state = State { saving: None, ..before };
                *effects = state.step(event);
            }
            Mutant::ForgetsToRetry if effects.contains(&Effect::KeepUnsaved) => state.unsaved = false,
            Mutant::CancelWaits if is_long && matches!(event, Event::Requested(_)) && *state != before => {
                if let Some(cancel) = state.flip.as_ref().and_then(|flip| flip.cancel) {
                    *state = before;
                    state.flip.iter_mut().for_each(|flip| flip.cancel = Some(cancel));
                    effects.clear();
                }
            }
            Mutant::StopWaits if is_long && event == Event::Stop => {
                *state = State { stopping: true, ..before };
                effects.clear();
            }
            Mutant::ForgetsWhoJoined => state.flip.iter_mut().for_each(|flip| flip.tickets.truncate(1)),
            _ => {}
        }
    }

    /// The mutants that do or tell something else, in the same state.
    fn change_effects(self, state: &State, before: &State, event: Event, effects: &mut Vec<Effect>) {
        match self {
            Mutant::PublishesBeforeSaving if state.step_under_way() == Some(Step::Announce) => {
                effects.push(Effect::Publish);
            }
            Mutant::ReusesARevision if matches!(event, Event::SaveEnded { saved: false }) => {
                let revised = |effect: &mut Effect| {
                    if let Effect::Save(next) = effect {
                        next.revision -= 1;
                    }
                };
                effects.iter_mut().for_each(revised);
            }
            Mutant::AcknowledgesACancelAtOnce => {
                let cancel = |state: &State| state.flip.as_ref().and_then(|flip| flip.cancel);
                if let (None, Some(ticket)) = (cancel(before), cancel(state)) {
                    effects.push(Effect::Reply(ticket, Outcome::Restored));
                }
            }
            Mutant::AcknowledgesAnUnsavedCancel if effects.contains(&Effect::KeepUnsaved) => {
                if let Some(Effect::Reply(_, outcome)) = effects.last_mut() {
                    *outcome = Outcome::Restored;
                }
            }
            Mutant::SetsUcsBackFirst => effects.sort_by_key(|effect| !matches!(effect, Effect::SetUpstreamBack(_))),
            Mutant::LeavesUcs => effects.retain(|effect| !matches!(effect, Effect::SetUpstreamBack(_))),
            _ => {}
        }
    }

    fn event(self, state: &State, event: Event) -> Event {
        let to_maintenance = state.flip.as_ref().is_some_and(|flip| flip.target == Mode::Maintenance);
        match (self, event) {
            (Mutant::TakesATimeoutForADrain, Event::Drained { .. }) => Event::Drained { complete: true },
            (Mutant::BelievesUcs, Event::UpstreamAnswered(_)) => Event::UpstreamAnswered(UpstreamAnswer::InStep),
            _ if self == Mutant::UcsSpoilsMaintenance && to_maintenance => match event {
                Event::UpstreamAnswered(UpstreamAnswer::Refused) => Event::Drained { complete: false },
                event => event,
            },
            (_, event) => event,
        }
    }
}
