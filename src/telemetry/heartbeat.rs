//! The time since the latest sign of life of a part. It judges none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The signs of life of one part; its creation counts as the first one.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    began: Instant,
    /// In milliseconds since then.
    latest: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Heartbeat {
        Heartbeat { began: Instant::now(), latest: AtomicU64::new(0) }
    }
}

impl Heartbeat {
    /// Records a sign of life.
    pub(crate) fn beat(&self) {
        self.latest.store(self.millis(), Ordering::Relaxed);
    }

    pub(crate) fn silent_for(&self) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(self.latest.load(Ordering::Relaxed)))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
