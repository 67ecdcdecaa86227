//! The metrics as OpenMetrics text: a collector that reads the counters at scrape time. It keeps no state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::gate::GateSample;
use super::metrics::{BUCKETS_MICROS, Count, Handshake, Metrics, Outcome, UpstreamFault, WorkerMetrics};
use super::{STDERR, STDOUT, process};

impl Metrics {
    /// The content type of [`render`](Self::render).
    pub(crate) const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All metrics as OpenMetrics text, with the state of the gate as the caller read it.
    pub fn render(self: &Arc<Self>, gate: GateSample) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        let scrape = Scrape { metrics: Arc::clone(self), gate };
        registry.register_collector(Box::new(scrape));
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    gate: GateSample,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.requests(&mut encoder)?;
        self.durations(&mut encoder)?;
        self.in_flight(&mut encoder)?;
        self.mode(&mut encoder)?;
        self.fleet(&mut encoder)?;
        self.connections(&mut encoder)?;
        self.control(&mut encoder)?;
        self.certificates(&mut encoder)?;
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
                // All series would be 320 lines of zeroes; these two are shown from the start.
                if count > 0 || matches!(outcome, Outcome::Forwarded2xx | Outcome::RefusedMode) {
                    counts.push((vec![("class", &**class), ("outcome", outcome.as_str())], count));
                }
            }
        }
        counters(encoder, "ucs_gateway_requests", "Completed requests, by class and outcome", &counts)
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
        let by_set: Vec<_> = self.gate.in_flight.iter().map(|(set, count)| (vec![("set", *set)], *count)).collect();
        let help = "Admitted requests whose exchange is not over, by the modes that admit them";
        gauges(encoder, "ucs_gateway_in_flight", help, &by_set)?;
        let help = "Admitted requests whose exchange is not over, by class";
        gauges(encoder, "ucs_gateway_class_in_flight", help, &by_name("class", &self.gate.class_in_flight))?;
        let help = "Exchanges that the gateway abandoned, by class";
        gauges(encoder, "ucs_gateway_abandoned", help, &by_name("class", &self.gate.abandoned))
    }

    fn mode(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let GateSample { modes, is_switching, is_schema_undefined, upstream_states, .. } = &self.gate;
        let GateSample { is_local_closed, has_alarm, has_access_fault, record, .. } = &self.gate;
        let modes = one_hot("mode", modes);
        gauges(encoder, "ucs_gateway_mode", "1 for the mode in force; while switching, for the target", &modes)?;
        let help = "1 for how UCS's own mode compares with the mode in force";
        gauges(encoder, "ucs_gateway_upstream_state", help, &one_hot("state", upstream_states))?;
        for (name, help, holds) in [
            ("ucs_gateway_mode_switching", "1 while a flip is under way", is_switching),
            ("ucs_gateway_schema_undefined", "1 when UCS has no profile schema", is_schema_undefined),
            ("ucs_gateway_local_closed", "1 when an operator has closed this gateway alone", is_local_closed),
            ("ucs_gateway_alarm", "1 when an operator must act; /readyz has the reason", has_alarm),
            ("ucs_gateway_access_fault", "Whether the last reading of access.yaml failed", has_access_fault),
        ] {
            gauge(encoder, name, help, u64::from(*holds))?;
        }
        let help = "1 for each file whose last reading failed; what was read before is in force";
        gauges(encoder, "ucs_gateway_file_fault", help, &one_hot("file", &self.gate.file_faults))?;
        let Some(record) = record else { return Ok(()) };
        gauge(encoder, "ucs_gateway_mode_revision", "Revision of the record in force", record.revision)?;
        let help = "When the mode or this flip began";
        gauge(encoder, "ucs_gateway_mode_since_timestamp_seconds", help, record.since)?;
        let outcomes = ["complete", "assumed", "forced"];
        let drains = outcomes.map(|outcome| (vec![("drain", outcome)], u64::from(record.drain == Some(outcome))));
        gauges(encoder, "ucs_gateway_mode_drain", "1 for how the mode was drained; 0 while switching", &drains)?;
        if let Some(expires) = record.expires {
            let help = "When the mode ends by itself; absent when it does not";
            gauge(encoder, "ucs_gateway_mode_expires_timestamp_seconds", help, expires)?;
        }
        let Some(scheduled) = record.scheduled else { return Ok(()) };
        let help = "When the scheduled flip begins; absent when there is none";
        gauge(encoder, "ucs_gateway_mode_scheduled_timestamp_seconds", help, scheduled)
    }

    fn fleet(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some(fleet) = &self.gate.fleet else { return Ok(()) };
        let members: Vec<_> = fleet.members.iter().map(|(state, count)| (vec![("state", *state)], *count)).collect();
        gauges(encoder, "ucs_gateway_fleet_members", "Members of the fleet by state; see GET /fleet", &members)?;
        let help = "1 when the fleet's store responded to the last read";
        gauge(encoder, "ucs_gateway_fleet_store_reachable", help, u64::from(fleet.is_store_reachable))?;
        let help = "When the fleet's store was last read";
        gauge(encoder, "ucs_gateway_fleet_read_timestamp_seconds", help, fleet.read_at)?;
        let help = "1 when members have had different route tables for more than 60 s";
        gauge(encoder, "ucs_gateway_fleet_routes_differ", help, u64::from(fleet.routes_differ))?;
        let help = "1 when the store holds a copy that was made for another etcd";
        gauge(encoder, "ucs_gateway_fleet_store_foreign", help, u64::from(!fleet.is_home))
    }

    fn connections(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let faults: Vec<_> = UpstreamFault::ALL
            .map(|fault| (vec![("kind", fault.as_str())], self.sum(|worker| &worker.upstream_faults[fault as usize])))
            .to_vec();
        counters(encoder, "ucs_gateway_upstream_errors", "Failed exchanges with UCS, by kind", &faults)?;
        let total = self.sum(|worker| &worker.client_connections);
        let open = total.saturating_sub(self.sum(|worker| &worker.client_connections_closed));
        let [opened, reused] =
            [self.sum(|worker| &worker.connections_opened), self.sum(|worker| &worker.connections_reused)];
        for (name, help, count) in [
            ("ucs_gateway_upstream_connections_opened", "Connections opened to UCS", opened),
            ("ucs_gateway_upstream_connections_reused", "Exchanges on a pooled connection", reused),
            ("ucs_gateway_upstream_retries", "Exchanges that were retried", self.sum(|worker| &worker.retries)),
            (
                "ucs_gateway_bypassed",
                "Requests that principals sent past the mode",
                self.sum(|worker| &worker.bypassed),
            ),
            ("ucs_gateway_client_connections", "Client connections accepted", total),
        ] {
            counter(encoder, name, help, count)?;
        }
        gauge(encoder, "ucs_gateway_client_connections_open", "Client connections open now", open)?;
        let refused = self.sum(|worker| &worker.client_connections_refused);
        let help = "Client connections closed at once because of the connection limit";
        counter(encoder, "ucs_gateway_client_connections_refused", help, refused)?;
        let handshakes: Vec<_> = Handshake::ALL
            .map(|outcome| {
                (vec![("outcome", outcome.as_str())], self.sum(|worker| &worker.handshakes[outcome as usize]))
            })
            .to_vec();
        counters(encoder, "ucs_gateway_tls_handshakes", "TLS handshakes of clients, by outcome", &handshakes)?;
        let mut wire: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (reason, count) in self.metrics.workers().iter().flat_map(|worker| worker.wire_faults()) {
            *wire.entry(reason).or_default() += count;
        }
        let help = "Malformed messages of clients, by reason";
        counters(encoder, "ucs_gateway_wire_faults", help, &by_name("reason", &wire))
    }

    fn certificates(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let ends: Vec<_> = self.metrics.certificate_ends();
        let ends: Vec<_> = ends.into_iter().map(|(name, end)| (vec![("certificate", name)], end)).collect();
        let help = "When a certificate ends; absent when there is none";
        gauges(encoder, "ucs_gateway_certificate_end_timestamp_seconds", help, &ends)
    }

    fn control(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let control = &self.metrics.control;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let flips: Vec<_> = control.changes().map(|(outcome, count)| (vec![("outcome", outcome)], count)).collect();
        counters(encoder, "ucs_gateway_flips", "Requested changes of the mode, by outcome", &flips)?;
        let outcomes = |good, bad| [(vec![("outcome", "ok")], read(good)), (vec![("outcome", "error")], read(bad))];
        let save_errors = [(Vec::new(), read(&control.save_errors))];
        counters(encoder, "ucs_gateway_record_save_errors", "Failed saves of the mode record", &save_errors)?;
        let reloads = outcomes(&control.reloads_ok, &control.reloads_failed);
        counters(encoder, "ucs_gateway_reload", "Reloads of the route table, by outcome", &reloads)?;
        let runs = outcomes(&self.metrics.on_change_ok, &self.metrics.on_change_failed);
        counters(encoder, "ucs_gateway_on_change", "Runs of the program of --on-change, by outcome", &runs)?;
        let probes = [
            (vec![("found", "defined")], read(&control.probes_defined)),
            (vec![("found", "undefined")], read(&control.probes_undefined)),
            (vec![("found", "unknown")], read(&control.probes_unknown)),
        ];
        counters(encoder, "ucs_gateway_schema_probes", "Probes of the profile schema, by result", &probes)?;
        let upstream = [
            (vec![("event", "poll_error")], read(&control.upstream_poll_errors)),
            (vec![("event", "set_back")], read(&control.upstream_set_back)),
        ];
        counters(encoder, "ucs_gateway_upstream_mode_events", "Events of UCS's own mode", &upstream)?;
        let help = "When the table in force was read";
        let last = u64::try_from(control.last_reload_time.load(Ordering::Relaxed)).unwrap_or_default();
        gauge(encoder, "ucs_gateway_reload_last_success_timestamp_seconds", help, last)
    }

    fn sum(&self, count: impl Fn(&WorkerMetrics) -> &Count) -> u64 {
        self.metrics.workers().iter().map(|worker| count(worker).get()).sum()
    }
}

fn logs(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let dropped = [&STDERR, &STDOUT].map(|queue| (vec![("stream", queue.name())], queue.dropped()));
    let help = "Log lines that could not be written or were not read fast enough, by stream";
    counters(encoder, "ucs_gateway_log_lines_dropped", help, &dropped)
}

fn build(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let labels: Labels = vec![("version", env!("CARGO_PKG_VERSION")), ("commit", env!("UCS_GATEWAY_COMMIT"))];
    encoder.encode_descriptor("ucs_gateway_build", "This build", None, MetricType::Info)?.encode_info(&labels)
}

fn process_facts(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let Some(facts) = process::read() else { return Ok(()) };
    gauge(encoder, "process_resident_memory_bytes", "Resident memory", facts.resident_bytes)?;
    gauge(encoder, "process_open_fds", "Open file descriptors", facts.open_files)?;
    gauge(encoder, "process_start_time_seconds", "When the process started", facts.started)?;
    let name = "process_cpu_seconds";
    encoder
        .encode_descriptor(name, "User and system time so far", None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, f64, f64>(&facts.cpu_seconds, None)
}

/// A gauge for each name: 1 for the present one.
fn one_hot(label: &'static str, names: &[(&'static str, bool)]) -> Vec<(Vec<(&'static str, &'static str)>, u64)> {
    names.iter().map(|(name, is_present)| (vec![(label, *name)], u64::from(*is_present))).collect()
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

fn gauges<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: &[(Labels, V)],
) -> fmt::Result {
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

    #[test]
    fn what_was_recorded_is_shown_once_and_summed_over_workers() {
        let gate = GateSample {
            in_flight: vec![("both", 3)],
            class_in_flight: BTreeMap::from([("profile".into(), 3)]),
            modes: vec![("production", true), ("maintenance", false)],
            ..GateSample::default()
        };
        let metrics = Metrics::new(2, Arc::default());
        let profile = metrics.class_slot("profile");
        metrics.worker(0).record(profile, Outcome::RefusedMode, Duration::from_micros(400));
        metrics.worker(1).record(profile, Outcome::RefusedMode, Duration::from_secs(90));
        metrics.worker(1).wire_fault("bare_lf");
        metrics.worker(1).upstream_failed(UpstreamFault::ConnectTimeout);
        metrics.control.reloads_ok.fetch_add(1, Ordering::Relaxed);
        let text = metrics.render(gate).unwrap();
        for line in [
            "ucs_gateway_requests_total{class=\"profile\",outcome=\"refused_mode\"} 2",
            "ucs_gateway_request_duration_seconds_count{class=\"profile\"} 2",
            "ucs_gateway_request_duration_seconds_bucket{le=\"0.0005\",class=\"profile\"} 1",
            "ucs_gateway_request_duration_seconds_bucket{le=\"60.0\",class=\"profile\"} 1",
            "ucs_gateway_request_duration_seconds_bucket{le=\"+Inf\",class=\"profile\"} 2",
            "ucs_gateway_in_flight{set=\"both\"} 3",
            "ucs_gateway_class_in_flight{class=\"profile\"} 3",
            "ucs_gateway_mode{mode=\"production\"} 1",
            "ucs_gateway_mode{mode=\"maintenance\"} 0",
            "ucs_gateway_upstream_errors_total{kind=\"connect_timeout\"} 1",
            "ucs_gateway_wire_faults_total{reason=\"bare_lf\"} 1",
            "ucs_gateway_reload_total{outcome=\"ok\"} 1",
            "ucs_gateway_alarm 0",
        ] {
            assert_eq!(text.lines().filter(|shown| *shown == line).count(), 1, "{line}\nin\n{text}");
        }
        let build = concat!(
            "ucs_gateway_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\",commit=\"",
            env!("UCS_GATEWAY_COMMIT"),
            "\"} 1"
        );
        assert!(text.contains(build), "{build} is not in\n{text}");
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
