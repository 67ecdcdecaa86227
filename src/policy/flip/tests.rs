//! The way of a flip, step by step. The invariants of every way are in `model`.

use super::*;
use crate::policy::mode::{DrainOutcome, Mode, OnTimeout};

fn production() -> State {
    State::found(Brief { revision: 7, mode: Mode::Production, switching: false }, Mode::Production, 7).0
}

fn wish(ticket: Ticket, mode: Mode, applied: Applied) -> Event {
    let on_timeout = OnTimeout::Revert;
    Event::Requested(Wish { ticket, mode, requested: true, applied, on_timeout, force: false, lacks_schema: false })
}

fn saves(revision: u64, kind: RecordKind) -> Effect {
    Effect::Save(NextRecord { revision, kind })
}

const SAVED: Event = Event::SaveEnded { saved: true };
const NOT_SAVED: Event = Event::SaveEnded { saved: false };
const DRAINED: Event = Event::Drained { complete: true };

/// A flip to maintenance by requester 1, up to a step.
fn flipping(step: Step) -> State {
    let mut state = production();
    let way =
        [wish(1, Mode::Maintenance, Applied::Flip), SAVED, DRAINED, Event::UpstreamAnswered(UpstreamAnswer::InStep)];
    for event in way {
        if state.step_under_way() != Some(step) {
            state.step(event);
        }
    }
    assert_eq!(state.step_under_way(), Some(step));
    state
}

#[test]
fn a_flip_saves_publishes_drains_sets_ucs_saves_publishes_and_only_then_replies() {
    let mut state = production();
    let flip = wish(1, Mode::Maintenance, Applied::Flip);
    assert_eq!(state.step(flip), [saves(8, RecordKind::Requested(1))]);
    assert_eq!(state.step(SAVED), [Effect::Publish, Effect::Begin(Step::Drain)]);
    assert_eq!(state.step(DRAINED), [Effect::Begin(Step::Upstream)]);
    let answer = Event::UpstreamAnswered(UpstreamAnswer::Refused);
    assert_eq!(state.step(answer), [saves(9, RecordKind::Settled(DrainOutcome::Complete))]);
    assert_eq!(state.step(SAVED), [Effect::Publish, Effect::Reply(1, Outcome::Settled)]);
    assert!(state.is_idle());
}

#[test]
fn a_scheduled_flip_is_taken_away_once_the_flip_under_way_has_ended() {
    for step in [Step::Drain, Step::Upstream, Step::Settle] {
        let mut state = flipping(step);
        assert_eq!(state.step(wish(2, Mode::Production, Applied::Later)), [Effect::Wait(2)]);
        assert_eq!(state.step_under_way(), Some(step));
    }
    let mut state = production();
    state.step(Event::Stop);
    let refused = [Effect::Reply(2, Outcome::ShuttingDown)];
    assert_eq!(state.step(wish(2, Mode::Production, Applied::Later)), refused);
}

#[test]
fn a_cancel_of_a_hung_ucs_restores_first_and_sets_ucs_back_afterwards() {
    let mut state = flipping(Step::Upstream);
    assert_eq!(state.step(wish(2, Mode::Production, Applied::Noted)), [saves(9, RecordKind::Cancelled(2))]);
    let told = state.step(SAVED);
    let failed = Outcome::Failed(Failure::Cancelled);
    let wanted = [
        Effect::Publish,
        Effect::SetUpstreamBack(Failure::Cancelled),
        Effect::Reply(1, failed),
        Effect::Reply(2, Outcome::Restored),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn the_outcome_of_the_save_under_way_comes_before_a_cancel() {
    let mut state = flipping(Step::Announce);
    assert_eq!(state.step(wish(2, Mode::Production, Applied::Same)), []);
    assert_eq!(state.clone().step(NOT_SAVED), [Effect::Reply(1, Outcome::NotDurable), Effect::Wait(2)]);
    assert_eq!(state.step(SAVED), [saves(9, RecordKind::Cancelled(2))]);

    let mut state = flipping(Step::Settle);
    assert_eq!(state.step(wish(2, Mode::Production, Applied::Noted)), []);
    assert_eq!(state.clone().step(NOT_SAVED), [saves(10, RecordKind::Cancelled(2))]);
    assert_eq!(state.step(SAVED), [Effect::Publish, Effect::Reply(1, Outcome::Settled), Effect::Wait(2)]);
}

#[test]
fn a_request_for_the_target_joins_and_any_third_is_refused() {
    let mut state = flipping(Step::Drain);
    assert_eq!(state.step(wish(2, Mode::Maintenance, Applied::Refused)), []);
    state.step(Event::Drained { complete: false });
    assert_eq!(
        state.step(wish(3, Mode::Maintenance, Applied::Refused)),
        [Effect::Reply(3, Outcome::Busy)],
        "the flip is being taken back"
    );
    let failed = Outcome::Failed(Failure::DrainTimeout);
    assert_eq!(state.step(SAVED), [Effect::Publish, Effect::Reply(1, failed), Effect::Reply(2, failed)]);
}

#[test]
fn what_cannot_be_restored_durably_is_kept_retried_and_acknowledged_to_none() {
    let mut state = flipping(Step::Drain);
    state.step(wish(2, Mode::Production, Applied::Noted));
    let told = state.step(NOT_SAVED);
    let failed = [1, 2].map(|ticket| Effect::Reply(ticket, Outcome::NotDurable));
    assert_eq!(told, [Effect::KeepUnsaved, failed[0], failed[1]]);
    assert!(state.is_unsaved());
    assert_eq!(state.step(wish(3, Mode::Production, Applied::Same)), [saves(9, RecordKind::Same)]);
    assert_eq!(state.step(SAVED), [Effect::Publish, Effect::Reply(3, Outcome::InForce)]);
}

#[test]
fn an_unfinished_flip_is_taken_back_after_the_grace() {
    let found = Brief { revision: 8, mode: Mode::Maintenance, switching: true };
    let (mut state, effects) = State::found(found, Mode::Production, 16);
    assert_eq!(effects, [Effect::Begin(Step::Grace)]);
    assert_eq!(state.step(wish(1, Mode::Production, Applied::Noted)), [Effect::Wait(1)]);
    assert_eq!(state.step(Event::GraceOver), [saves(17, RecordKind::Reverted(Failure::Recovered))]);
    assert_eq!(state.step(SAVED), [Effect::Publish, Effect::SetUpstreamBack(Failure::Recovered)]);
}

#[test]
fn a_flip_in_place_of_a_lost_record_ends_in_its_target_after_the_grace() {
    let found = Brief { revision: 8, mode: Mode::Maintenance, switching: true };
    let (mut state, effects) = State::found(found, Mode::Maintenance, 16);
    assert_eq!(effects, [Effect::Begin(Step::Grace)]);
    assert_eq!(state.step(wish(1, Mode::Production, Applied::Noted)), [Effect::Reply(1, Outcome::Busy)]);
    assert_eq!(state.step(wish(2, Mode::Maintenance, Applied::Refused)), [Effect::Wait(2)]);
    assert_eq!(state.step(Event::GraceOver), [saves(17, RecordKind::Reverted(Failure::Recovered))]);
    assert_eq!(state.step(NOT_SAVED)[0], Effect::KeepUnsaved);
    assert!(state.in_force.mode == Mode::Maintenance && state.is_idle());
}
