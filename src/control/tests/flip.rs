//! Every way that a flip can go.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::support::*;
use crate::control::store::journal::{self, JournalKind};
use crate::control_handle::{ChangeError, ReloadError, ReloadWhen};
use crate::gate::Refused;
use crate::policy::mode::{ActorKind, DrainOutcome, End, Mode, ModeChange, OnTimeout, Phase};

const SOON: Duration = Duration::from_millis(30);

fn timed(on_timeout: OnTimeout) -> ModeChange {
    ModeChange { drain_timeout: Some(SOON), on_timeout: Some(on_timeout), ..change_to(Mode::Maintenance) }
}

#[tokio::test]
async fn an_idle_gateway_flips_at_once_and_says_so() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    assert_eq!(line.record().mode, Mode::Production);
    let flipped = line.set(Mode::Maintenance).await.unwrap();
    assert!(flipped.report.changed && flipped.report.waited_for.is_empty());
    assert_eq!(
        (flipped.record.mode, flipped.record.phase, flipped.record.drain),
        (Mode::Maintenance, Phase::Settled, Some(DrainOutcome::Complete))
    );
    assert_eq!(line.record(), flipped.record);
    assert!(line.enter(WRITE_SCHEMA).is_ok());
    assert!(matches!(line.enter(CREATE_PROFILE), Err(Refused::Mode(_))));
    let again = line.set(Mode::Maintenance).await.unwrap();
    assert_eq!((again.record.revision, again.report.changed), (flipped.record.revision, false));
    let kinds: Vec<JournalKind> =
        journal::read(&folder.path().join("journal.jsonl"), 9).unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [JournalKind::Settled, JournalKind::Switching, JournalKind::Started]);
}

#[tokio::test]
async fn a_drain_waits_for_what_the_old_mode_admitted_and_for_nothing_else() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let (running, lasting) = (line.enter(CREATE_PROFILE).unwrap(), line.enter(STATUS).unwrap());
    let ask = line.ask(change_to(Mode::Maintenance));
    line.until_phase(Phase::Switching).await;
    assert!(line.enter(CREATE_PROFILE).is_err() && line.enter(WRITE_SCHEMA).is_err() && line.enter(STATUS).is_ok());
    tokio::time::sleep(SOON).await;
    assert!(!ask.is_finished());
    drop(running);
    let flipped = within(ask).await.unwrap().unwrap();
    assert_eq!(flipped.report.waited_for[0].operation, "create-profile");
    assert!(flipped.report.drain_ms >= 20, "{}", flipped.report.drain_ms);
    drop(lasting);
}

#[tokio::test]
async fn at_the_deadline_the_old_mode_is_restored_by_default() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    let ended = within(line.control_handle.set_mode(timed(OnTimeout::Revert))).await;
    let Err(ChangeError::Deadline { record, report }) = ended else { panic!("{ended:?}") };
    assert_eq!(
        (record.mode, record.phase, record.cause.as_deref()),
        (Mode::Production, Phase::Settled, Some("drain_timeout"))
    );
    assert_eq!(report.still_running[0].operation, "create-profile");
    assert!(line.enter(CREATE_PROFILE).is_ok());
    drop(running);
}

#[tokio::test]
async fn a_commit_at_the_deadline_says_that_it_was_not_drained() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let _running = line.enter(CREATE_PROFILE).unwrap();
    let flipped = within(line.control_handle.set_mode(timed(OnTimeout::Commit))).await.unwrap();
    assert_eq!((flipped.record.mode, flipped.record.drain), (Mode::Maintenance, Some(DrainOutcome::Forced)));
    assert_eq!(flipped.report.still_running.len(), 1);
}

#[tokio::test]
async fn a_cut_aborts_what_still_runs_and_gives_ucs_the_grace() {
    let folder = Folder::new();
    let line = Line::begin(crate::control::ControlSettings { orphan_grace: SOON * 2, ..settings(&folder) }).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    let mut cuts = line.gate.watch_cuts();
    let ask = line.ask(timed(OnTimeout::Cut));
    within(cuts.wait_for(|cut| *cut == Some(Mode::Production))).await.unwrap();
    let aborted = std::time::Instant::now();
    running.abandon();
    let flipped = within(ask).await.unwrap().unwrap();
    assert!(aborted.elapsed() >= SOON * 2);
    assert_eq!((flipped.record.mode, flipped.record.drain), (Mode::Maintenance, Some(DrainOutcome::Assumed)));
    assert_eq!(flipped.report.abandoned[0].operation, "create-profile");
    within(cuts.wait_for(|cut| cut.is_none())).await.unwrap();
}

#[tokio::test]
async fn what_was_abandoned_shortly_before_a_flip_gets_its_grace_and_is_named() {
    let folder = Folder::new();
    let grace = Duration::from_millis(100);
    let line = Line::begin(crate::control::ControlSettings { orphan_grace: grace, ..settings(&folder) }).await;
    tokio::time::sleep(grace).await;
    let began = std::time::Instant::now();
    line.enter(CREATE_PROFILE).unwrap().abandon();
    let flipped = line.set(Mode::Maintenance).await.unwrap();
    assert!(began.elapsed() >= grace - Duration::from_millis(2));
    assert_eq!(flipped.report.abandoned[0].count, 1);
}

#[tokio::test]
async fn what_a_replaced_table_admitted_and_was_abandoned_is_named_and_gets_its_grace() {
    let folder = Folder::new();
    let line = Line::begin(crate::control::ControlSettings { orphan_grace: SOON, ..settings(&folder) }).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    line.enter(CREATE_PROFILE).unwrap().abandon();
    line.gate.replace_table(table());
    running.abandon();
    assert_eq!(line.gate.in_flight_of_old_tables(), 0, "nothing is left of the old table but what was given up");
    let ago = [Mode::Production, Mode::Maintenance].map(|mode| line.gate.last_abandoned(mode));
    assert!(ago.iter().all(Option::is_some), "the new table may judge it otherwise: {ago:?}");
    let flipped = line.set(Mode::Maintenance).await.unwrap();
    let named = flipped.report.abandoned;
    assert_eq!((named.len(), &*named[0].operation, named[0].count), (1, "create-profile", 2));
}

#[tokio::test]
async fn a_table_that_comes_lately_gives_its_grace_to_what_was_abandoned_before() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    line.enter(CREATE_PROFILE).unwrap().abandon();
    assert!(line.gate.last_abandoned(Mode::Maintenance).is_none());
    line.gate.replace_table(table());
    assert!(line.gate.last_abandoned(Mode::Maintenance).is_some());
}

#[tokio::test]
async fn a_request_for_the_old_mode_cancels_and_one_for_the_target_joins() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let _running = line.enter(CREATE_PROFILE).unwrap();
    let first = line.ask(change_to(Mode::Maintenance));
    let switching = line.until_phase(Phase::Switching).await;
    let joined = line.ask(change_to(Mode::Maintenance));
    assert!(matches!(within(line.control_handle.reload(ReloadWhen::Now)).await, Err(ReloadError::Busy)));
    let stale = ModeChange { if_revision: Some(1), ..change_to(Mode::Production) };
    assert!(matches!(within(line.control_handle.set_mode(stale)).await, Err(ChangeError::Stale(_))));
    let back = line.set(Mode::Production).await.unwrap();
    assert_eq!((back.record.mode, back.record.revision), (Mode::Production, switching.revision + 1));
    for asked in [first, joined] {
        let ended = within(asked).await.unwrap();
        assert!(matches!(&ended, Err(ChangeError::Cancelled(record)) if *record == back.record), "{ended:?}");
    }
}

#[tokio::test]
async fn a_stale_request_changes_nothing() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let stale = ModeChange { if_revision: Some(7), ..change_to(Mode::Maintenance) };
    assert!(
        matches!(within(line.control_handle.set_mode(stale)).await, Err(ChangeError::Stale(record)) if record.revision == 1)
    );
    assert_eq!(line.record().revision, 1);
}

#[tokio::test]
async fn a_flip_goes_on_when_whoever_asked_went_away() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    let ask = line.ask(change_to(Mode::Maintenance));
    line.until_phase(Phase::Switching).await;
    ask.abort();
    drop(running);
    line.until_mode(Mode::Maintenance).await;
}

#[tokio::test]
async fn a_mode_expires_into_the_other() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let change = ModeChange { expires_in: Some(End::After(SOON)), ..change_to(Mode::Maintenance) };
    within(line.control_handle.set_mode(change)).await.unwrap();
    let record = line.until_mode(Mode::Production).await;
    assert_eq!((record.actor.kind, record.expires), (ActorKind::Expiry, None));
}

#[tokio::test]
async fn a_flip_that_cannot_begin_durably_does_not_begin() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let obstacle = folder.path().join("mode.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let ended = line.set(Mode::Maintenance).await;
    assert!(
        matches!(&ended, Err(ChangeError::NotDurable { detail, .. }) if detail.contains("mode.json.new")),
        "{ended:?}"
    );
    assert_eq!((line.record().revision, line.record().mode), (1, Mode::Production));
    std::fs::remove_dir(&obstacle).unwrap();
    assert!(line.set(Mode::Maintenance).await.is_ok());
}

#[tokio::test]
async fn a_flip_that_cannot_settle_durably_is_taken_back_and_saving_is_retried() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    let ask = line.ask(change_to(Mode::Maintenance));
    line.until_phase(Phase::Switching).await;
    let obstacle = folder.path().join("mode.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    drop(running);
    let ended = within(ask).await.unwrap();
    let Err(ChangeError::NotDurable { record, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!((record.mode, record.phase), (Mode::Production, Phase::Settled));
    assert!(line.gate.published().alarm.as_ref().unwrap().contains("not saved"));
    assert!(line.enter(CREATE_PROFILE).is_ok());
    std::fs::remove_dir(&obstacle).unwrap();
    line.until(|published| published.alarm.is_none()).await;
    line.crash().await;
    let line = Line::simple(&folder).await;
    assert_eq!((line.record().mode, line.record().revision), (Mode::Production, record.revision));
    assert_eq!(line.gate.published().alarm, None);
}

#[tokio::test]
async fn a_table_is_replaced_once_and_its_faults_leave_the_old_one() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let reloaded = within(line.control_handle.reload(ReloadWhen::Now)).await.unwrap();
    assert_eq!((reloaded.changed, reloaded.generation, reloaded.routes, reloaded.still_running), (true, 2, 3, 0));
    assert!(!within(line.control_handle.reload(ReloadWhen::Now)).await.unwrap().changed);
    line.stop().await;
    let faulty = crate::control::ControlSettings {
        load_routes: std::sync::Arc::new(|| Err("line 3: no such class".to_owned())),
        ..settings(&folder)
    };
    let line = Line::begin(faulty).await;
    let ended = within(line.control_handle.reload(ReloadWhen::Now)).await;
    assert!(matches!(ended, Err(ReloadError::Faults(faults)) if faults.contains("line 3")));
    assert_eq!(line.gate.table().generation(), 1);
}
