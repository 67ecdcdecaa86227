//! What exchanges are told of a flip under way: its drain waits for UCS and never for a client, so an exchange may wait for its
//! client only so long in sum. It reads records and clocks, and gives nothing up: see `exchange`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::policy::mode::{Mode, ModeRecord, Phase};

/// A flip under way.
#[derive(Clone, Copy, Debug)]
pub struct FlipUnderWay {
    /// Tells it from other flips.
    revision: u64,
    /// What only this mode admits is waited for.
    pub leaving: Mode,
    drain_timeout: Duration,
}

impl FlipUnderWay {
    /// Of a record; `None` when it is settled.
    pub fn of(record: &ModeRecord) -> Option<FlipUnderWay> {
        let drain_timeout = record.drain_timeout_ms.map_or(Duration::MAX, Duration::from_millis);
        let flip = FlipUnderWay { revision: record.revision, leaving: record.stable_mode(), drain_timeout };
        (record.phase == Phase::Switching).then_some(flip)
    }

    /// How long its drain may wait for one client, in sum.
    pub fn client_limit(&self, longest: Duration) -> Duration {
        longest.min(self.drain_timeout / 3)
    }
}

/// Since when the worker has seen a flip: its revision, and the time.
#[derive(Debug)]
pub struct FlipSeen(Cell<(u64, Instant)>);

impl FlipSeen {
    /// None yet.
    pub fn none() -> FlipSeen {
        FlipSeen(Cell::new((0, Instant::now())))
    }

    /// Whether the drain of this flip may still be going on: when its time is over, what happens to those that run is for
    /// `on_timeout` to say.
    pub fn is_draining(&self, flip: &FlipUnderWay, now: Instant) -> bool {
        let (revision, since) = self.0.get();
        if revision != flip.revision {
            self.0.set((flip.revision, now));
            return true;
        }
        now.saturating_duration_since(since) < flip.drain_timeout
    }
}

/// How long one exchange has waited for its client since a flip began: the flip's revision, and the sum.
#[derive(Debug, Default)]
pub struct ClientWait(Cell<(u64, Duration)>);

impl ClientWait {
    /// Counts the time since the last look, if the client was waited for; the sum.
    pub fn count(&self, flip: &FlipUnderWay, lapse: Duration, waits: bool) -> Duration {
        let (revision, waited) = self.0.get();
        // The first look only begins: part of the time before it was before the flip.
        let is_known = revision == flip.revision;
        let sum = if is_known { waited + if waits { lapse } else { Duration::ZERO } } else { Duration::ZERO };
        self.0.set((flip.revision, sum));
        sum
    }
}
