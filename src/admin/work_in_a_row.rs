//! Lets other threads have the processor while the admin port is busy. It decides nothing about connections or calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How long the admin thread works, in microseconds, before it offers the processor. More delays the requests at the data port.
const WORK: u64 = 100;

/// Counts the work of the admin thread by its time.
///
/// The kernel lets a busy thread run until its next tick (4 ms, at 250 a second) before a thread that became ready gets the
/// processor. A crowd at the admin port would delay every request at the data port by that.
#[derive(Debug)]
pub(super) struct WorkInARow {
    start: Instant,
    /// When to offer the processor next, in microseconds since the start.
    next_offer: AtomicU64,
}

impl WorkInARow {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), next_offer: AtomicU64::new(WORK) }
    }

    /// Called after each piece of work: a connection that was accepted, secured or closed, or a call. Offers the processor
    /// when there was enough work.
    pub(super) fn note(&self) {
        let offered = self.now();
        if offered < self.next_offer.load(Ordering::Relaxed) {
            return;
        }
        std::thread::yield_now();
        let back = self.now();
        // While the workers keep the processor busy an operator still needs a share of it: a third.
        let work = WORK.max((back - offered) / 2);
        self.next_offer.store(back + work, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
