//! The requests of each class in three groups of outcomes, for people; the metrics tell every outcome apart.

use std::sync::Arc;

use serde::Serialize;

use super::metrics::{Metrics, Outcome};

/// Requests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RequestCounts {
    /// UCS or the gateway itself responded, with less than 500.
    pub(crate) served: u64,
    /// The gateway refused them.
    pub(crate) refused: u64,
    /// UCS failed, or the exchange was aborted.
    pub(crate) failed: u64,
}

impl RequestCounts {
    /// The growth since `earlier`.
    pub(crate) fn since(self, earlier: RequestCounts) -> RequestCounts {
        RequestCounts {
            served: self.served.saturating_sub(earlier.served),
            refused: self.refused.saturating_sub(earlier.refused),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }

    fn add(&mut self, outcome: Outcome, count: u64) {
        use Outcome as O;
        *match outcome {
            O::Forwarded2xx | O::Forwarded3xx | O::Forwarded4xx | O::Answered => &mut self.served,
            O::RefusedMode
            | O::RefusedSwitching
            | O::RefusedLocalClose
            | O::RefusedNoSchema
            | O::Unmatched
            | O::BadRequest
            | O::Unauthorized
            | O::Forbidden
            | O::Overload
            | O::TooLarge => &mut self.refused,
            O::Forwarded5xx
            | O::UpstreamUnreachable
            | O::UpstreamBroken
            | O::UpstreamTimeout
            | O::ClientTimeout
            | O::ClientGone
            | O::DrainClientTimeout
            | O::Cut => &mut self.failed,
        } += count;
    }
}

impl Metrics {
    /// The requests of each class so far, over all workers.
    pub(crate) fn requests_by_class(&self) -> Vec<(Arc<str>, RequestCounts)> {
        let counted = |slot: usize| {
            let mut counts = RequestCounts::default();
            for class in self.workers().iter().map(|worker| &worker.classes[slot]) {
                for outcome in Outcome::ALL {
                    counts.add(outcome, class.outcomes[outcome as usize].get());
                }
            }
            counts
        };
        self.class_names().into_iter().map(|(slot, name)| (name, counted(slot))).collect()
    }
}
