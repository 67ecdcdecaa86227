//! Lets other threads have the processor while the admin port is busy. It decides nothing about connections or calls.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the admin thread works, in microseconds, before it sleeps. More delays the requests at the data port.
const WORK: u64 = 10;

/// How long it sleeps, to which the kernel adds some 50 µs. Less interrupts the workers more often, more lets operators wait.
const SLEEP: Duration = Duration::from_micros(100);

/// The longest work before the next sleep, in microseconds. What took longer was no busy worker, but a process that was
/// stopped or a machine that was suspended.
const LONGEST_WORK: u64 = 2_000;

/// Counts the work of the admin thread by its time.
///
/// The kernel lets a busy thread run until its next tick (4 ms, at 250 a second) before a thread that became ready gets the
/// processor. A crowd at the admin port would delay every request at the data port by that. The thread sleeps and does not
/// yield: the crowd then takes a fraction of a processor, and the rest is there for the data port and UCS.
#[derive(Debug)]
pub(super) struct WorkInARow {
    start: Instant,
    /// When to sleep next, in microseconds since the start.
    next_sleep: AtomicU64,
}

impl WorkInARow {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), next_sleep: AtomicU64::new(WORK) }
    }

    /// Called after each piece of work. Lets others have the processor when there was enough work.
    pub(super) fn note(&self) {
        let left = self.now();
        if left < self.next_sleep.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(SLEEP);
        let back = self.now();
        self.next_sleep.store(back + work_after(back - left), Ordering::Relaxed);
    }

    /// Does this work, and notes each piece of it: what happens between two waits.
    pub(super) async fn noting<W: Future>(&self, work: W) -> W::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            self.note();
            polled
        })
        .await
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// How long to work after an absence of so long, both in microseconds: while the workers keep the processor busy an operator
/// still needs a share of it, a ninth.
fn work_after(absence: u64) -> u64 {
    (absence / 8).clamp(WORK, LONGEST_WORK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_a_share_of_an_absence_and_a_long_absence_gives_no_long_work() {
        let hour = 3_600_000_000;
        let works = [0, 8 * WORK, 2_000, 8 * LONGEST_WORK, hour].map(work_after);
        assert_eq!(works, [WORK, WORK, 250, LONGEST_WORK, LONGEST_WORK]);
    }
}
