//! The record of exchanges: requests, their order, and how they ended. It judges nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::HeaderMap;
use tokio::sync::watch;

/// One request and its response. The sequence numbers count starts and ends together, so that two exchanges overlapped
/// exactly when each started before the other ended.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Upper case, as received.
    pub method: String,
    /// Path and query, as received, with the base path.
    pub path: String,
    /// As received.
    pub headers: HeaderMap,
    /// The arrival of its head.
    pub started: Instant,
    /// Place of the start among all starts and ends, from 1.
    pub start_sequence: u64,
    /// The time at which the last byte of the response was handed to the connection, or the work was given up.
    pub ended: Option<Instant>,
    /// Place of the end among all starts and ends.
    pub end_sequence: Option<u64>,
    /// Status of the response; none until there is one.
    pub status: Option<u16>,
    /// Bytes of the request body that arrived.
    pub body_bytes: u64,
}

/// Records exchanges, or only counts them.
pub(super) struct Recorder {
    keep: bool,
    log: Mutex<Log>,
    in_flight: watch::Sender<usize>,
}

#[derive(Default)]
struct Log {
    sequence: u64,
    exchanges: Vec<Exchange>,
}

impl Recorder {
    pub(super) fn new(keep: bool) -> Recorder {
        Recorder { keep, log: Mutex::default(), in_flight: watch::Sender::new(0) }
    }

    /// Records a start; the end is recorded when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>, method: &str, path: &str, headers: &HeaderMap) -> OpenExchange {
        let index = self.keep.then(|| {
            self.with_log(|log| {
                log.sequence += 1;
                log.exchanges.push(Exchange {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    headers: headers.clone(),
                    started: Instant::now(),
                    start_sequence: log.sequence,
                    ended: None,
                    end_sequence: None,
                    status: None,
                    body_bytes: 0,
                });
                log.exchanges.len() - 1
            })
        });
        self.in_flight.send_modify(|count| *count += 1);
        OpenExchange { recorder: Arc::clone(self), index }
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.with_log(|log| log.exchanges.clone())
    }

    pub(super) fn in_flight(&self) -> usize {
        *self.in_flight.borrow()
    }

    pub(super) async fn in_flight_reaches(&self, wanted: usize) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.in_flight.subscribe().wait_for(|count| *count == wanted).await;
    }

    fn with_log<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An exchange under way.
pub(super) struct OpenExchange {
    recorder: Arc<Recorder>,
    index: Option<usize>,
}

impl OpenExchange {
    pub(super) fn answered(&self, status: u16) {
        self.change(|exchange, _| exchange.status = Some(status));
    }

    pub(super) fn received(&self, bytes: u64) {
        self.change(|exchange, _| exchange.body_bytes = bytes);
    }

    fn change(&self, act: impl FnOnce(&mut Exchange, &mut u64)) {
        if let Some(index) = self.index {
            self.recorder.with_log(|log| act(&mut log.exchanges[index], &mut log.sequence));
        }
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.change(|exchange, sequence| {
            *sequence += 1;
            exchange.ended = Some(Instant::now());
            exchange.end_sequence = Some(*sequence);
        });
        self.recorder.in_flight.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_order_starts_and_ends() {
        let recorder = Arc::new(Recorder::new(true));
        let first = recorder.begin("GET", "/a", &HeaderMap::new());
        let second = recorder.begin("GET", "/b", &HeaderMap::new());
        assert_eq!(recorder.in_flight(), 2);
        drop(second);
        first.answered(200);
        drop(first);
        let places: Vec<_> = recorder.exchanges().iter().map(|e| (e.start_sequence, e.end_sequence)).collect();
        assert_eq!(places, [(1, Some(4)), (2, Some(3))]);
        assert_eq!(recorder.in_flight(), 0);
    }
}
