//! The counters and the access log of a worker. It decides nothing.

use std::sync::Arc;

use super::access_log::AccessLog;
use crate::telemetry::WorkerMetrics;

/// The counters and the access log of a worker.
#[derive(Debug)]
pub struct RequestRecorder {
    /// The worker's own counters.
    pub metrics: Arc<WorkerMetrics>,
    /// The access log, if it is enabled.
    pub access_log: Option<AccessLog>,
}
