//! The counters of control. `control` writes them, and the exposition reads them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// How a change can end: `settled`, or the reason of its error.
pub(crate) const CHANGE_OUTCOMES: [&str; 11] = [
    "settled",
    "stale",
    "switching",
    "no_profile_schema",
    "cancelled",
    "upstream_refused",
    "drain_timeout",
    "member_missing",
    "store_unavailable",
    "not_durable",
    "shutting_down",
];

/// The counters; all start at zero with the process.
#[derive(Debug, Default)]
pub struct ControlStats {
    /// Changes that ended, by [`CHANGE_OUTCOMES`].
    changes: [AtomicU64; CHANGE_OUTCOMES.len()],
    /// Saves of the record that failed, retries included.
    pub(crate) save_errors: AtomicU64,
    /// Reloads that put a table in force or found the same content.
    pub(crate) reloads_ok: AtomicU64,
    /// Reloads that left the old table in force.
    pub(crate) reloads_failed: AtomicU64,
    /// Whether the last reload failed; false before the first one.
    pub(crate) last_reload_failed: AtomicBool,
    /// When the last successful reload was, in seconds since 1970; 0 before the first one.
    pub(crate) last_reload_time: AtomicI64,
    /// Schema probes that found a schema.
    pub(crate) probes_defined: AtomicU64,
    /// Schema probes that found none.
    pub(crate) probes_undefined: AtomicU64,
    /// Schema probes without a conclusion.
    pub(crate) probes_unknown: AtomicU64,
    /// Polls of UCS's status that failed.
    pub(crate) upstream_poll_errors: AtomicU64,
    /// Times that UCS was set back to the gateway's mode.
    pub(crate) upstream_set_back: AtomicU64,
}

impl ControlStats {
    /// Every outcome of a change, with its count.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CHANGE_OUTCOMES.into_iter().zip(self.changes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(crate) fn count_change(&self, outcome: &str) {
        if let Some(at) = CHANGE_OUTCOMES.iter().position(|other| *other == outcome) {
            self.changes[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}
