//! Log lines of refused requests, where no access log has them: some at once and then one a second, so that a flood does not fill
//! the log. It decides nothing about requests.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::http1::RequestHead;
use crate::proxy::access_log::UNKNOWN;
use crate::proxy::headers;
use crate::proxy::refusal::Refusal;

/// How many lines a worker writes at once.
const BURST: u64 = 20;

/// How often it writes one more, and how often it says how many it has left out.
const INTERVAL: Duration = Duration::from_secs(1);
const REPORT: Duration = Duration::from_secs(5);

/// The lines of one worker.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    allowed: Cell<u64>,
    /// When lines were allowed last.
    counted: Cell<Instant>,
    left_out: Cell<u64>,
    reported: Cell<Instant>,
}

impl RefusalLog {
    pub(crate) fn new(now: Instant) -> RefusalLog {
        let (counted, reported) = (Cell::new(now), Cell::new(now));
        RefusalLog { allowed: Cell::new(BURST), counted, left_out: Cell::new(0), reported }
    }

    /// Whether this refusal has a line, which is written now; if others left no room for it, it is counted. Failures of UCS and of
    /// changes have events of their own.
    pub(crate) fn takes(&self, refusal: &Refusal, now: Instant) -> bool {
        !matches!(refusal, Refusal::Forward(_) | Refusal::Change(_)) && self.has_room(now)
    }

    fn has_room(&self, now: Instant) -> bool {
        if now >= self.counted.get() + INTERVAL {
            let passed = now.saturating_duration_since(self.counted.get()).as_secs() / INTERVAL.as_secs();
            self.counted.set(now);
            self.allowed.set(BURST.min(self.allowed.get() + passed));
        }
        let allowed = self.allowed.get();
        self.allowed.set(allowed.saturating_sub(1));
        self.left_out.set(self.left_out.get() + u64::from(allowed == 0));
        allowed > 0
    }

    /// How many lines were left out, once in a while.
    pub(crate) fn report(&self, now: Instant) {
        if self.left_out.get() > 0 && now.saturating_duration_since(self.reported.get()) >= REPORT {
            self.reported.set(now);
            let requests = self.left_out.take();
            tracing::info!(requests, "refused requests without a line of their own");
        }
    }
}

/// Writes the line of a refused request.
pub(crate) fn write(refusal: &Refusal, head: Option<&RequestHead>, operation: Option<&str>, client: &str) {
    let (trace_id, span_id) = head.map_or((None, None), |head| headers::trace_and_span(&head.fields));
    tracing::info!(
        reason = refusal.reason(),
        status = refusal.status().as_u16(),
        method = head.map_or(UNKNOWN, |head| head.method.as_str()),
        path = head.map_or(UNKNOWN, RequestHead::path_text),
        operation,
        client,
        trace_id,
        span_id,
        "request refused"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_a_few_lines_and_then_one_a_second() {
        let start = Instant::now();
        let log = RefusalLog::new(start);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!((0..100).filter(|_| log.has_room(start)).count(), 20);
        assert_eq!(log.left_out.get(), 80);
        assert_eq!((0..100).filter(|step| log.has_room(at(step * 30))).count(), 2, "in 2.97 s");
        assert_eq!((0..100).filter(|_| log.has_room(at(3_600_000))).count(), 20, "after an hour");
        log.report(at(4_000));
        assert!(log.left_out.get() > 0, "too early");
        log.report(at(5_000));
        assert_eq!(log.left_out.get(), 0);
    }
}
