//! The profile schema and UCS's own mode, against a scripted UCS.
#![allow(clippy::unwrap_used)]

use super::support::*;
use crate::control::ucs::credentials::UpstreamCredentials;
use crate::control::{ControlSettings, UpstreamModeUse};
use crate::control_handle::ChangeError;
use crate::gate::Refused;
use crate::policy::mode::{ActorKind, Mode, ModeChange, SchemaKnowledge};

fn probing(folder: &Folder, ucs: &Ucs) -> ControlSettings {
    ControlSettings {
        upstream: client(ucs.port),
        schema_probe_path: Some("/metadata/profiles".to_owned()),
        ..settings(folder)
    }
}

fn following(folder: &Folder, ucs: &Ucs) -> ControlSettings {
    ControlSettings { upstream: client(ucs.port), upstream_mode: UpstreamModeUse::Auto, ..settings(folder) }
}

#[tokio::test]
async fn without_a_schema_the_gateway_goes_to_maintenance_and_stays_there_until_it_is_repaired() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(None).await);
    let line = Line::begin(probing(&folder, &ucs)).await;
    line.until(|published| published.schema == SchemaKnowledge::Defined).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    // The path has returned 200 before, so 404 now means that the schema is gone.
    ucs.with(|script| script.schema = (404, ""));
    line.until(|published| published.schema == SchemaKnowledge::Undefined).await;
    assert!(line.enter(CREATE_PROFILE).is_err());
    drop(running);
    let record = line.until_mode(Mode::Maintenance).await;
    assert_eq!((record.actor.kind, record.cause.as_deref()), (ActorKind::Automatic, Some("no_profile_schema")));
    assert!(matches!(line.set(Mode::Production).await, Err(ChangeError::NoSchema(_))));
    ucs.with(|script| script.schema = (200, "[{}]"));
    line.set(Mode::Production).await.unwrap();
}

#[tokio::test]
async fn force_opens_without_a_schema_until_one_is_seen() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(None).await);
    ucs.with(|script| script.schema = (200, "[]"));
    let line = Line::begin(probing(&folder, &ucs)).await;
    line.until_mode(Mode::Maintenance).await;
    let forced = ModeChange { force: true, ..change_to(Mode::Production) };
    let flipped = within(line.control_handle.set_mode(forced)).await.unwrap();
    assert!(flipped.record.force && line.enter(CREATE_PROFILE).is_ok());
    ucs.with(|script| script.schema = (200, "[{}]"));
    let published = line.until(|published| !published.record.as_ref().unwrap().force).await;
    assert_eq!(published.record.as_ref().unwrap().mode, Mode::Production);
    ucs.with(|script| script.schema = (200, "[]"));
    line.until_mode(Mode::Maintenance).await;
}

#[tokio::test]
async fn a_404_that_nothing_explains_flips_nothing_until_create_profile_is_refused_too() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(None).await);
    ucs.with(|script| script.schema = (404, ""));
    let slow = ControlSettings { schema_probe_interval: PATIENCE * 2, ..probing(&folder, &ucs) };
    let line = Line::begin(slow).await;
    line.control_handle.hint_schema(false);
    assert!(line.enter(CREATE_PROFILE).is_ok());
    assert_eq!(line.gate.published().schema, SchemaKnowledge::Unknown);
    line.control_handle.hint_schema(true);
    line.until_mode(Mode::Maintenance).await;
}

#[tokio::test]
async fn what_the_path_answered_is_remembered_over_a_restart() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(None).await);
    let line = Line::begin(probing(&folder, &ucs)).await;
    line.until(|published| published.schema == SchemaKnowledge::Defined).await;
    line.stop().await;
    ucs.with(|script| script.schema = (404, ""));
    let line = Line::begin(probing(&folder, &ucs)).await;
    line.until_mode(Mode::Maintenance).await;
}

#[tokio::test]
async fn while_undefined_requests_that_need_a_schema_get_their_own_refusal() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(None).await);
    let line = Line::begin(probing(&folder, &ucs)).await;
    let _running = line.enter(CREATE_PROFILE).unwrap();
    ucs.with(|script| script.schema = (200, "[]"));
    let mut watch = line.gate.watch();
    within(watch.wait_for(|published| published.schema == SchemaKnowledge::Undefined)).await.unwrap();
    // Either still in production (404) or on the way to maintenance (503), never admitted.
    assert!(matches!(line.enter(CREATE_PROFILE), Err(Refused::NoSchema(_) | Refused::Mode(_))));
}

#[tokio::test]
async fn a_flip_is_forwarded_with_the_credentials_and_the_first_mode_is_the_one_of_ucs() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Maintenance)).await);
    let mut settings = following(&folder, &ucs);
    let login = UpstreamCredentials { user: "gw".to_owned(), password: "pw".to_owned() };
    settings.upstream.credentials = Some(std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(login)));
    let line = Line::begin(settings).await;
    assert_eq!(line.record().mode, Mode::Maintenance);
    line.set(Mode::Production).await.unwrap();
    ucs.with(|script| {
        assert_eq!(
            (script.mode, script.requested.as_slice()),
            (Some(Mode::Production), &["{\"mode\":\"production\"}".to_owned()][..])
        );
        assert_eq!(script.authorization.as_deref(), Some("Basic Z3c6cHc="));
    });
}

#[tokio::test]
async fn production_that_ucs_refuses_is_taken_back() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Maintenance)).await);
    ucs.with(|script| script.set_mode_status = 403);
    let line = Line::begin(following(&folder, &ucs)).await;
    let ended = line.set(Mode::Production).await;
    let Err(ChangeError::Upstream { record, detail, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!((record.mode, record.cause.as_deref()), (Mode::Maintenance, Some("upstream_refused")));
    assert!(detail.contains("403"));
    assert!(line.enter(WRITE_SCHEMA).is_ok());
}

#[tokio::test]
async fn maintenance_settles_whatever_ucs_says_with_an_alarm_until_it_is_there() {
    for status in [403, 404, 405, 501, 500] {
        let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
        ucs.with(|script| script.set_mode_status = status);
        let line = Line::begin(following(&folder, &ucs)).await;
        assert_eq!(line.set(Mode::Maintenance).await.unwrap().record.mode, Mode::Maintenance);
        assert!(line.gate.published().alarm.as_ref().unwrap().contains("not in maintenance"), "{status}");
        ucs.with(|script| script.mode = Some(Mode::Maintenance));
        line.until(|published| published.alarm.is_none()).await;
        line.stop().await;
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_decided_by_the_status() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    ucs.with(|script| (script.set_mode_status, script.obeys_anyway) = (500, true));
    let line = Line::begin(following(&folder, &ucs)).await;
    assert_eq!(line.set(Mode::Maintenance).await.unwrap().record.mode, Mode::Maintenance);
    ucs.with(|script| script.obeys_anyway = false);
    assert!(matches!(line.set(Mode::Production).await, Err(ChangeError::Upstream { .. })));
    assert_eq!(line.record().mode, Mode::Maintenance);
}

#[tokio::test]
async fn where_ucs_lacks_both_operations_the_gateway_is_alone() {
    for status in [404, 405, 501] {
        let (folder, ucs) = (Folder::new(), Ucs::begin(None).await);
        ucs.with(|script| script.set_mode_status = status);
        let line = Line::begin(following(&folder, &ucs)).await;
        for mode in [Mode::Maintenance, Mode::Production] {
            assert_eq!(line.set(mode).await.unwrap().record.mode, mode);
        }
        assert_eq!(line.gate.published().alarm, None);
        line.stop().await;
    }
}

#[tokio::test]
async fn a_settled_save_that_fails_sets_ucs_back_after_reopening() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    let line = Line::begin(following(&folder, &ucs)).await;
    let running = line.enter(CREATE_PROFILE).unwrap();
    let ask = line.ask(change_to(Mode::Maintenance));
    line.until_phase(crate::policy::mode::Phase::Switching).await;
    std::fs::create_dir(folder.path().join("mode.json.new")).unwrap();
    drop(running);
    assert!(matches!(within(ask).await.unwrap(), Err(ChangeError::NotDurable { .. })));
    assert!(line.enter(CREATE_PROFILE).is_ok());
    until_ucs(&ucs, |script| (script.mode, script.requested.len()) == (Some(Mode::Production), 2)).await;
}

#[tokio::test]
async fn a_ucs_that_closes_itself_is_followed() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    let line = Line::begin(following(&folder, &ucs)).await;
    until_ucs(&ucs, |script| script.status_reads > 2).await;
    ucs.with(|script| script.mode = Some(Mode::Maintenance));
    let record = line.until_mode(Mode::Maintenance).await;
    assert_eq!(record.actor.kind, ActorKind::Upstream);
    ucs.with(|script| assert!(script.requested.is_empty()));
}

#[tokio::test]
async fn a_restarted_or_opened_ucs_is_set_back() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    let line = Line::begin(following(&folder, &ucs)).await;
    until_ucs(&ucs, |script| script.status_reads > 2).await;
    ucs.with(|script| (script.mode, script.started) = (Some(Mode::Maintenance), "tuesday"));
    until_ucs(&ucs, |script| script.mode == Some(Mode::Production)).await;
    assert_eq!(line.record().mode, Mode::Production);
    line.set(Mode::Maintenance).await.unwrap();
    ucs.with(|script| script.mode = Some(Mode::Production));
    until_ucs(&ucs, |script| script.mode == Some(Mode::Maintenance)).await;
    assert_eq!(line.record().mode, Mode::Maintenance);
}

#[tokio::test]
async fn a_flip_that_a_crash_left_sets_ucs_back_too() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    let line = Line::begin(following(&folder, &ucs)).await;
    let _running = line.enter(CREATE_PROFILE).unwrap();
    let _ask = line.ask(change_to(Mode::Maintenance));
    line.until_phase(crate::policy::mode::Phase::Switching).await;
    line.crash().await;
    ucs.with(|script| script.mode = Some(Mode::Maintenance));
    let line = Line::begin(following(&folder, &ucs)).await;
    line.until_mode(Mode::Production).await;
    until_ucs(&ucs, |script| script.mode == Some(Mode::Production)).await;
}

#[tokio::test]
async fn a_ucs_whose_status_tells_nothing_just_now_is_not_passed_over() {
    let (folder, ucs) = (Folder::new(), Ucs::begin(Some(Mode::Production)).await);
    let line = Line::begin(following(&folder, &ucs)).await;
    until_ucs(&ucs, |script| script.status_reads > 2).await;
    ucs.with(|script| script.status_is_busy = true);
    line.set(Mode::Maintenance).await.unwrap();
    ucs.with(|script| assert_eq!((script.requested.len(), script.mode), (1, Some(Mode::Maintenance))));
    assert!(line.gate.published().alarm.is_some(), "it is not verified");
    ucs.with(|script| script.status_is_busy = false);
    line.until(|published| published.alarm.is_none()).await;
}
