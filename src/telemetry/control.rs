//! The counters of control. `control` writes them, and the exposition reads them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

/// The counters; all start at zero with the process.
#[derive(Debug, Default)]
pub struct ControlStats {
    /// Flips that settled, drained or not.
    pub flips_settled: AtomicU64,
    /// Flips cancelled by a later change.
    pub flips_cancelled: AtomicU64,
    /// Flips that reverted because the drain timed out.
    pub flips_deadline: AtomicU64,
    /// Flips that reverted because UCS did not change its mode.
    pub flips_upstream: AtomicU64,
    /// Changes that failed because the record could not be saved.
    pub flips_not_durable: AtomicU64,
    /// Changes rejected before they began: stale, busy, no schema, shutting down.
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
    /// Schema probes without a conclusion.
    pub probes_unknown: AtomicU64,
    /// Polls of UCS's status that failed.
    pub upstream_poll_errors: AtomicU64,
    /// Times that UCS was set back to the gateway's mode.
    pub upstream_set_back: AtomicU64,
}
