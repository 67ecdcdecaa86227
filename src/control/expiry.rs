//! Waits for a record's expiry by the wall clock. The clock is read again at least every half minute, so that a clock
//! that was set, or a machine that slept, is seen.

use std::time::Duration;

use jiff::Timestamp;

/// The longest that a jump of the clock goes unseen.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The wait before an end that could not be reached is tried again; it doubles up to [`LONGEST_EXPIRY_RETRY`].
const EXPIRY_RETRY: Duration = Duration::from_secs(30);
const LONGEST_EXPIRY_RETRY: Duration = Duration::from_secs(15 * 60);

/// Returns once `expires` has passed; never when there is none.
pub(super) async fn due(expires: Option<Timestamp>) {
    let Some(expires) = expires else { return std::future::pending().await };
    while let Some(sleep) = next_look(expires, Timestamp::now()) {
        tokio::time::sleep(sleep).await;
    }
}

/// How long to sleep before the clock is read again; `None` when the time has come.
fn next_look(expires: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = expires.duration_since(now);
    if left.is_zero() || left.is_negative() {
        return None;
    }
    // A millisecond more, as timers and clocks may round in different directions.
    Some((left.unsigned_abs() + Duration::from_millis(1)).min(LONGEST_SLEEP))
}

/// An end that could not be reached yet.
#[derive(Debug, Default)]
pub(super) struct ExpiryTrouble {
    /// The end that is meant.
    end: Option<Timestamp>,
    pub(super) failures: u32,
}

impl ExpiryTrouble {
    /// Whether this end is the one that could not be reached.
    pub(super) fn is_of(&self, end: Option<Timestamp>) -> bool {
        end.is_some() && self.end == end
    }

    /// Counts a failure and says when to try again.
    pub(super) fn failed(&mut self, end: Option<Timestamp>) -> Duration {
        self.failures = if self.is_of(end) { self.failures + 1 } else { 1 };
        self.end = end;
        EXPIRY_RETRY.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_EXPIRY_RETRY)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_until_the_time_but_never_long() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(next_look(at(10), at(10)), None);
        assert_eq!(next_look(at(10), at(4_000_000)), None);
        assert_eq!(next_look(at(10), at(8)), Some(Duration::from_millis(2001)));
        assert_eq!(next_look(Timestamp::MAX, at(8)), Some(LONGEST_SLEEP));
    }
}
