//! What is known of one request when it is over: counted once, and logged in one line when asked. It decides nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};

use super::access_log::AccessLog;
use super::buffers::{Buffer, Buffers};
use super::forward::ForwardError;
use super::worker::Downstream;
use crate::gate::TableRef;
use crate::policy::table::RouteIndex;
use crate::telemetry::{Outcome, WorkerMetrics};

/// Where a worker's requests are counted and logged.
#[derive(Debug)]
pub struct Ledger {
    /// The worker's own counters.
    pub metrics: Arc<WorkerMetrics>,
    /// One line a request, when asked.
    pub access_log: Option<AccessLog>,
}

/// One request's account; settled when it is dropped, with the last byte of its answer.
#[derive(Debug)]
pub struct Account {
    downstream: Rc<Downstream>,
    started: Instant,
    /// Slot of the class in the metrics.
    pub class_slot: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// What the log line tells besides; only kept when there is a log.
    pub line: Option<Box<Line>>,
    bytes: u64,
}

/// The parts of a log line.
#[derive(Debug)]
pub struct Line {
    /// The request's method.
    pub method: Method,
    /// Path and id.
    pub words: Words,
    /// The table that it was looked up in.
    pub table: Rc<TableRef>,
    /// The route that took it.
    pub route: Option<RouteIndex>,
    /// Its class, in the table.
    pub class: Option<usize>,
    /// The answer's status; 0 when the client went before there was one.
    pub status: u16,
    /// Revision of the mode record that admitted or refused it.
    pub revision: u64,
}

/// What is kept of a request's own words. ASCII; behind each other in memory that is used again.
#[derive(Debug)]
pub struct Words {
    both: Buffer,
    path_length: usize,
}

impl Words {
    /// A copy of both.
    pub fn of(path: &[u8], request_id: &[u8], buffers: &Rc<Buffers>) -> Words {
        let mut both = buffers.take(path.len() + request_id.len());
        both.extend_from_slice(path);
        both.extend_from_slice(request_id);
        Words { both, path_length: path.len() }
    }

    /// The path as classified (or as sent, when it was refused), without the query.
    pub fn path(&self) -> &[u8] {
        &self.both[..self.path_length]
    }

    /// The id that UCS and the client also see.
    pub fn request_id(&self) -> &[u8] {
        &self.both[self.path_length..]
    }
}

impl Line {
    /// The operation's name.
    pub fn operation(&self) -> &str {
        self.route.map_or("-", |route| &self.table.table().routes[route as usize].operation)
    }

    /// The name of its class.
    pub fn class(&self) -> &str {
        self.class.map_or("none", |class| &self.table.table().classes[class].name)
    }
}

/// What is known only when the request is over.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The client's address.
    pub peer: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// From the request's head to the last byte of the answer.
    pub elapsed: Duration,
}

impl Account {
    /// Opens an account.
    pub fn open(downstream: &Rc<Downstream>, started: Instant) -> Account {
        downstream.wire.begin_answer();
        let downstream = Rc::clone(downstream);
        Account { downstream, started, class_slot: 0, outcome: Outcome::ClientGone, line: None, bytes: 0 }
    }

    /// The worker's buffers.
    pub fn buffers(&self) -> &Rc<Buffers> {
        &self.downstream.worker.buffers
    }

    /// Whether a log line is wanted.
    pub fn is_logged(&self) -> bool {
        self.downstream.worker.ledger.access_log.is_some()
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
            self.downstream.worker.ledger.metrics.upstream_failed(fault);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.downstream.wire.end_answer();
        if self.downstream.wire.ended_unread() {
            self.outcome = Outcome::ClientTimeout;
        }
        let ledger = &self.downstream.worker.ledger;
        ledger.metrics.record(self.class_slot, self.outcome, elapsed);
        if let (Some(log), Some(line)) = (&ledger.access_log, &self.line) {
            let peer = self.downstream.hop.peer();
            log.write(line, Ended { peer, outcome: self.outcome, bytes: self.bytes, elapsed });
        }
    }
}
