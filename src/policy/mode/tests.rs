//! Every row of `apply`, and its promises over arbitrary records and changes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn operator(name: &str) -> Actor {
    Actor { kind: ActorKind::Operator, name: name.to_owned() }
}

fn change_to(mode: Mode) -> ModeChange {
    ModeChange::to(mode, operator("ann"))
}

fn production() -> ModeRecord {
    ModeRecord::first(Mode::Production, 7, "first_start", at(0))
}

fn switching() -> ModeRecord {
    apply(&production(), &Change::Set(change_to(Mode::Maintenance)), at(10)).unwrap()
}

fn revert() -> Change {
    Change::Revert { cause: "drain_timeout".to_owned(), actor: Actor::gateway() }
}

#[test]
fn a_change_for_the_other_mode_begins_a_flip() {
    let record = switching();
    assert_eq!((record.revision, record.mode, record.phase), (8, Mode::Maintenance, Phase::Switching));
    assert_eq!((record.from, record.deadline, record.since), (Some(Mode::Production), Some(at(70)), at(10)));
    assert_eq!((record.drain_timeout_ms, record.on_timeout), (Some(60_000), Some(OnTimeout::Revert)));
    assert_eq!((record.drained, record.actor, record.cause), (None, operator("ann"), None));
}

#[test]
fn the_settled_mode_is_confirmed_without_a_new_revision_unless_something_is_new() {
    let said = |reason: &str| ModeChange { reason: Some(reason.to_owned()), ..change_to(Mode::Production) };
    let record = production();
    assert_eq!(apply(&record, &Change::Set(change_to(Mode::Production)), at(5)), Ok(record.clone()));
    let reasoned = apply(&record, &Change::Set(said("audit")), at(5)).unwrap();
    assert_eq!((reasoned.revision, reasoned.reason.as_deref(), reasoned.since), (8, Some("audit"), at(0)));
    assert_eq!(apply(&reasoned, &Change::Set(said("audit")), at(6)), Ok(reasoned.clone()));
    let minute = Some(End::After(Duration::from_secs(60)));
    let expiring = ModeChange { expires_in: minute, ..change_to(Mode::Production) };
    let expiring = apply(&reasoned, &Change::Set(expiring), at(6)).unwrap();
    assert_eq!((expiring.revision, expiring.expires, expiring.reason.as_deref()), (9, Some(at(66)), Some("audit")));
    let endless = ModeChange { expires_in: Some(End::Never), ..change_to(Mode::Production) };
    let without = apply(&expiring, &Change::Set(endless.clone()), at(7)).unwrap();
    assert_eq!((without.revision, without.expires, without.reason.as_deref()), (10, None, Some("audit")));
    assert_eq!(apply(&without, &Change::Set(endless), at(8)), Ok(without.clone()), "it has none already");
    let forced = ModeChange { force: true, ..change_to(Mode::Production) };
    assert!(apply(&record, &Change::Set(forced), at(6)).unwrap().force);
}

#[test]
fn a_mode_that_is_confirmed_with_news_no_longer_tells_why_the_last_record_came_about() {
    let cancelled = apply(&switching(), &Change::Set(change_to(Mode::Production)), at(11)).unwrap();
    let said = ModeChange { reason: Some("checked".to_owned()), ..change_to(Mode::Production) };
    assert_eq!(apply(&cancelled, &Change::Set(said), at(12)).unwrap().cause, None);
    assert_eq!(apply(&cancelled, &Change::Set(change_to(Mode::Production)), at(12)), Ok(cancelled));
}

#[test]
fn the_mode_that_a_flip_leaves_cancels_it_and_any_other_change_must_wait() {
    let restored = apply(&switching(), &Change::Set(change_to(Mode::Production)), at(11)).unwrap();
    assert_eq!((restored.revision, restored.mode, restored.phase), (9, Mode::Production, Phase::Settled));
    assert_eq!((restored.cause.as_deref(), restored.deadline), (Some("cancelled"), None));
    assert_eq!(apply(&switching(), &Change::Set(change_to(Mode::Maintenance)), at(11)), Err(Refusal::Busy));
    assert_eq!(apply(&switching(), &Change::Expire { drain_timeout: Duration::ZERO }, at(11)), Err(Refusal::Busy));
}

#[test]
fn a_stale_change_is_refused_whatever_the_phase() {
    for record in [production(), switching()] {
        for mode in [Mode::Production, Mode::Maintenance] {
            let stale = ModeChange { if_revision: Some(record.revision - 1), ..change_to(mode) };
            assert_eq!(apply(&record, &Change::Set(stale), at(1)), Err(Refusal::Stale));
        }
    }
    let fresh = ModeChange { if_revision: Some(7), ..change_to(Mode::Maintenance) };
    assert!(apply(&production(), &Change::Set(fresh), at(1)).is_ok());
}

#[test]
fn a_flip_settles_or_reverts_and_nothing_else_does() {
    let settled = apply(&switching(), &Change::Settle { drained: false }, at(12)).unwrap();
    assert_eq!((settled.mode, settled.drained, settled.since), (Mode::Maintenance, Some(false), at(12)));
    let reverted = apply(&switching(), &revert(), at(12)).unwrap();
    assert_eq!((reverted.mode, reverted.cause.as_deref()), (Mode::Production, Some("drain_timeout")));
    assert_eq!(apply(&settled, &Change::Settle { drained: true }, at(13)), Err(Refusal::NotSwitching));
    assert_eq!(apply(&settled, &revert(), at(13)), Err(Refusal::NotSwitching));
}

#[test]
fn a_flip_that_is_taken_back_brings_back_when_the_old_mode_ends() {
    let ending = ModeRecord { expires: Some(at(99)), ..production() };
    let minute = Some(End::After(Duration::from_secs(60)));
    let flip = ModeChange { expires_in: minute, ..change_to(Mode::Maintenance) };
    // What a crash leaves is this record alone.
    let switching = apply(&ending, &Change::Set(flip), at(6)).unwrap();
    assert_eq!((switching.expires, switching.from_expires), (Some(at(66)), Some(at(99))));
    for (change, expires) in [
        (revert(), Some(at(99))),
        (Change::Set(change_to(Mode::Production)), Some(at(99))),
        (Change::Set(ModeChange { expires_in: Some(End::Never), ..change_to(Mode::Production) }), None),
        // A minute counts from settling, six seconds after the flip began.
        (Change::Settle { drained: true }, Some(at(72))),
    ] {
        let record = apply(&switching, &change, at(12)).unwrap();
        assert_eq!((record.expires, record.from_expires), (expires, None), "{change:?}");
    }
}

#[test]
fn whoever_takes_back_what_an_end_began_takes_the_end_away() {
    let ending = ModeRecord { expires: Some(at(20)), ..production() };
    let expire = Change::Expire { drain_timeout: Duration::from_secs(5) };
    let switching = apply(&ending, &expire, at(20)).unwrap();
    let failed = apply(&switching, &revert(), at(25)).unwrap();
    assert_eq!(failed.expires, Some(at(20)), "nobody took it back: it is tried again");
    let back = apply(&switching, &Change::Set(change_to(Mode::Production)), at(22)).unwrap();
    assert_eq!((back.mode, back.expires), (Mode::Production, None));
    let later = ModeChange { expires_in: Some(End::After(Duration::from_secs(60))), ..change_to(Mode::Production) };
    assert_eq!(apply(&switching, &Change::Set(later), at(22)).unwrap().expires, Some(at(82)));
}

#[test]
fn a_flip_that_is_taken_back_says_of_the_old_mode_what_was_true_before() {
    for drained in [true, false] {
        let forced = ModeRecord { drained: Some(drained), ..production() };
        let switching = apply(&forced, &Change::Set(change_to(Mode::Maintenance)), at(6)).unwrap();
        for change in [revert(), Change::Set(change_to(Mode::Production))] {
            let record = apply(&switching, &change, at(12)).unwrap();
            assert_eq!((record.drained, record.from_drained), (Some(drained), None), "{change:?}");
        }
    }
}

#[test]
fn a_record_expires_at_its_time_and_not_before() {
    let expire = Change::Expire { drain_timeout: Duration::from_secs(5) };
    let record = ModeRecord { expires: Some(at(100)), ..production() };
    assert_eq!(apply(&record, &expire, at(99)), Err(Refusal::NotDue));
    assert_eq!(apply(&production(), &expire, at(99)), Err(Refusal::NotDue));
    let flipping = apply(&record, &expire, at(100)).unwrap();
    assert_eq!((flipping.actor.kind, flipping.mode), (ActorKind::Expiry, Mode::Maintenance));
    assert_eq!((flipping.expires, flipping.deadline), (None, Some(at(105))));
}

#[test]
fn a_seen_schema_ends_force_once() {
    let forced = ModeRecord { force: true, ..production() };
    let ended = apply(&forced, &Change::EndForce, at(1)).unwrap();
    assert_eq!((ended.force, ended.revision), (false, 8));
    assert_eq!(apply(&ended, &Change::EndForce, at(2)), Err(Refusal::NotDue));
}

#[test]
fn json_is_flat_and_refuses_what_it_does_not_know() {
    let json = serde_json::to_value(switching()).unwrap();
    assert_eq!(
        (&json["mode"], &json["phase"], &json["from"]),
        (&"maintenance".into(), &"switching".into(), &"production".into())
    );
    let back: ModeRecord = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(back, switching());
    let mut foreign = json;
    foreign["colour"] = "green".into();
    assert!(serde_json::from_value::<ModeRecord>(foreign).is_err());
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Production), Just(Mode::Maintenance)]
}

fn any_change_to() -> impl Strategy<Value = ModeChange> {
    let seconds = || proptest::option::of(any::<u64>().prop_map(Duration::from_secs));
    let on_timeout = proptest::option::of(prop_oneof![Just(OnTimeout::Cut), Just(OnTimeout::Commit)]);
    let end = prop_oneof![
        1 => Just(End::Never),
        3 => any::<u64>().prop_map(|seconds| End::After(Duration::from_secs(seconds))),
    ];
    (
        any_mode(),
        proptest::option::of("[ab]"),
        proptest::option::of(7..12u64),
        seconds(),
        on_timeout,
        proptest::option::of(end),
        any::<bool>(),
    )
        .prop_map(|(mode, reason, if_revision, drain_timeout, on_timeout, expires_in, force)| ModeChange {
            reason,
            if_revision,
            drain_timeout,
            on_timeout,
            expires_in,
            force,
            ..change_to(mode)
        })
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any_change_to().prop_map(Change::Set),
        2 => any::<bool>().prop_map(|drained| Change::Settle { drained }),
        1 => Just(revert()),
        1 => any::<u64>().prop_map(|seconds| Change::Expire { drain_timeout: Duration::from_secs(seconds) }),
        1 => Just(Change::EndForce),
    ]
}

proptest! {
    #[test]
    fn along_any_history_revisions_grow_and_records_stay_consistent(
        changes in proptest::collection::vec((any_change(), 0..1_000_000i64), 1..40)
    ) {
        let mut record = production();
        for (change, second) in changes {
            let Ok(next) = apply(&record, &change, at(second)) else { continue };
            prop_assert!(next == record || next.revision > record.revision);
            prop_assert!(next.is_consistent(), "{next:?}");
            if next.phase == Phase::Switching {
                prop_assert_eq!(next.stable_mode(), record.mode);
            }
            record = next;
        }
    }
}
