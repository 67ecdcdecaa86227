//! The record of one request: counted in the metrics once, and written to the access log if there is one. It decides nothing.

use std::rc::Rc;
use std::time::Instant;

use hyper::StatusCode;

use crate::proxy::access_log::{AccessLogEntry, Completed};
use crate::proxy::context::Downstream;
use crate::proxy::upstream::error::ForwardError;
use crate::telemetry::Outcome;

/// The record of one request. It is counted and logged when it is dropped, with the last byte of the response.
#[derive(Debug)]
pub(crate) struct RequestLog {
    downstream: Rc<Downstream>,
    started: Instant,
    /// The slot of the request's class in the metrics.
    pub(crate) class_slot: usize,
    /// The request's outcome.
    pub(crate) outcome: Outcome,
    /// The entry for the access log; kept only if there is a log.
    pub(crate) entry: Option<Box<AccessLogEntry>>,
    bytes: u64,
}

impl RequestLog {
    /// Starts the record of a request.
    pub(crate) fn open(downstream: &Rc<Downstream>, started: Instant) -> RequestLog {
        downstream.state.begin_response();
        let downstream = Rc::clone(downstream);
        RequestLog { downstream, started, class_slot: 0, outcome: Outcome::ClientGone, entry: None, bytes: 0 }
    }

    /// When the request began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Whether there is an access log.
    pub(crate) fn is_logged(&self) -> bool {
        self.downstream.worker.recorder.access_log.is_some()
    }

    /// UCS responded with this status.
    pub(crate) fn upstream_responded(&mut self, status: StatusCode) {
        self.outcome = Outcome::forwarded(status.as_u16());
        if let Some(entry) = &mut self.entry {
            entry.status = status.as_u16();
        }
    }

    /// Counts bytes of the response body that were handed to the client's connection.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The response ended early, because of this error.
    pub(crate) fn cut_short(&mut self, error: &ForwardError) {
        self.outcome = error.outcome();
        if let Some(fault) = error.upstream_fault() {
            self.downstream.worker.recorder.metrics.upstream_failed(fault);
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.downstream.state.end_response();
        if self.downstream.state.ended_unread() {
            self.outcome = Outcome::ClientTimeout;
        }
        let recorder = &self.downstream.worker.recorder;
        recorder.metrics.record(self.class_slot, self.outcome, elapsed);
        if let (Some(log), Some(entry)) = (&recorder.access_log, &self.entry) {
            let peer = self.downstream.forwarded.peer();
            log.write(entry, Completed { peer, outcome: self.outcome, bytes: self.bytes, elapsed });
        }
    }
}
