//! Waits for a record's expiry by the wall clock, and paces the retries of a switch back that failed. It reads the clock at
//! least every half minute, so that it notices a clock change or a suspended machine.

use std::time::Duration;

use jiff::Timestamp;

/// The longest time for which a jump of the clock goes unnoticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The wait before a failed switch back is retried; it doubles up to [`LONGEST_EXPIRY_RETRY`].
const EXPIRY_RETRY: Duration = Duration::from_secs(30);
const LONGEST_EXPIRY_RETRY: Duration = Duration::from_secs(15 * 60);

/// Returns once `expires` has passed; never if there is none.
pub(super) async fn due(expires: Option<Timestamp>) {
    let Some(expires) = expires else { return std::future::pending().await };
    while let Some(sleep) = next_look(expires, Timestamp::now()) {
        tokio::time::sleep(sleep).await;
    }
}

/// The sleep before the next read of the clock; `None` when the time has come.
fn next_look(expires: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = expires.duration_since(now);
    if left.is_zero() || left.is_negative() {
        return None;
    }
    // One millisecond more, as timers and clocks may round in different directions.
    Some((left.unsigned_abs() + Duration::from_millis(1)).min(LONGEST_SLEEP))
}

/// An expiry whose switch back has failed so far.
#[derive(Debug, Default)]
pub(super) struct ExpiryTrouble {
    end: Option<Timestamp>,
    pub(super) failures: u32,
}

impl ExpiryTrouble {
    /// Whether the switch back of this expiry has failed.
    pub(super) fn is_of(&self, end: Option<Timestamp>) -> bool {
        end.is_some() && self.end == end
    }

    /// Counts a failure and returns the wait before the next attempt.
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

    #[test]
    fn a_clock_that_jumps_is_noticed_within_half_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        // Forward, over the time: the next look finds it due.
        assert_eq!(next_look(at(3600), at(0)), Some(LONGEST_SLEEP));
        assert_eq!(next_look(at(3600), at(4000)), None);
        // Back: it is not due, and is looked at again and again until it is.
        assert_eq!(next_look(at(10), at(9)), Some(Duration::from_millis(1001)));
        let mut now = at(-3600);
        let mut looks = 0;
        while let Some(sleep) = next_look(at(10), now) {
            assert!(sleep <= LONGEST_SLEEP);
            (now, looks) = (now + sleep, looks + 1);
        }
        assert!(now >= at(10) && now < at(11) && looks == 121, "{now}, {looks} looks");
    }

    #[test]
    fn attempts_at_one_end_come_ever_later_and_another_end_begins_anew() {
        let (end, other) = (Timestamp::from_second(1).ok(), Timestamp::from_second(2).ok());
        let mut trouble = ExpiryTrouble::default();
        assert!(!trouble.is_of(None) && !trouble.is_of(end));
        let waits: Vec<u64> = (0..40).map(|_| trouble.failed(end).as_secs()).collect();
        assert_eq!(waits[..6], [30, 60, 120, 240, 480, 900]);
        assert!(waits[6..].iter().all(|wait| *wait == 900));
        assert!(trouble.is_of(end) && !trouble.is_of(other));
        assert_eq!((trouble.failed(other).as_secs(), trouble.failures), (30, 1));
    }
}
