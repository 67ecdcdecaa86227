//! What is known of one request when it is over: counted once, and logged in one line when asked. It decides nothing.

use std::rc::Rc;
use std::time::Instant;

use hyper::StatusCode;

use crate::proxy::access_log::{AccessLogEntry, Completed};
use crate::proxy::context::Downstream;
use crate::proxy::upstream::error::ForwardError;
use crate::telemetry::Outcome;

/// One request's request_log; settled when it is dropped, with the last byte of its answer.
#[derive(Debug)]
pub struct RequestLog {
    downstream: Rc<Downstream>,
    started: Instant,
    /// Slot of the class in the metrics.
    pub class_slot: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// What the log line tells besides; only kept when there is a log.
    pub line: Option<Box<AccessLogEntry>>,
    bytes: u64,
}

impl RequestLog {
    /// Opens an request_log.
    pub fn open(downstream: &Rc<Downstream>, started: Instant) -> RequestLog {
        downstream.state.begin_answer();
        let downstream = Rc::clone(downstream);
        RequestLog { downstream, started, class_slot: 0, outcome: Outcome::ClientGone, line: None, bytes: 0 }
    }

    /// Whether a log line is wanted.
    pub fn is_logged(&self) -> bool {
        self.downstream.worker.recorder.access_log.is_some()
    }

    /// UCS answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.outcome = Outcome::forwarded(status.as_u16());
        if let Some(line) = &mut self.line {
            line.status = status.as_u16();
        }
    }

    /// So many bytes of the answer's body were handed over.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The answer ended in its middle, for this reason.
    pub fn cut_short(&mut self, error: &ForwardError) {
        self.outcome = error.outcome();
        if let Some(fault) = error.upstream_fault() {
            self.downstream.worker.recorder.metrics.upstream_failed(fault);
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.downstream.state.end_answer();
        if self.downstream.state.ended_unread() {
            self.outcome = Outcome::ClientTimeout;
        }
        let recorder = &self.downstream.worker.recorder;
        recorder.metrics.record(self.class_slot, self.outcome, elapsed);
        if let (Some(log), Some(line)) = (&recorder.access_log, &self.line) {
            let peer = self.downstream.hop.peer();
            log.write(line, Completed { peer, outcome: self.outcome, bytes: self.bytes, elapsed });
        }
    }
}
