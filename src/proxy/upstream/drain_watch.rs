//! The budget of an exchange while a flip drains: a drain waits for UCS and not for clients, so the total time that an exchange
//! waits for its client is limited. It reads records and clocks; `exchange` enforces the limit.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::policy::mode::{Mode, ModeRecord, Phase};

#[derive(Clone, Copy, Debug)]
pub(crate) struct FlipUnderWay {
    revision: u64,
    /// The flip waits for requests that only this mode admits.
    pub(crate) leaving: Mode,
    drain_timeout: Duration,
}

impl FlipUnderWay {
    /// The flip of a record; `None` if the record is settled.
    pub(crate) fn of(record: &ModeRecord) -> Option<FlipUnderWay> {
        let drain_timeout = record.drain_timeout_ms.map_or(Duration::MAX, Duration::from_millis);
        let flip = FlipUnderWay { revision: record.revision, leaving: record.stable_mode(), drain_timeout };
        (record.phase == Phase::Switching).then_some(flip)
    }

    /// The total time that its drain may wait for one client.
    pub(crate) fn client_limit(&self, longest: Duration) -> Duration {
        longest.min(self.drain_timeout / 3)
    }
}

/// The last flip that the worker has seen: its revision, and the time when it was first seen.
#[derive(Debug)]
pub(crate) struct FlipSeen(Cell<(u64, Instant)>);

impl FlipSeen {
    /// No flip yet.
    pub(crate) fn none() -> FlipSeen {
        FlipSeen(Cell::new((0, Instant::now())))
    }

    /// Whether the drain of this flip may still be in progress; after its timeout, `on_timeout` decides about the requests in
    /// flight.
    pub(crate) fn is_draining(&self, flip: &FlipUnderWay, now: Instant) -> bool {
        let (revision, since) = self.0.get();
        if revision != flip.revision {
            self.0.set((flip.revision, now));
            return true;
        }
        now.saturating_duration_since(since) < flip.drain_timeout
    }
}

/// The total time that one exchange has waited for its client during a flip: the flip's revision, and the time.
#[derive(Debug, Default)]
pub(crate) struct ClientWait(Cell<(u64, Duration)>);

impl ClientWait {
    /// Adds the time since the last sweep, if the exchange waits for its client; returns the total.
    pub(crate) fn count(&self, flip: &FlipUnderWay, lapse: Duration, waits: bool) -> Duration {
        let (revision, waited) = self.0.get();
        // The first sweep adds nothing: part of the time was before the flip.
        let is_known = revision == flip.revision;
        let sum = if is_known { waited + if waits { lapse } else { Duration::ZERO } } else { Duration::ZERO };
        self.0.set((flip.revision, sum));
        sum
    }
}
