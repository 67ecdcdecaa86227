//! Counts the end of a change, a reload and a probe, each by its outcome. The counters themselves are in `telemetry`.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::control_handle::{ChangeError, Flipped, ReloadError, Reloaded};
use crate::policy::mode::SchemaKnowledge;
use crate::telemetry::ControlStats;

/// Counts a change that ended; one that found its mode already in force is no flip.
pub(super) fn count_change(stats: &ControlStats, ended: &Result<Flipped, ChangeError>) {
    match ended {
        Ok(flipped) if flipped.report.changed => stats.count_change("settled"),
        Ok(_) => {}
        Err(error) => stats.count_change(error.reason()),
    }
}

pub(super) fn count_reload(stats: &ControlStats, ended: &Result<Reloaded, ReloadError>) {
    stats.last_reload_failed.store(ended.is_err(), Ordering::Relaxed);
    if ended.is_ok() {
        stats.last_reload_time.store(Timestamp::now().as_second(), Ordering::Relaxed);
    }
    add_one(if ended.is_ok() { &stats.reloads_ok } else { &stats.reloads_failed });
}

pub(super) fn count_probe(stats: &ControlStats, knowledge: SchemaKnowledge) {
    add_one(match knowledge {
        SchemaKnowledge::Defined => &stats.probes_defined,
        SchemaKnowledge::Undefined => &stats.probes_undefined,
        SchemaKnowledge::Unknown => &stats.probes_unknown,
    });
}

pub(super) fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
