//! Every row of the rule for UCS's own mode.

#![allow(clippy::unwrap_used)]

use super::*;

fn seen(mode: Mode, started: &str) -> UpstreamStatus {
    UpstreamStatus { mode, started: Some(started.to_owned()) }
}

fn own_state(mode: Mode) -> OwnState {
    OwnState { mode, guessed: false, forced: false, refusals: 0, own_call: false }
}

const OPEN: Mode = Mode::Production;
const CLOSED: Mode = Mode::Maintenance;

#[test]
fn two_polls_in_a_row_of_an_incarnation_that_agreed_are_followed_and_one_is_not() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    let mut poll = |mode| decide(memory, polls, &seen(mode, "a"), own_state(OPEN));
    assert_eq!(poll(OPEN), Decision::Agreed);
    assert_eq!(poll(CLOSED), Decision::Wait);
    assert_eq!(poll(OPEN), Decision::Agreed);
    assert_eq!(poll(CLOSED), Decision::Wait);
    assert_eq!(poll(CLOSED), Decision::Follow);
}

#[test]
fn another_incarnation_and_one_that_never_agreed_are_set_until_they_refuse_twice() {
    for agreed in [Some(seen(OPEN, "a")), Some(seen(CLOSED, "b")), None] {
        let (memory, polls) = (&mut UpstreamMemory { agreed, ..UpstreamMemory::default() }, &mut 0);
        for (refusals, decision) in [(0, Decision::SetBack), (1, Decision::SetBack), (2, Decision::Follow)] {
            let own_state = OwnState { refusals, ..own_state(OPEN) };
            assert_eq!(decide(memory, polls, &seen(CLOSED, "b"), own_state), decision, "{refusals}");
        }
    }
}

#[test]
fn a_call_of_our_own_that_comes_late_is_no_move_of_ucs() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    decide(memory, polls, &seen(OPEN, "a"), own_state(OPEN));
    let own_state = OwnState { own_call: true, ..own_state(OPEN) };
    assert_eq!(decide(memory, polls, &seen(CLOSED, "a"), own_state), Decision::SetBack);
}

#[test]
fn a_forced_production_is_neither_followed_nor_fought() {
    let forced = OwnState { forced: true, ..own_state(OPEN) };
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    assert_eq!(decide(memory, polls, &seen(CLOSED, "a"), forced), Decision::SetBack, "it was not set yet");
    let refused = OwnState { refusals: 1, ..forced };
    assert_eq!(decide(memory, polls, &seen(CLOSED, "a"), refused), Decision::Leave);
    decide(memory, polls, &seen(OPEN, "a"), forced);
    for _ in 0..3 {
        assert_eq!(decide(memory, polls, &seen(CLOSED, "a"), forced), Decision::Leave);
    }
}

#[test]
fn a_guess_is_replaced_by_the_first_mode_and_a_requested_one_is_not() {
    let guess = UpstreamMemory { provisional: true, ..UpstreamMemory::default() };
    let guessed = OwnState { guessed: true, ..own_state(OPEN) };
    assert_eq!(decide(&mut guess.clone(), &mut 0, &seen(CLOSED, "a"), guessed), Decision::Adopt);
    assert_eq!(decide(&mut guess.clone(), &mut 0, &seen(CLOSED, "a"), own_state(OPEN)), Decision::SetBack);
    let confirmed = &mut guess.clone();
    assert_eq!(decide(confirmed, &mut 0, &seen(OPEN, "a"), guessed), Decision::Agreed);
    assert!(!confirmed.provisional);
}

#[test]
fn an_open_ucs_is_set_back_in_maintenance_and_has_moved_only_if_it_agreed_and_was_not_asked() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    assert_eq!(decide(memory, polls, &seen(OPEN, "a"), own_state(CLOSED)), Decision::SetBack, "not set yet");
    assert_eq!(decide(memory, polls, &seen(CLOSED, "a"), own_state(CLOSED)), Decision::Agreed);
    let asked = OwnState { own_call: true, ..own_state(CLOSED) };
    assert_eq!(decide(memory, polls, &seen(OPEN, "a"), asked), Decision::SetBack, "the gateway's own call");
    assert_eq!(decide(memory, polls, &seen(OPEN, "b"), own_state(CLOSED)), Decision::SetBack, "restarted");
    assert_eq!(decide(memory, polls, &seen(OPEN, "a"), own_state(CLOSED)), Decision::Moved);
}

#[test]
fn a_call_may_take_effect_until_it_ended_or_its_time_is_up_whatever_the_clock_does() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let window = Duration::from_secs(180);
    let mut asked = Asked::default();
    assert!(!asked.may_take_effect(OPEN, window, at(1000)));
    asked.note(OPEN, Some(at(1000)));
    assert!(asked.may_take_effect(OPEN, window, at(1179)) && !asked.may_take_effect(CLOSED, window, at(1000)));
    assert!(!asked.may_take_effect(OPEN, window, at(1180)) && !asked.may_take_effect(OPEN, window, at(500)));
    asked.note(OPEN, None);
    assert!(!asked.may_take_effect(OPEN, window, at(1000)));
}

#[test]
fn an_incarnation_that_closed_itself_is_remembered_until_it_is_open_again() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    decide(memory, polls, &seen(OPEN, "a"), own_state(OPEN));
    decide(memory, polls, &seen(CLOSED, "a"), own_state(OPEN));
    assert!(memory.closed_itself.is_some());
    // The gateway has followed; a later actor does not change this.
    decide(memory, polls, &seen(CLOSED, "a"), own_state(CLOSED));
    assert!(memory.closed_itself.is_some());
    decide(memory, polls, &seen(OPEN, "a"), own_state(OPEN));
    assert!(memory.closed_itself.is_none());
}
