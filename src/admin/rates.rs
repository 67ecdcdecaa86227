//! The recent rate of each operation: samples of the table's counts over a few minutes. It counts nothing itself, and it
//! starts over at a reload, which resets the table's counts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::{Gate, LiveTable};

/// The interval of samples.
const EVERY: Duration = Duration::from_secs(10);

/// The number of samples kept: five minutes.
const SAMPLES: usize = 30;

/// The samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Rates {
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    generation: u32,
    admitted: Vec<u64>,
}

impl Rates {
    /// Takes samples; never ends.
    pub(super) async fn sample_forever(&self, gate: &Gate) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.take(&gate.table(), Instant::now());
        }
    }

    fn take(&self, table: &LiveTable, now: Instant) {
        let generation = table.generation();
        let admitted = table.operation_counts().iter().map(|counts| counts.admitted).collect();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|sample| sample.generation != generation) {
            samples.clear();
        }
        samples.push_back(Sample { at: now, generation, admitted });
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// Admitted requests per minute since the oldest sample, by slot of the table, and the age of that sample. `None` without
    /// a sample of this table that is at least a second old.
    pub(super) fn per_minute(&self, table: &LiveTable, now: Instant) -> Option<(Vec<f64>, Duration)> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = samples.front().filter(|sample| sample.generation == table.generation())?;
        let window = now.saturating_duration_since(oldest.at);
        if window < Duration::from_secs(1) {
            return None;
        }
        let rate = |(counts, before): (crate::gate::OperationCounts, &u64)| {
            let per_minute = counts.admitted.saturating_sub(*before) as f64 * 60.0 / window.as_secs_f64();
            (per_minute * 10.0).round() / 10.0
        };
        Some((table.operation_counts().into_iter().zip(&oldest.admitted).map(rate).collect(), window))
    }
}
