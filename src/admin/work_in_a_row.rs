//! Lets other threads have the processor while the admin port is busy. It decides nothing about connections or calls.

use std::sync::atomic::{AtomicU32, Ordering};

/// Pieces of work between two offers: about 0.4 ms. More delays the requests at the data port; fewer leaves an operator beside
/// a crowd too small a share of a processor that the workers keep busy.
const LIMIT: u32 = 16;

/// Counts the work of the admin thread: connections that it accepted, and calls.
///
/// The kernel lets a busy thread run until its next tick (4 ms, at 250 a second) before a thread that became ready gets the
/// processor. A crowd at the admin port would delay every request at the data port by that.
#[derive(Debug, Default)]
pub(super) struct WorkInARow(AtomicU32);

impl WorkInARow {
    /// Notes a piece of work, and offers the processor when there were enough.
    pub(super) fn note(&self) {
        if self.0.fetch_add(1, Ordering::Relaxed) % LIMIT == LIMIT - 1 {
            std::thread::yield_now();
        }
    }
}
