//! The end of a drain, and its report. It reads the gate and waits; the consequences are decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::control_handle::FlipReport;
use crate::gate::{Gate, OperationCounts};
use crate::policy::mode::{DrainOutcome, Mode, ModeSet, OperationCount};
use crate::policy::table::RouteIndex;

/// The interval between reads of the counts. Short, as callers wait for it; cheap, as each read is one load per worker.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The conditions for the old mode to count as drained.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    pub gate: Arc<Gate>,
    pub leaving: Mode,
    /// How long UCS may need to finish abandoned requests.
    pub orphan_grace: Duration,
    /// Until when requests of a killed gateway may still run in UCS.
    pub orphans_until: Option<Instant>,
}

impl Drain {
    /// Waits, without a limit of its own, until no request that only the old mode admits can be in flight at UCS.
    pub(super) async fn over(&self) {
        while !self.is_over() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the drain is over, or for the limit: returns whether it is over. A drain that waits only for grace periods at
    /// the limit is waited for beyond it: nothing is left to abort, and nothing new is admitted.
    pub(super) async fn ends_within(&self, limit: Duration) -> bool {
        let in_time = timeout(limit, self.over()).await.is_ok();
        in_time
            || (self.waits_for_graces_only() && timeout(self.orphan_grace, self.over()).await.is_ok())
            || self.is_over()
    }

    /// Whether the drain waits only for grace periods, which end by themselves.
    fn waits_for_graces_only(&self) -> bool {
        self.gate.forbidden_in_flight(self.leaving) == 0
    }

    /// Reads the count before the time of the last abandoned exchange: an abandoned exchange writes its time first and
    /// leaves the count afterwards, so a zero that includes it also shows its time.
    fn is_over(&self) -> bool {
        self.gate.forbidden_in_flight(self.leaving) == 0 && self.graces_are_over()
    }

    /// Whether the graces of abandoned requests are over.
    pub(super) fn graces_are_over(&self) -> bool {
        self.gate.last_abandoned(self.leaving).is_none_or(|ago| ago >= self.orphan_grace)
            && self.orphans_until.is_none_or(|until| Instant::now() >= until)
    }

    /// The requests that the drain waits for now, by operation.
    pub(super) fn running(&self) -> Vec<OperationCount> {
        let running = self.gate.running(Some(self.leaving));
        running.into_iter().map(|counts| counted(&counts, counts.in_flight)).collect()
    }
}

/// The abandoned counts at one instant, to be compared with later ones.
#[derive(Clone, Debug, Default)]
pub(super) struct AbandonedSoFar {
    /// By the generation of the table and the route.
    by_route: HashMap<(u32, Option<RouteIndex>), u64>,
}

impl AbandonedSoFar {
    pub(super) fn now(gate: &Gate) -> AbandonedSoFar {
        let counts = gate.counts_of_all_tables().into_iter().filter(|(_, counts)| counts.abandoned > 0);
        let by_route = counts.map(|(generation, counts)| ((generation, counts.route), counts.abandoned)).collect();
        AbandonedSoFar { by_route }
    }

    /// Requests abandoned since then that only `mode` admits, and all of replaced tables, as a drain waits for all of
    /// these.
    pub(super) fn since(&self, gate: &Gate, mode: Mode) -> Vec<OperationCount> {
        let in_force = gate.table().generation();
        let grown = gate.counts_of_all_tables().into_iter().filter_map(|(generation, counts)| {
            let before = self.by_route.get(&(generation, counts.route)).copied().unwrap_or(0);
            let count = counts.abandoned.saturating_sub(before);
            let is_waited_for = generation != in_force || counts.modes == ModeSet::only(mode);
            (count > 0 && is_waited_for).then(|| counted(&counts, count))
        });
        OperationCount::added_up(grown)
    }
}

fn counted(counts: &OperationCounts, count: u64) -> OperationCount {
    OperationCount::new(&*counts.operation, &*counts.class, count)
}

/// Requests that may be running in UCS after a drain: the requests given up on, and after a forced commit those still in flight.
pub(super) fn unfinished(drain: DrainOutcome, report: &FlipReport) -> Vec<OperationCount> {
    let still_running = report.still_running.iter().filter(|_| drain == DrainOutcome::Forced);
    OperationCount::added_up(report.abandoned.iter().chain(still_running).cloned())
}
