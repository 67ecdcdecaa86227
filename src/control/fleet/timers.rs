//! The timers of a member: the end of a flip, the repetition of a failed operation, a silent store, and the fence. It decides
//! nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep, sleep_until};

use crate::control::slot::at;
use crate::control::store::etcd::fraction;

/// The wait before an operation that failed is repeated, at least; the longest is twice as long.
const AGAIN: Duration = Duration::from_millis(100);

/// A member that did not begin a flip may end it after so long, and up to as long again at random.
const TURN: Duration = Duration::from_secs(1);

/// All keys are read at least so often.
const RESYNC: Duration = Duration::from_secs(10);

/// How long requesters wait for a store that does not respond.
const SILENCE: Duration = Duration::from_secs(5);

/// How long each requester waits at least: a store that was silent may respond again.
const LEAST_WAIT: Duration = Duration::from_secs(3);

/// The longest sleep by a clock that stands still in suspend.
const BOOTTIME_TICK: Duration = Duration::from_millis(250);

/// An event of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Turn,
    Overdue,
    Resync,
    StoreLost,
    Fence,
    /// The entry could not be deleted in time.
    GiveUp,
}

#[derive(Debug)]
pub(crate) struct Timers {
    /// The flip that the next two are of.
    flip: u64,
    turn_at: Option<Instant>,
    overdue_at: Option<Instant>,
    again_at: Option<Instant>,
    resync_at: Instant,
    /// Since when the store has not responded.
    silent_since: Option<Instant>,
    last_request: Instant,
    /// After how long without a read the fence closes.
    fence_after: Option<Duration>,
    /// When the last read was sent that has shown the own entry.
    seen_at: Duration,
    has_fenced: bool,
    give_up_at: Option<Instant>,
}

impl Timers {
    pub(crate) fn new(fence_after: Option<Duration>) -> Timers {
        let now = Instant::now();
        Timers {
            flip: 0,
            turn_at: None,
            overdue_at: None,
            again_at: None,
            resync_at: now + RESYNC,
            silent_since: None,
            last_request: now,
            fence_after,
            seen_at: boottime(),
            has_fenced: false,
            give_up_at: None,
        }
    }

    /// A switching record is in force, for the first time or again: `limit` counts from the first time.
    pub(crate) fn flips(&mut self, revision: u64, limit: Duration) {
        if self.flip != revision {
            let now = Instant::now();
            self.flip = revision;
            self.turn_at = Some(now + TURN + TURN.mul_f64(fraction()));
            self.overdue_at = Some(now + limit);
        }
    }

    /// A settled record is in force.
    pub(crate) fn is_settled(&mut self) {
        (self.turn_at, self.overdue_at) = (None, None);
    }

    pub(crate) fn begins(&mut self) {
        self.silent_since.get_or_insert_with(Instant::now);
    }

    /// The store has responded.
    pub(crate) fn responded(&mut self) {
        let resync = self.fence_after.map_or(RESYNC, |after| RESYNC.min(after / 3));
        (self.silent_since, self.again_at, self.resync_at) = (None, None, Instant::now() + resync);
    }

    /// The operation failed, or its outcome is unknown.
    pub(crate) fn failed(&mut self) {
        self.again_at = Some(Instant::now() + AGAIN + AGAIN.mul_f64(fraction()));
    }

    /// The own entry was shown by a read that was sent then.
    pub(crate) fn seen(&mut self, sent: Duration) {
        (self.seen_at, self.has_fenced) = (sent, false);
    }

    pub(crate) fn requested(&mut self) {
        self.last_request = Instant::now();
    }

    /// Whether a read that was sent then is too old to end or to put off a fence.
    pub(crate) fn is_too_old(&self, sent: Duration) -> bool {
        self.fence_after.is_some_and(|after| boottime().saturating_sub(sent) >= after)
    }

    /// For how long the store has not responded.
    pub(crate) fn silence(&self) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn gives_up_after(&mut self, limit: Duration) {
        self.give_up_at = Some(Instant::now() + limit);
    }

    /// The next tick; `awaited`: requesters wait for the store. Cancel safe.
    pub(crate) async fn next(&mut self, awaited: bool) -> Tick {
        let lost_at = self.silent_since.map(|since| (since + SILENCE).max(self.last_request + LEAST_WAIT));
        tokio::select! {
            () = at(self.turn_at) => {
                self.turn_at = None;
                Tick::Turn
            }
            () = at(self.overdue_at) => {
                self.overdue_at = None;
                Tick::Overdue
            }
            () = at(self.again_at) => {
                self.again_at = None;
                Tick::Resync
            }
            () = sleep_until(self.resync_at) => {
                self.resync_at = Instant::now() + RESYNC;
                Tick::Resync
            }
            () = at(lost_at.filter(|_| awaited)) => {
                self.last_request = Instant::now();
                Tick::StoreLost
            }
            () = fence_due(self.fence_after.filter(|_| !self.has_fenced), self.seen_at) => {
                self.has_fenced = true;
                Tick::Fence
            }
            () = at(self.give_up_at) => {
                self.give_up_at = None;
                Tick::GiveUp
            }
        }
    }
}

/// The time by a clock that goes on in suspend. A paused virtual machine stops it too.
pub(crate) fn boottime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

async fn fence_due(after: Option<Duration>, seen_at: Duration) {
    let Some(after) = after else { return std::future::pending().await };
    loop {
        let left = (seen_at + after).saturating_sub(boottime());
        if left.is_zero() {
            return;
        }
        sleep(left.min(BOOTTIME_TICK)).await;
    }
}
