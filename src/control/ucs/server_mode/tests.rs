//! Every row of the rule for UCS's own mode.

use super::*;

fn seen(mode: Mode, started: &str) -> UpstreamStatus {
    UpstreamStatus { mode, started: Some(started.to_owned()) }
}

fn standing(mode: Mode) -> Standing {
    Standing { mode, guessed: false, forced: false, refusals: 0, own_call: false }
}

const OPEN: Mode = Mode::Production;
const CLOSED: Mode = Mode::Maintenance;

#[test]
fn two_polls_in_a_row_of_an_incarnation_that_agreed_are_followed_and_one_is_not() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    let mut poll = |mode| advise(memory, polls, &seen(mode, "a"), standing(OPEN));
    assert_eq!(poll(OPEN), Advice::Agreed);
    assert_eq!(poll(CLOSED), Advice::Wait);
    assert_eq!(poll(OPEN), Advice::Agreed);
    assert_eq!(poll(CLOSED), Advice::Wait);
    assert_eq!(poll(CLOSED), Advice::Follow);
}

#[test]
fn another_incarnation_and_one_that_never_agreed_are_set_until_they_refuse_twice() {
    for agreed in [Some(seen(OPEN, "a")), Some(seen(CLOSED, "b")), None] {
        let (memory, polls) = (&mut UpstreamMemory { agreed, ..UpstreamMemory::default() }, &mut 0);
        for (refusals, advice) in [(0, Advice::SetBack), (1, Advice::SetBack), (2, Advice::Follow)] {
            let standing = Standing { refusals, ..standing(OPEN) };
            assert_eq!(advise(memory, polls, &seen(CLOSED, "b"), standing), advice, "{refusals}");
        }
    }
}

#[test]
fn a_call_of_our_own_that_comes_late_is_no_move_of_ucs() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    advise(memory, polls, &seen(OPEN, "a"), standing(OPEN));
    let standing = Standing { own_call: true, ..standing(OPEN) };
    assert_eq!(advise(memory, polls, &seen(CLOSED, "a"), standing), Advice::SetBack);
}

#[test]
fn a_forced_production_is_neither_followed_nor_fought() {
    let forced = Standing { forced: true, ..standing(OPEN) };
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    assert_eq!(advise(memory, polls, &seen(CLOSED, "a"), forced), Advice::SetBack, "it was not told yet");
    let refused = Standing { refusals: 1, ..forced };
    assert_eq!(advise(memory, polls, &seen(CLOSED, "a"), refused), Advice::Leave);
    advise(memory, polls, &seen(OPEN, "a"), forced);
    for _ in 0..3 {
        assert_eq!(advise(memory, polls, &seen(CLOSED, "a"), forced), Advice::Leave);
    }
}

#[test]
fn a_guess_is_replaced_by_the_first_mode_and_a_wish_is_not() {
    let guess = UpstreamMemory { provisional: true, ..UpstreamMemory::default() };
    let guessed = Standing { guessed: true, ..standing(OPEN) };
    assert_eq!(advise(&mut guess.clone(), &mut 0, &seen(CLOSED, "a"), guessed), Advice::Adopt);
    assert_eq!(advise(&mut guess.clone(), &mut 0, &seen(CLOSED, "a"), standing(OPEN)), Advice::SetBack);
    let confirmed = &mut guess.clone();
    assert_eq!(advise(confirmed, &mut 0, &seen(OPEN, "a"), guessed), Advice::Agreed);
    assert!(!confirmed.provisional);
}

#[test]
fn an_open_ucs_is_set_back_while_the_gateway_is_in_maintenance() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    assert_eq!(advise(memory, polls, &seen(OPEN, "a"), standing(CLOSED)), Advice::SetBack);
    assert_eq!(advise(memory, polls, &seen(CLOSED, "a"), standing(CLOSED)), Advice::Agreed);
}

#[test]
fn who_closed_itself_is_remembered_until_it_is_open_again() {
    let (memory, polls) = (&mut UpstreamMemory::default(), &mut 0);
    advise(memory, polls, &seen(OPEN, "a"), standing(OPEN));
    advise(memory, polls, &seen(CLOSED, "a"), standing(OPEN));
    assert!(memory.closed_itself.is_some());
    // The gateway has followed, and whoever signs later changes nothing about it.
    advise(memory, polls, &seen(CLOSED, "a"), standing(CLOSED));
    assert!(memory.closed_itself.is_some());
    advise(memory, polls, &seen(OPEN, "a"), standing(OPEN));
    assert!(memory.closed_itself.is_none());
}
