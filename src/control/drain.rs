//! When a drain is over, and what its report says. It reads the gate and waits; what follows is decided in `flip`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::control_handle::OperationCount;
use crate::gate::{Gate, OperationCounts};
use crate::policy::mode::{Mode, ModeSet};
use crate::policy::table::RouteIndex;

/// How often the counts are read. Short, as callers wait for it; cheap, as it is one load a worker.
const LOOK: Duration = Duration::from_millis(1);

/// What must end before the mode that is being left counts as drained.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    pub gate: Arc<Gate>,
    pub leaving: Mode,
    /// How long UCS is given to finish what the gateway gave up on.
    pub orphan_grace: Duration,
    /// Until when exchanges of a gateway that was killed may still run at UCS.
    pub orphans_until: Option<Instant>,
}

impl Drain {
    /// Waits, without a limit of its own, until nothing that only the old mode admits is in flight at UCS as far as can
    /// be known.
    pub(super) async fn over(&self) {
        while !self.is_over() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the drain waits for nothing but graces, which end by themselves.
    pub(super) fn waits_for_graces_only(&self) -> bool {
        self.gate.forbidden_in_flight(self.leaving) == 0
    }

    /// The count is read before the time of the last abandoned exchange: an exchange that is given up on writes its
    /// time first and is counted out after, so a zero that includes it also shows its time.
    pub(super) fn is_over(&self) -> bool {
        self.gate.forbidden_in_flight(self.leaving) == 0
            && self.gate.last_abandoned(self.leaving).is_none_or(|ago| ago >= self.orphan_grace)
            && self.orphans_until.is_none_or(|until| Instant::now() >= until)
    }

    /// What the drain waits for now, by operation.
    pub(super) fn running(&self) -> Vec<OperationCount> {
        let running = self.gate.running(Some(self.leaving));
        running.into_iter().map(|counts| counted(&counts, counts.in_flight)).collect()
    }
}

/// The abandoned counts at one instant, to tell later what was abandoned since.
#[derive(Clone, Debug)]
pub(super) struct AbandonedSoFar {
    /// By the table's generation and the route.
    by_route: HashMap<(u32, Option<RouteIndex>), u64>,
}

impl AbandonedSoFar {
    pub(super) fn now(gate: &Gate) -> AbandonedSoFar {
        let counts = gate.counts_of_all_tables().into_iter().filter(|(_, counts)| counts.abandoned > 0);
        let by_route = counts.map(|(generation, counts)| ((generation, counts.route), counts.abandoned)).collect();
        AbandonedSoFar { by_route }
    }

    /// What was abandoned since then of that which only `mode` admits; of replaced tables everything, as a drain waits for
    /// all of it.
    pub(super) fn since(&self, gate: &Gate, mode: Mode) -> Vec<OperationCount> {
        let in_force = gate.table().generation();
        let mut since: Vec<OperationCount> = Vec::new();
        for (generation, counts) in gate.counts_of_all_tables() {
            let before = self.by_route.get(&(generation, counts.route)).copied().unwrap_or(0);
            let count = counts.abandoned.saturating_sub(before);
            if count == 0 || (generation == in_force && counts.modes != ModeSet::only(mode)) {
                continue;
            }
            let operation = counted(&counts, count);
            match since.iter_mut().find(|of| (&of.operation, &of.class) == (&operation.operation, &operation.class)) {
                Some(known) => known.count += count,
                None => since.push(operation),
            }
        }
        since
    }
}

fn counted(counts: &OperationCounts, count: u64) -> OperationCount {
    OperationCount { operation: counts.operation.to_string(), class: counts.class.to_string(), count }
}
