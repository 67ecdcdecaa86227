//! Reads the gate for a scrape of the metrics.

use crate::gate::Gate;
use crate::policy::mode::{DrainOutcome, Mode, ModeSet, Phase, SchemaKnowledge};
use crate::policy::upstream_mode::UpstreamState;
use crate::telemetry::{GateSample, RecordSample};

/// The present state of the gate.
pub(super) fn sample(gate: &Gate) -> GateSample {
    let published = gate.published();
    let record = published.record.as_deref();
    let is_in_force = |mode| record.is_some_and(|record| record.mode == mode);
    let seconds = |time: jiff::Timestamp| time.as_second().cast_unsigned();
    let sets = ["production", "maintenance", "both"].into_iter().zip(ModeSet::ALL);
    let mut sample = GateSample {
        in_flight: sets.map(|(name, set)| (name, gate.in_flight(set))).collect(),
        modes: [Mode::Production, Mode::Maintenance].map(|mode| (mode.as_str(), is_in_force(mode))).to_vec(),
        is_switching: record.is_some_and(|record| record.phase == Phase::Switching),
        is_schema_undefined: published.schema == SchemaKnowledge::Undefined,
        upstream_states: UpstreamState::NAMES.map(|(state, name)| (name, state == published.upstream.state)).to_vec(),
        is_local_closed: published.local.is_some(),
        has_alarm: published.alarm.is_some(),
        record: record.map(|record| RecordSample {
            revision: record.revision,
            since: seconds(record.since),
            expires: record.expires.map(seconds),
            scheduled: record.scheduled.as_ref().map(|scheduled| seconds(scheduled.at)),
            drain: record.drain.map(DrainOutcome::as_str),
        }),
        ..GateSample::default()
    };
    for (_, counts) in gate.counts_of_all_tables() {
        *sample.class_in_flight.entry(counts.class.clone()).or_default() += counts.in_flight;
        *sample.abandoned.entry(counts.class).or_default() += counts.abandoned;
    }
    sample
}
