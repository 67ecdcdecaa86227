//! Every state that a start can find.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use super::support::*;
use crate::control::{ControlSettings, InitialMode, StartError, UpstreamModeUse};
use crate::control_handle::{ChangeError, ControlHandle};
use crate::gate::Gate;
use crate::policy::mode::{Mode, Phase};

const GRACE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn the_first_start_takes_the_initial_mode_and_later_ones_the_record() {
    let folder = Folder::new();
    let first = ControlSettings { initial_mode: InitialMode::Fixed(Mode::Maintenance), ..settings(&folder) };
    let line = Line::begin(first).await;
    assert_eq!((line.record().mode, line.record().cause.as_deref()), (Mode::Maintenance, Some("first_start")));
    line.stop().await;
    let line = Line::simple(&folder).await;
    assert_eq!((line.record().mode, line.record().revision), (Mode::Maintenance, 1));
}

#[tokio::test]
async fn a_flip_that_a_crash_left_is_taken_back_after_the_grace() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    let _running = line.enter(CREATE_PROFILE).unwrap();
    let _ask = line.ask(change_to(Mode::Maintenance));
    line.until_phase(Phase::Switching).await;
    line.crash().await;
    let began = Instant::now();
    let line = Line::begin(ControlSettings { orphan_grace: GRACE, ..settings(&folder) }).await;
    assert_eq!(line.record().phase, Phase::Switching);
    assert!(line.enter(CREATE_PROFILE).is_err() && line.enter(WRITE_SCHEMA).is_err() && line.enter(STATUS).is_ok());
    let record = line.until_mode(Mode::Production).await;
    assert!(began.elapsed() >= GRACE);
    // The revision after the flip's may have been reported before the crash, so it is skipped.
    assert_eq!((record.cause.as_deref(), record.revision), (Some("recovered"), 11));
}

#[tokio::test]
async fn an_orderly_stop_takes_a_flip_back_although_ucs_hangs() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    ucs.with(|script| script.hangs = true);
    let following = |folder: &Folder| ControlSettings {
        upstream: client(ucs.port),
        upstream_mode: UpstreamModeUse::Auto,
        set_mode_timeout: PATIENCE,
        ..settings(folder)
    };
    let line = Line::begin(following(&folder)).await;
    let ask = line.ask(change_to(Mode::Maintenance));
    until_ucs(&ucs, |script| !script.requested.is_empty()).await;
    line.stop().await;
    assert!(matches!(within(ask).await.unwrap(), Err(ChangeError::ShuttingDown)));
    let line = Line::begin(ControlSettings { orphan_grace: PATIENCE, ..following(&folder) }).await;
    let record = line.record();
    assert_eq!(
        (record.phase, record.mode, record.cause.as_deref()),
        (Phase::Settled, Mode::Production, Some("shutting_down"))
    );
}

#[tokio::test]
async fn after_a_crash_a_drain_waits_for_what_the_killed_gateway_left_at_ucs() {
    let folder = Folder::new();
    Line::simple(&folder).await.crash().await;
    let began = Instant::now();
    let line = Line::begin(ControlSettings { orphan_grace: GRACE, ..settings(&folder) }).await;
    assert!(line.enter(CREATE_PROFILE).is_ok());
    line.set(Mode::Maintenance).await.unwrap();
    assert!(began.elapsed() >= GRACE);
    line.stop().await;
    let began = Instant::now();
    let line = Line::begin(ControlSettings { orphan_grace: PATIENCE, ..settings(&folder) }).await;
    line.set(Mode::Production).await.unwrap();
    assert!(began.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_foreign_record_means_maintenance_and_an_alarm_until_somebody_acts() {
    let folder = Folder::new();
    Line::simple(&folder).await.stop().await;
    std::fs::write(folder.path().join("mode.json"), "{\"mode\":\"prod").unwrap();
    let line = Line::simple(&folder).await;
    let published = line.gate.published();
    assert!(published.alarm.as_ref().unwrap().contains("mode.json.aside-"));
    assert_eq!((line.record().mode, line.record().revision), (Mode::Maintenance, 2));
    line.set(Mode::Production).await.unwrap();
    line.until(|published| published.alarm.is_none()).await;
    line.stop().await;
    assert_eq!(Line::simple(&folder).await.gate.published().alarm, None);
}

#[tokio::test]
async fn a_cut_off_journal_is_an_alarm_once_and_the_mode_stays() {
    let folder = Folder::new();
    let line = Line::simple(&folder).await;
    line.set(Mode::Maintenance).await.unwrap();
    line.stop().await;
    std::fs::write(folder.path().join("journal.jsonl"), "").unwrap();
    let line = Line::simple(&folder).await;
    assert!(line.gate.published().alarm.as_ref().unwrap().contains("truncated"));
    assert_eq!((line.record().mode, line.record().revision), (Mode::Maintenance, 4));
    line.stop().await;
    assert_eq!(Line::simple(&folder).await.gate.published().alarm, None);
}

#[tokio::test]
async fn a_directory_that_cannot_keep_the_mode_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("mode.json.new")).unwrap();
    let (_desk, inbox) = ControlHandle::new();
    let ended = crate::control::start(Gate::new(1, table()), inbox, settings(&folder)).await;
    assert!(matches!(ended, Err(StartError::FirstSave(_))));
}
