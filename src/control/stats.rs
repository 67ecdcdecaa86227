//! What control counts, for metrics. Written by control, read by anyone.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::control_handle::{ChangeError, Flipped, ReloadError, Reloaded};
use crate::policy::mode::SchemaKnowledge;

/// All start at zero with the process.
#[derive(Debug, Default)]
pub struct ControlStats {
    /// Flips that settled, drained or not.
    pub flips_settled: AtomicU64,
    /// Flips taken back by somebody.
    pub flips_cancelled: AtomicU64,
    /// Flips that reverted because the drain was not over at its deadline.
    pub flips_deadline: AtomicU64,
    /// Flips that reverted because UCS did not take the mode.
    pub flips_upstream: AtomicU64,
    /// Changes that failed because the record could not be saved.
    pub flips_not_durable: AtomicU64,
    /// Changes refused before they began: stale, busy, no schema, shutting down.
    pub changes_refused: AtomicU64,
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
    pub(super) fn change(&self, ended: &Result<Flipped, ChangeError>) {
        let count = match ended {
            Ok(flipped) if flipped.report.changed => &self.flips_settled,
            Ok(_) => return,
            Err(ChangeError::Cancelled(_)) => &self.flips_cancelled,
            Err(ChangeError::Deadline { .. }) => &self.flips_deadline,
            Err(ChangeError::Upstream { .. }) => &self.flips_upstream,
            Err(ChangeError::NotDurable { .. }) => &self.flips_not_durable,
            Err(
                ChangeError::Stale(_) | ChangeError::Busy(_) | ChangeError::NoSchema(_) | ChangeError::ShuttingDown,
            ) => &self.changes_refused,
        };
        add_one(count);
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
