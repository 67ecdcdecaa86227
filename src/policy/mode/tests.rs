//! Every row of `apply`, and its promises over arbitrary records and changes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Map;

use jiff::Timestamp;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn operator(name: &str) -> Actor {
    Actor::new(ActorKind::Operator, name)
}

fn change_to(mode: Mode) -> ModeChange {
    ModeChange::to(mode, operator("ann"))
}

fn production() -> ModeRecord {
    ModeRecord::first(Mode::Production, 7, "first_start", at(0))
}

fn count(operation: &str, count: u64) -> OperationCount {
    OperationCount::new(operation, "profile", count)
}

fn switching() -> ModeRecord {
    apply(&production(), &Change::Set(change_to(Mode::Maintenance)), at(10)).unwrap()
}

fn settle(drain: DrainOutcome) -> Change {
    Change::Settle { drain, abandoned: Vec::new() }
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
    assert_eq!((record.drain, record.actor, record.cause), (None, operator("ann"), None));
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
    let settled = apply(&switching(), &settle(DrainOutcome::Forced), at(12)).unwrap();
    assert_eq!((settled.mode, settled.drain, settled.since), (Mode::Maintenance, Some(DrainOutcome::Forced), at(12)));
    let reverted = apply(&switching(), &revert(), at(12)).unwrap();
    assert_eq!((reverted.mode, reverted.cause.as_deref()), (Mode::Production, Some("drain_timeout")));
    assert_eq!(apply(&settled, &settle(DrainOutcome::Complete), at(13)), Err(Refusal::NotSwitching));
    assert_eq!(apply(&settled, &revert(), at(13)), Err(Refusal::NotSwitching));
}

#[test]
fn a_flip_that_is_taken_back_brings_back_when_the_old_mode_ends() {
    let ending = ModeRecord { expires: Some(at(99)), ..production() };
    let minute = Some(End::After(Duration::from_secs(60)));
    let flip = ModeChange { expires_in: minute, ..change_to(Mode::Maintenance) };
    // What a crash leaves is this record alone.
    let switching = apply(&ending, &Change::Set(flip), at(6)).unwrap();
    assert_eq!((switching.expires, switching.left.expires), (Some(at(66)), Some(at(99))));
    for (change, expires) in [
        (revert(), Some(at(99))),
        (Change::Set(change_to(Mode::Production)), Some(at(99))),
        (Change::Set(ModeChange { expires_in: Some(End::Never), ..change_to(Mode::Production) }), None),
        // A minute counts from settling, six seconds after the flip began.
        (settle(DrainOutcome::Complete), Some(at(72))),
    ] {
        let record = apply(&switching, &change, at(12)).unwrap();
        assert_eq!((record.expires, &record.left), (expires, &Left::default()), "{change:?}");
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
fn a_flip_that_is_taken_back_leaves_the_old_mode_as_it_was() {
    let old = ModeRecord {
        drain: Some(DrainOutcome::Assumed),
        abandoned: vec![count("Create Customer Profile", 3)],
        message: Some("back soon".to_owned()),
        back_at: Some(at(500)),
        force: true,
        ..production()
    };
    let flip = ModeChange { message: Some("night work".to_owned()), ..change_to(Mode::Maintenance) };
    let switching = apply(&old, &Change::Set(flip), at(6)).unwrap();
    assert_eq!((switching.message.as_deref(), switching.back_at, switching.force), (Some("night work"), None, false));
    assert_eq!((switching.drain, switching.abandoned.len()), (None, 0));
    for change in [revert(), Change::Set(change_to(Mode::Production))] {
        let record = apply(&switching, &change, at(12)).unwrap();
        let kept = ModeRecord {
            revision: record.revision,
            since: record.since,
            actor: record.actor.clone(),
            cause: record.cause.clone(),
            ..old.clone()
        };
        assert_eq!(record, kept, "{change:?}");
    }
}

#[test]
fn a_drain_names_what_was_abandoned_in_a_list_of_limited_length() {
    let counts: Vec<_> = (0..1000).map(|number| count(&format!("Operation {number}"), number)).collect();
    let change = Change::Settle { drain: DrainOutcome::Assumed, abandoned: counts };
    let settled = apply(&switching(), &change, at(12)).unwrap();
    assert_eq!(settled.abandoned.len(), 32);
    assert_eq!((settled.abandoned[0].count, settled.abandoned[30].count), (999, 969));
    assert_eq!(settled.abandoned[31].operation, "969 other operations");
    assert_eq!(settled.abandoned.iter().map(|one| one.count).sum::<u64>(), 999 * 1000 / 2);
}

#[test]
fn what_clients_are_told_is_changed_and_taken_back_without_a_flip() {
    let told = ModeChange {
        message: Some("until three".to_owned()),
        back_at: Some(When::At(at(900))),
        ..change_to(Mode::Production)
    };
    let told = apply(&production(), &Change::Set(told), at(5)).unwrap();
    assert_eq!((told.revision, told.message.as_deref(), told.back_at), (8, Some("until three"), Some(at(900))));
    assert_eq!(apply(&told, &Change::Set(change_to(Mode::Production)), at(6)), Ok(told.clone()));
    let untold = ModeChange { message: Some(String::new()), back_at: Some(When::Never), ..change_to(Mode::Production) };
    let untold = apply(&told, &Change::Set(untold), at(7)).unwrap();
    assert_eq!((untold.revision, untold.message, untold.back_at), (9, None, None));
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

fn scheduled_for(second: i64) -> ModeRecord {
    let wanted = ModeChange {
        at: Some(When::At(at(second))),
        reason: Some("night work".to_owned()),
        expires_in: Some(End::After(Duration::from_secs(60))),
        ..change_to(Mode::Maintenance)
    };
    apply(&production(), &Change::Set(wanted), at(5)).unwrap()
}

#[test]
fn a_flip_is_scheduled_replaced_and_taken_away_without_touching_the_mode() {
    let never = ModeChange { at: Some(When::Never), ..change_to(Mode::Production) };
    assert_eq!(apply(&production(), &Change::Set(never.clone()), at(5)), Ok(production()), "there is none");
    let record = scheduled_for(100);
    assert_eq!((record.revision, record.mode, record.phase), (8, Mode::Production, Phase::Settled));
    assert_eq!((record.reason.as_deref(), record.since, record.cause.as_deref()), (None, at(0), Some("first_start")));
    let later = ModeChange { at: Some(When::At(at(200))), ..change_to(Mode::Maintenance) };
    let replaced = apply(&record, &Change::Set(later), at(6)).unwrap();
    let scheduled = replaced.scheduled.clone().unwrap();
    assert_eq!((replaced.revision, scheduled.at, scheduled.reason), (9, at(200), None));
    let without = apply(&replaced, &Change::Set(never), at(7)).unwrap();
    assert_eq!((without.revision, without.scheduled), (10, None));
    let other = ModeChange { at: Some(When::At(at(200))), ..change_to(Mode::Production) };
    assert_eq!(apply(&switching(), &Change::Set(other), at(11)), Err(Refusal::Busy), "it is no cancel");
}

#[test]
fn a_scheduled_flip_begins_at_its_time_or_a_little_later_and_never_long_after() {
    let run = Change::RunScheduled { drain_timeout: Duration::from_secs(9) };
    let record = scheduled_for(100);
    // Also what a clock that jumps back or forward shows.
    for (second, begins) in [(-999_999, false), (99, false), (100, true), (400, true), (401, false), (999_999, false)] {
        assert_eq!(apply(&record, &run, at(second)).is_ok(), begins, "{second}");
    }
    let flipping = apply(&record, &run, at(110)).unwrap();
    assert_eq!((flipping.revision, flipping.mode, flipping.phase), (9, Mode::Maintenance, Phase::Switching));
    assert_eq!((&flipping.actor, flipping.cause.as_deref()), (&operator("ann"), Some("scheduled")));
    assert_eq!((flipping.deadline, flipping.expires, flipping.scheduled), (Some(at(119)), Some(at(170)), None));
    assert_eq!(flipping.reason.as_deref(), Some("night work"));
    assert_eq!(apply(&production(), &run, at(110)), Err(Refusal::NotDue));
}

#[test]
fn a_scheduled_flip_stays_over_others_and_confirms_a_mode_that_is_there_already() {
    let flipping = apply(&scheduled_for(100), &Change::Set(change_to(Mode::Maintenance)), at(50)).unwrap();
    let run = Change::RunScheduled { drain_timeout: Duration::ZERO };
    assert_eq!(apply(&flipping, &run, at(100)), Err(Refusal::Busy));
    assert!(apply(&flipping, &revert(), at(51)).unwrap().scheduled.is_some());
    let settled = apply(&flipping, &settle(DrainOutcome::Complete), at(52)).unwrap();
    let confirmed = apply(&settled, &run, at(100)).unwrap();
    assert_eq!((confirmed.phase, confirmed.revision), (Phase::Settled, settled.revision + 1));
    assert_eq!((confirmed.scheduled, confirmed.expires), (None, Some(at(160))));
    let given_up = apply(&settled, &Change::GiveUpScheduled { cause: "schedule_missed".to_owned() }, at(999)).unwrap();
    assert_eq!((given_up.mode, given_up.scheduled.is_none()), (Mode::Maintenance, true));
    assert_eq!((given_up.actor, given_up.cause.as_deref()), (Actor::gateway(), Some("schedule_missed")));
}

#[test]
fn a_seen_schema_ends_force_once() {
    let forced = ModeRecord { force: true, ..production() };
    let ended = apply(&forced, &Change::EndForce, at(1)).unwrap();
    assert_eq!((ended.force, ended.revision), (false, 8));
    assert_eq!(apply(&ended, &Change::EndForce, at(2)), Err(Refusal::NotDue));
}

#[test]
fn json_is_flat_and_keeps_what_it_does_not_know() {
    let json = serde_json::to_value(switching()).unwrap();
    assert_eq!(
        (&json["mode"], &json["phase"], &json["from"], &json["from_drain"]),
        (&"maintenance".into(), &"switching".into(), &"production".into(), &"complete".into())
    );
    let mut newer = json;
    newer["colour"] = serde_json::json!({"green": [1, 18_446_744_073_709_551_615_u64]});
    let read: ModeRecord = serde_json::from_value(newer.clone()).unwrap();
    assert_eq!(ModeRecord { unknown: Map::new(), ..read.clone() }, switching());
    assert_eq!(serde_json::to_value(&read).unwrap(), newer);
    let settled = apply(&read, &settle(DrainOutcome::Complete), at(12)).unwrap();
    let later = apply(&settled, &Change::Set(change_to(Mode::Production)), at(13)).unwrap();
    assert_eq!(serde_json::to_value(later).unwrap()["colour"], newer["colour"]);
    for foreign in ["{}", "[]", r#"{"mode":"production","revision":7}"#] {
        assert!(serde_json::from_str::<ModeRecord>(foreign).is_err(), "{foreign}");
    }
}

#[test]
fn records_of_the_form_before_are_read() {
    let settled = r#"{"format":1,"revision":12,"mode":"maintenance","phase":"settled","from":null,"from_expires":null,
        "from_drained":null,"deadline":null,"since":"2026-03-01T22:00:04Z","actor":{"kind":"operator","name":"anna"},
        "reason":null,"cause":null,"expires":null,"drained":DRAINED,"drain_timeout_ms":null,"on_timeout":null,
        "force":false,"journal_head":null}"#;
    for (drained, drain) in [("true", DrainOutcome::Complete), ("false", DrainOutcome::Forced)] {
        let record: ModeRecord = serde_json::from_str(&settled.replace("DRAINED", drained)).unwrap();
        assert!(record.is_consistent(), "{record:?}");
        assert_eq!((record.drain, record.unknown.len()), (Some(drain), 0));
    }
    let switching = settled
        .replace("settled", "switching")
        .replace(r#""from":null,"from_expires":null"#, r#""from":"production","from_expires":"2026-03-01T23:00:00Z""#)
        .replace(r#""from_drained":null,"deadline":null"#, r#""from_drained":false,"deadline":"2026-03-01T22:01:04Z""#)
        .replace("DRAINED", "null")
        .replace(r#""drain_timeout_ms":null,"on_timeout":null"#, r#""drain_timeout_ms":60000,"on_timeout":"revert""#);
    let record: ModeRecord = serde_json::from_str(&switching).unwrap();
    assert!(record.is_consistent(), "{record:?}");
    let reverted = apply(&record, &revert(), at(12)).unwrap();
    assert_eq!((reverted.drain, reverted.unknown.len()), (Some(DrainOutcome::Forced), 0));
    assert_eq!(reverted.expires, Some("2026-03-01T23:00:00Z".parse().unwrap()));
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
        proptest::option::weighted(
            0.2,
            prop_oneof![Just(When::Never), (0..1_000_000i64).prop_map(|second| When::At(at(second)))],
        ),
        any::<bool>(),
    )
        .prop_map(|(mode, reason, if_revision, drain_timeout, on_timeout, expires_in, at, force)| ModeChange {
            at,
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
        2 => prop::sample::select(vec![DrainOutcome::Complete, DrainOutcome::Assumed, DrainOutcome::Forced]).prop_map(settle),
        1 => Just(revert()),
        1 => any::<u64>().prop_map(|seconds| Change::Expire { drain_timeout: Duration::from_secs(seconds) }),
        1 => Just(Change::EndForce),
        1 => Just(Change::RunScheduled { drain_timeout: Duration::from_secs(5) }),
        1 => Just(Change::GiveUpScheduled { cause: "schedule_failed".to_owned() }),
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
