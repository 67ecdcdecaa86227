//! The parts of the admin port.

use std::sync::Arc;
use std::time::Duration;

use super::workers::SharedParts;
use super::{alive, fleet, history};
use crate::admin::{AdminParts, JournalReader};
use crate::config::Settings;
use crate::control::FleetLink;
use crate::control::fleet::rehearsal;
use crate::liveness::Liveness;

/// The time that a flip may take beyond its deadline: its saves, and the end of requests that are cut.
const SAVES: Duration = Duration::from_secs(30);

pub(super) fn admin_parts(settings: &Settings, shared: SharedParts, liveness: Liveness) -> AdminParts {
    let fleet = shared.fleet.clone().map(|link| {
        tokio::task::spawn_local(alive::tell(link.clone(), Arc::clone(&shared.gate)));
        tokio::task::spawn_local(rehearsal::respond(link.clone(), Arc::clone(&shared.gate), settings.orphan_grace));
        fleet::observe(link)
    });
    AdminParts {
        liveness,
        gate: shared.gate,
        control_handle: shared.control_handle,
        access: Arc::new(shared.access.for_another_port()),
        reloads: shared.reloads,
        journal: journal_reader(settings, shared.fleet.as_ref()),
        fleet,
        metrics: shared.metrics,
        metrics_open: settings.admin.metrics_open,
        allowed_hosts: settings.admin.allowed_hosts.clone(),
        drain_timeout: settings.drain_timeout,
        flip_slack: settings.orphan_grace + settings.upstream.set_mode_timeout + SAVES,
        tls: shared.admin_tls,
        stopping: shared.stopping,
    }
}

fn journal_reader(settings: &Settings, fleet: Option<&FleetLink>) -> Arc<JournalReader> {
    let (dir, store) = (settings.state_dir.clone(), fleet.map(|fleet| fleet.store.clone()));
    Arc::new(move |limit| match &store {
        None => history::read(&dir, limit),
        Some(store) => history::read_of_fleet(&dir, store, limit),
    })
}
