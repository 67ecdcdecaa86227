//! The pace of a peer within a body, and whether it is below a minimum. Pure.

use std::time::Duration;

/// The time that was waited for a peer, and the bytes that it moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    pub(crate) waited: Duration,
    pub(crate) moved: u64,
}

impl Pace {
    /// The pace after another wait.
    pub(crate) fn plus_wait(self, time: Duration) -> Pace {
        Pace { waited: self.waited + time, ..self }
    }

    /// The pace after more bytes.
    pub(crate) fn plus_bytes(self, bytes: usize) -> Pace {
        Pace { moved: self.moved + bytes as u64, ..self }
    }

    /// Whether it is clearly below this rate, in bytes per second. A tenth is left to clocks, timers and networks: a peer that
    /// keeps the rate must not be ended.
    pub(crate) fn is_below(self, min_rate: u64) -> bool {
        (self.moved as f64) < 0.9 * min_rate as f64 * self.waited.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_at_the_minimum_is_not_below_it_at_any_moment() {
        let mut pace = Pace::default();
        for _ in 0..3600 {
            // A second and what a timer is late, and nothing yet of this second.
            pace = pace.plus_wait(Duration::from_millis(1002));
            assert!(pace.waited < Duration::from_secs(60) || !pace.is_below(500), "{pace:?}");
            pace = pace.plus_bytes(500);
        }
        assert!(!pace.is_below(0));
        assert!(pace.is_below(600), "a sixth below it");
    }
}
