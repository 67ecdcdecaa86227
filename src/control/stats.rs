//! What control counts, for metrics. Written by control, read by anyone.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::control_handle::{ChangeError, Flipped, ReloadError, Reloaded};
use crate::policy::mode::SchemaKnowledge;

/// How a change can end: `settled`, or the reason of its [`ChangeError`].
pub const CHANGE_OUTCOMES: [&str; 9] = [
    "settled",
    "stale",
    "switching",
    "no_profile_schema",
    "cancelled",
    "upstream_refused",
    "drain_timeout",
    "not_durable",
    "shutting_down",
];

/// All start at zero with the process.
#[derive(Debug, Default)]
pub struct ControlStats {
    /// Changes that ended, by [`CHANGE_OUTCOMES`].
    changes: [AtomicU64; CHANGE_OUTCOMES.len()],
    /// Saves of the record that failed, retries included.
    pub save_errors: AtomicU64,
    /// Reloads that put a table in force or found the same content.
    pub reloads_ok: AtomicU64,
    /// Reloads that left the old table in force.
    pub reloads_failed: AtomicU64,
    /// Whether the last reload failed; false before the first one.
    pub last_reload_failed: AtomicBool,
    /// When the last successful reload was, in seconds since 1970; 0 before the first one.
    pub last_reload_time: AtomicI64,
    /// Schema probes that found a schema.
    pub probes_defined: AtomicU64,
    /// Schema probes that found none.
    pub probes_undefined: AtomicU64,
    /// Schema probes that told nothing.
    pub probes_unknown: AtomicU64,
    /// Polls of UCS's status that failed.
    pub upstream_poll_errors: AtomicU64,
    /// How often UCS was set back to the gateway's mode.
    pub upstream_set_back: AtomicU64,
}

impl ControlStats {
    /// Every outcome of a change, with its count.
    pub fn changes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CHANGE_OUTCOMES.into_iter().zip(self.changes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Counts a change that ended; one that found its mode already in force is no flip.
    pub(super) fn change(&self, ended: &Result<Flipped, ChangeError>) {
        let outcome = match ended {
            Ok(flipped) if flipped.report.changed => "settled",
            Ok(_) => return,
            Err(error) => error.reason(),
        };
        if let Some(at) = CHANGE_OUTCOMES.iter().position(|other| *other == outcome) {
            add_one(&self.changes[at]);
        }
    }

    pub(super) fn reload(&self, ended: &Result<Reloaded, ReloadError>) {
        self.last_reload_failed.store(ended.is_err(), Ordering::Relaxed);
        if ended.is_ok() {
            self.last_reload_time.store(Timestamp::now().as_second(), Ordering::Relaxed);
        }
        add_one(if ended.is_ok() { &self.reloads_ok } else { &self.reloads_failed });
    }

    pub(super) fn probe(&self, knowledge: SchemaKnowledge) {
        add_one(match knowledge {
            SchemaKnowledge::Defined => &self.probes_defined,
            SchemaKnowledge::Undefined => &self.probes_undefined,
            SchemaKnowledge::Unknown => &self.probes_unknown,
        });
    }
}

pub(super) fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
