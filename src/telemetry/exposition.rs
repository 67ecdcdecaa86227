//! The counters as OpenMetrics text: a collector that reads the gate and the workers at scrape time. It keeps no state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{BUCKETS_MICROS, Metrics, Outcome, UpstreamFault, WorkerMetrics};
use super::{STDERR, STDOUT, process};
use crate::gate::Gate;
use crate::policy::mode::{Mode, ModeSet, Phase, SchemaKnowledge};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// The content type of [`render`](Self::render).
    pub const CONTENT_TYPE: &'static str = CONTENT_TYPE;

    /// All metrics as OpenMetrics text.
    pub fn render(self: &Arc<Self>, gate: &Arc<Gate>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        let scrape = Scrape { metrics: Arc::clone(self), gate: Arc::clone(gate) };
        registry.register_collector(Box::new(scrape));
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.requests(&mut encoder)?;
        self.durations(&mut encoder)?;
        self.in_flight(&mut encoder)?;
        self.mode(&mut encoder)?;
        self.connections(&mut encoder)?;
        self.control(&mut encoder)?;
        logs(&mut encoder)?;
        build(&mut encoder)?;
        process_facts(&mut encoder)
    }
}

impl Scrape {
    fn requests(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let names = self.metrics.class_names();
        let mut counts = Vec::new();
        for (slot, class) in &names {
            for outcome in Outcome::ALL {
                let count = self.sum(|worker| &worker.classes[*slot].outcomes[outcome as usize]);
                // Series that never counted anything would be 320 lines of zeroes; these two are wanted from the start.
                if count > 0 || matches!(outcome, Outcome::Forwarded2xx | Outcome::RefusedMode) {
                    counts.push((vec![("class", &**class), ("outcome", outcome.as_str())], count));
                }
            }
        }
        counters(encoder, "ucs_gateway_requests", "Requests that ended, by class and outcome", &counts)
    }

    fn durations(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let name = "ucs_gateway_request_duration_seconds";
        let help = "From the request's head to the end of its exchange";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (slot, class) in self.metrics.class_names() {
            let bounds = BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
            let count = |bucket: usize| self.sum(|worker| &worker.classes[slot].buckets[bucket]);
            let buckets: Vec<(f64, u64)> = bounds.enumerate().map(|(bucket, bound)| (bound, count(bucket))).collect();
            let total = buckets.iter().map(|(_, count)| count).sum();
            let seconds = self.sum(|worker| &worker.classes[slot].sum_micros) as f64 / 1e6;
            let labels: Labels = vec![("class", &class)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds, total, &buckets, None)?;
        }
        Ok(())
    }

    fn in_flight(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let sets = ["production", "maintenance", "both"].into_iter().zip(ModeSet::ALL);
        let by_set: Vec<_> = sets.map(|(name, set)| (vec![("set", name)], self.gate.in_flight(set))).collect();
        let help = "Admitted requests whose exchange is not over, by the modes that admit them";
        gauges(encoder, "ucs_gateway_in_flight", help, &by_set)?;
        let mut by_class: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut abandoned: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (_, tally) in self.gate.tallies_of_all_tables() {
            *by_class.entry(Arc::clone(&tally.class)).or_default() += tally.in_flight;
            *abandoned.entry(tally.class).or_default() += tally.abandoned;
        }
        let help = "Admitted requests whose exchange is not over, by class";
        gauges(encoder, "ucs_gateway_class_in_flight", help, &by_name("class", &by_class))?;
        let help = "Exchanges that the gateway gave up on, by class";
        gauges(encoder, "ucs_gateway_abandoned", help, &by_name("class", &abandoned))
    }

    fn mode(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let published = self.gate.published();
        let record = published.record.as_deref();
        let is = |mode| u64::from(record.is_some_and(|record| record.mode == mode));
        let modes: Vec<_> =
            [Mode::Production, Mode::Maintenance].map(|mode| (vec![("mode", mode.as_str())], is(mode))).to_vec();
        gauges(encoder, "ucs_gateway_mode", "1 for the mode in force; while switching, for the target", &modes)?;
        let switching = record.is_some_and(|record| record.phase == Phase::Switching);
        gauge(encoder, "ucs_gateway_mode_switching", "1 while a flip is under way", u64::from(switching))?;
        let known = SchemaKnowledge::Undefined == published.schema;
        gauge(encoder, "ucs_gateway_schema_undefined", "1 when UCS has no profile schema", u64::from(known))?;
        let alarm = u64::from(published.alarm.is_some());
        gauge(encoder, "ucs_gateway_alarm", "1 when an operator must look; /readyz says at what", alarm)?;
        let Some(record) = record else { return Ok(()) };
        gauge(encoder, "ucs_gateway_mode_revision", "Revision of the record in force", record.revision)?;
        let since = record.since.as_second().cast_unsigned();
        gauge(encoder, "ucs_gateway_mode_since_timestamp_seconds", "When the mode or this flip began", since)?;
        if let Some(expires) = record.expires {
            let help = "When the mode ends by itself; absent when it does not";
            let expires = expires.as_second().cast_unsigned();
            gauge(encoder, "ucs_gateway_mode_expires_timestamp_seconds", help, expires)?;
        }
        Ok(())
    }

    fn connections(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let faults: Vec<_> = UpstreamFault::ALL
            .map(|fault| (vec![("kind", fault.as_str())], self.sum(|worker| &worker.upstream_faults[fault as usize])))
            .to_vec();
        counters(encoder, "ucs_gateway_upstream_errors", "Exchanges with UCS that failed, by kind", &faults)?;
        let opened = self.sum(|worker| &worker.connections_opened);
        counter(encoder, "ucs_gateway_upstream_connections_opened", "Connections opened to UCS", opened)?;
        let reused = self.sum(|worker| &worker.connections_reused);
        counter(encoder, "ucs_gateway_upstream_connections_reused", "Exchanges on a pooled connection", reused)?;
        let retries = self.sum(|worker| &worker.retries);
        counter(encoder, "ucs_gateway_upstream_retries", "Exchanges that were tried again", retries)?;
        let total = self.sum(|worker| &worker.client_connections);
        let open = total.saturating_sub(self.sum(|worker| &worker.client_connections_closed));
        counter(encoder, "ucs_gateway_client_connections", "Connections of clients accepted", total)?;
        gauge(encoder, "ucs_gateway_client_connections_open", "Connections of clients open now", open)?;
        let refused = self.sum(|worker| &worker.client_connections_refused);
        let help = "Connections of clients closed at once, as there were as many as allowed";
        counter(encoder, "ucs_gateway_client_connections_refused", help, refused)?;
        let mut wire: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (reason, count) in self.metrics.workers().iter().flat_map(|worker| worker.wire_faults()) {
            *wire.entry(reason).or_default() += count;
        }
        let help = "Messages of clients that break a rule of HTTP, by reason";
        counters(encoder, "ucs_gateway_wire_faults", help, &by_name("reason", &wire))
    }

    fn control(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let control = &self.metrics.control;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let flips: Vec<_> = control.changes().map(|(outcome, count)| (vec![("outcome", outcome)], count)).collect();
        counters(encoder, "ucs_gateway_flips", "Changes of the mode that were asked for, by outcome", &flips)?;
        let outcomes = |good, bad| [(vec![("outcome", "ok")], read(good)), (vec![("outcome", "error")], read(bad))];
        let save_errors = [(Vec::new(), read(&control.save_errors))];
        counters(encoder, "ucs_gateway_record_save_errors", "Saves of the record that failed", &save_errors)?;
        let reloads = outcomes(&control.reloads_ok, &control.reloads_failed);
        counters(encoder, "ucs_gateway_reload", "Reloads of the route table, by outcome", &reloads)?;
        let probes = [
            (vec![("found", "defined")], read(&control.probes_defined)),
            (vec![("found", "undefined")], read(&control.probes_undefined)),
            (vec![("found", "unknown")], read(&control.probes_unknown)),
        ];
        counters(encoder, "ucs_gateway_schema_probes", "Probes of the profile schema, by what they found", &probes)?;
        let upstream = [
            (vec![("event", "poll_error")], read(&control.upstream_poll_errors)),
            (vec![("event", "set_back")], read(&control.upstream_set_back)),
        ];
        counters(encoder, "ucs_gateway_upstream_mode_events", "What happened with UCS's own mode", &upstream)?;
        let help = "When the table in force was read";
        let last = u64::try_from(control.last_reload_time.load(Ordering::Relaxed)).unwrap_or_default();
        gauge(encoder, "ucs_gateway_reload_last_success_timestamp_seconds", help, last)
    }

    fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
        self.metrics.workers().iter().map(|worker| counter(worker).load(Ordering::Relaxed)).sum()
    }
}

fn logs(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let dropped = [&STDERR, &STDOUT].map(|queue| (vec![("stream", queue.name())], queue.dropped()));
    let help = "Log lines that could not be written or were not read fast enough, by stream";
    counters(encoder, "ucs_gateway_log_lines_dropped", help, &dropped)
}

fn build(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let labels: Labels = vec![("version", env!("CARGO_PKG_VERSION"))];
    encoder.encode_descriptor("ucs_gateway_build", "This build", None, MetricType::Info)?.encode_info(&labels)
}

fn process_facts(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let Some(facts) = process::look() else { return Ok(()) };
    gauge(encoder, "process_resident_memory_bytes", "Resident memory", facts.resident_bytes)?;
    gauge(encoder, "process_open_fds", "Open file descriptors", facts.open_files)?;
    gauge(encoder, "process_start_time_seconds", "When the process started", facts.started)?;
    let name = "process_cpu_seconds";
    encoder
        .encode_descriptor(name, "User and system time so far", None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, f64, f64>(&facts.cpu_seconds, None)
}

fn by_name<'a, N: AsRef<str>>(label: &'static str, counts: &'a BTreeMap<N, u64>) -> Vec<(Labels<'a>, u64)> {
    counts.iter().map(|(name, count)| (vec![(label, name.as_ref())], *count)).collect()
}

fn counter(encoder: &mut DescriptorEncoder, name: &str, help: &str, count: u64) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    encode_count(&mut metric, count)
}

fn counters(encoder: &mut DescriptorEncoder, name: &str, help: &str, counts: &[(Labels, u64)]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        encode_count(&mut family.encode_family(labels)?, *count)?;
    }
    Ok(())
}

fn encode_count(metric: &mut MetricEncoder, count: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&count, None)
}

fn gauge<V: EncodeGaugeValue>(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: V) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn gauges(encoder: &mut DescriptorEncoder, name: &str, help: &str, values: &[(Labels, u64)]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        family.encode_family(labels)?.encode_gauge(value)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::table::{Class, RouteTable, RouteTableParts, Unmatched};

    #[test]
    fn what_was_recorded_is_shown_once_and_summed_over_workers() {
        let table = RouteTable::compile(RouteTableParts {
            base_path: "".into(),
            classes: vec![Class { name: "profile".into(), modes: ModeSet::Production }],
            routes: Vec::new(),
            unmatched: Unmatched::NotFound,
            answers: Vec::new(),
        });
        let gate = Gate::new(2, table.unwrap());
        let metrics = Metrics::new(2, Arc::default());
        let profile = metrics.class_slot("profile");
        metrics.worker(0).record(profile, Outcome::RefusedMode, Duration::from_micros(400));
        metrics.worker(1).record(profile, Outcome::RefusedMode, Duration::from_secs(90));
        metrics.worker(1).wire_fault("bare_lf");
        metrics.worker(1).upstream_failed(UpstreamFault::ConnectTimeout);
        metrics.control.reloads_ok.fetch_add(1, Ordering::Relaxed);
        let text = metrics.render(&gate).unwrap();
        for line in [
            "ucs_gateway_requests_total{class=\"profile\",outcome=\"refused_mode\"} 2",
            "ucs_gateway_request_duration_seconds_count{class=\"profile\"} 2",
            "ucs_gateway_request_duration_seconds_bucket{le=\"0.0005\",class=\"profile\"} 1",
            "ucs_gateway_request_duration_seconds_bucket{le=\"60.0\",class=\"profile\"} 1",
            "ucs_gateway_request_duration_seconds_bucket{le=\"+Inf\",class=\"profile\"} 2",
            "ucs_gateway_in_flight{set=\"both\"} 0",
            "ucs_gateway_mode{mode=\"production\"} 0",
            "ucs_gateway_upstream_errors_total{kind=\"connect_timeout\"} 1",
            "ucs_gateway_wire_faults_total{reason=\"bare_lf\"} 1",
            "ucs_gateway_reload_total{outcome=\"ok\"} 1",
            "ucs_gateway_alarm 0",
        ] {
            assert_eq!(text.lines().filter(|shown| *shown == line).count(), 1, "{line}\nin\n{text}");
        }
        assert!(text.contains("ucs_gateway_build_info{version="), "{text}");
        assert!(!text.contains("ucs_gateway_mode_revision"), "no revision before the first record");
        assert!(text.ends_with("# EOF\n"));
        let types = text.lines().filter(|line| line.starts_with("# TYPE"));
        let mut names: Vec<_> = types.collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "every family is described once");
    }
}
