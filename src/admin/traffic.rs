//! The requests of the last minutes, second by second, by class and outcome. One task samples for all readers; it counts nothing
//! itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::telemetry::{Metrics, RequestCounts};

/// The interval of samples.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// The number of samples kept: five minutes.
const SAMPLES: usize = 300;

/// The samples, the oldest first, and the newest one for those who follow.
pub(super) struct Traffic {
    samples: Mutex<VecDeque<Arc<Sample>>>,
    newest: watch::Sender<Arc<Sample>>,
}

/// The requests that ended within one interval, by class; classes without any are left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    pub(super) classes: BTreeMap<Arc<str>, RequestCounts>,
    /// The event `traffic`, once a follower has sent it.
    #[serde(skip)]
    pub(super) event: OnceLock<Bytes>,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic { samples: Mutex::default(), newest: watch::Sender::new(Arc::default()) }
    }
}

impl Traffic {
    /// Takes samples; never ends.
    pub(super) async fn sample_forever(&self, metrics: &Metrics) {
        let mut before = metrics.requests_by_class();
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let now = metrics.requests_by_class();
            self.keep(Sample { at: Timestamp::now(), classes: since(&before, &now), event: OnceLock::new() });
            before = now;
        }
    }

    /// Subscribes to new samples.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Sample>> {
        self.newest.subscribe()
    }

    fn keep(&self, sample: Sample) {
        let sample = Arc::new(sample);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(Arc::clone(&sample));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        drop(samples);
        self.newest.send_replace(sample);
    }

    /// The samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<Arc<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn since(before: &[(Arc<str>, RequestCounts)], now: &[(Arc<str>, RequestCounts)]) -> BTreeMap<Arc<str>, RequestCounts> {
    let mut classes = BTreeMap::new();
    for (class, counts) in now {
        let earlier = before.iter().find(|(name, _)| name == class).map(|(_, counts)| *counts).unwrap_or_default();
        let grown = counts.since(earlier);
        if grown != RequestCounts::default() {
            classes.insert(Arc::clone(class), grown);
        }
    }
    classes
}
