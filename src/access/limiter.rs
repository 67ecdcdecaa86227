//! Throttles failed attempts: one token bucket for all callers and paths. It keeps no addresses, as they are cheap to change.

use std::time::{Duration, Instant};

/// Failures within [`WINDOW`] before the limit applies.
const BURST: f64 = 10.0;

/// The time in which an empty bucket fills.
const WINDOW: Duration = Duration::from_secs(10);

/// A token bucket.
#[derive(Debug)]
pub(super) struct Limiter {
    level: f64,
    filled: Instant,
}

impl Limiter {
    /// A full bucket.
    pub(super) fn new(now: Instant) -> Limiter {
        Limiter { level: BURST, filled: now }
    }

    /// Takes a token, or returns the wait for the next one, in whole seconds.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let rate = BURST / WINDOW.as_secs_f64();
        self.level = BURST.min(self.level + now.saturating_duration_since(self.filled).as_secs_f64() * rate);
        self.filled = now;
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs(((1.0 - self.level) / rate).ceil().max(1.0) as u64))
    }

    /// Returns a token: the attempt did not fail.
    pub(super) fn give_back(&mut self) {
        self.level = BURST.min(self.level + 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_pass_then_one_a_second() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        for _ in 0..10 {
            assert_eq!(limiter.take(start), Ok(()));
        }
        assert_eq!(limiter.take(start), Err(Duration::from_secs(1)));
        let later = start + Duration::from_millis(1100);
        assert_eq!(limiter.take(later), Ok(()));
        assert!(limiter.take(later).is_err());
        assert_eq!((0..20).filter(|_| limiter.take(later + Duration::from_secs(60)).is_ok()).count(), 10);
    }

    #[test]
    fn returned_tokens_do_not_count() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        for _ in 0..100 {
            assert_eq!(limiter.take(start), Ok(()));
            limiter.give_back();
        }
    }
}
