//! Where a worker's requests are counted and logged. It decides nothing.

use std::sync::Arc;

use super::access_log::AccessLog;
use crate::telemetry::WorkerMetrics;

/// Where a worker's requests are counted and logged.
#[derive(Debug)]
pub struct RequestRecorder {
    /// The worker's own counters.
    pub metrics: Arc<WorkerMetrics>,
    /// One line a request, when asked.
    pub access_log: Option<AccessLog>,
}
