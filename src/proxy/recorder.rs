//! The counters and the access log of a worker. It decides nothing.

use std::sync::Arc;

use super::access_log::AccessLog;
use crate::telemetry::{Metrics, WorkerMetrics};

/// The counters and the access log of a worker.
#[derive(Debug)]
pub struct RequestRecorder {
    /// The worker's own counters.
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// `None` if it is not enabled.
    pub(crate) access_log: Option<AccessLog>,
}

impl RequestRecorder {
    /// The recorder of a worker, by its number, without an access log.
    pub fn of(metrics: &Metrics, worker: usize) -> RequestRecorder {
        RequestRecorder { metrics: metrics.worker(worker), access_log: None }
    }
}
