//! The counters of the workers. Each worker writes its own, with plain loads and stores on its own cache lines; a scrape adds
//! them up. No counter is labelled by a path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::control::ControlStats;
use super::heartbeat::Heartbeat;

/// The number of class slots; the last slot is shared by all further classes.
pub(super) const CLASS_SLOTS: usize = 16;

/// The fixed slots; the others are assigned as tables name classes.
const FIRST_CLASSES: [&str; 5] = ["schema", "profile", "service", "server", "none"];

/// The name of the last slot.
const FURTHER_CLASSES: &str = "further";

/// Upper bounds of the latency buckets in microseconds: 0.5 ms to 60 s. A last bucket has no bound.
pub(super) const BUCKETS_MICROS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    15_000_000, 60_000_000,
];

/// The number of reasons of malformed messages that one worker counts apart.
const WIRE_FAULT_REASONS: usize = 64;

/// How long before its end a certificate is reported, in seconds.
const CERTIFICATE_WARNING: i64 = 14 * 24 * 60 * 60;

/// An enum whose variants are the values of a label, in the order of their slots.
macro_rules! labels {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            pub(crate) const ALL: [$name; [$($label),+].len()] = [$($name::$variant),+];

            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $label,)+
                }
            }
        }
    };
}

labels! {
    /// How a request ended.
    pub enum Outcome {
        /// Forwarded; UCS returned 2xx.
        Forwarded2xx = "forwarded_2xx",
        /// Forwarded; UCS returned 3xx.
        Forwarded3xx = "forwarded_3xx",
        /// Forwarded; UCS returned 4xx.
        Forwarded4xx = "forwarded_4xx",
        /// Forwarded; UCS returned 5xx, or an unknown kind of status.
        Forwarded5xx = "forwarded_5xx",
        /// Handled by the gateway itself: Set Server Mode, Query Server Status.
        Answered = "answered",
        /// 503: the mode does not admit it.
        RefusedMode = "refused_mode",
        /// 503: a flip is under way.
        RefusedSwitching = "refused_switching",
        /// 503: an operator closed this gateway alone.
        RefusedLocalClose = "refused_local_close",
        /// 404: UCS has no profile schema.
        RefusedNoSchema = "refused_no_profile_schema",
        /// 404, 405 or 501: no route matches.
        Unmatched = "unmatched",
        /// 400: the path or the message is malformed or ambiguous.
        BadRequest = "bad_request",
        /// 401.
        Unauthorized = "unauthorized",
        /// 403.
        Forbidden = "forbidden",
        /// 503: a limit on concurrency was reached.
        Overload = "overload",
        /// 502: UCS cannot be reached.
        UpstreamUnreachable = "upstream_unreachable",
        /// 502: UCS's response is malformed or incomplete.
        UpstreamBroken = "upstream_broken",
        /// 504: UCS did not respond in time.
        UpstreamTimeout = "upstream_timeout",
        /// 408: the client did not send in time.
        ClientTimeout = "client_timeout",
        /// 413, 414 or 431: a size limit was exceeded.
        TooLarge = "too_large",
        /// The client disconnected before the response.
        ClientGone = "client_gone",
        /// Aborted by a flip because its client was too slow.
        DrainClientTimeout = "drain_client_timeout",
        /// Aborted by a flip with `on_timeout: cut`.
        Cut = "cut",
    }
}

impl Outcome {
    /// The outcome of a forwarded request by UCS's status.
    pub(crate) fn forwarded(status: u16) -> Outcome {
        match status {
            100..=299 => Outcome::Forwarded2xx,
            300..=399 => Outcome::Forwarded3xx,
            400..=499 => Outcome::Forwarded4xx,
            _ => Outcome::Forwarded5xx,
        }
    }
}

labels! {
    /// How an exchange with UCS failed.
    pub enum UpstreamFault {
        /// No connection: refused, unreachable, name not resolved, TLS failed.
        Connect = "connect",
        /// No connection in time.
        ConnectTimeout = "connect_timeout",
        /// No first byte of the response in time.
        FirstByteTimeout = "first_byte_timeout",
        /// The body stalled for too long.
        IdleBodyTimeout = "idle_body_timeout",
        /// The connection closed during an exchange.
        Closed = "closed",
        /// The response is malformed.
        Malformed = "malformed",
        /// No free connection in the pool in time.
        PoolFull = "pool_full",
    }
}

labels! {
    /// How a client's TLS handshake ended.
    pub enum Handshake {
        /// It completed.
        Completed = "completed",
        /// The client spoke plain HTTP.
        PlainHttp = "plain_http",
        /// The client's certificate is missing or was not accepted.
        Certificate = "certificate",
        /// No common version or cipher, or no TLS at all.
        Protocol = "protocol",
        /// The client ended the connection.
        Closed = "closed",
        /// It took too long.
        TimedOut = "timeout",
    }
}

/// All counters of the process.
#[derive(Debug)]
pub struct Metrics {
    workers: Box<[Arc<WorkerMetrics>]>,
    classes: Mutex<Vec<Arc<str>>>,
    pub(crate) control: Arc<ControlStats>,
    /// Runs of the program of `--on-change` that ended with exit code 0.
    pub(crate) on_change_ok: AtomicU64,
    /// Runs that did not, or did not begin.
    pub(crate) on_change_failed: AtomicU64,
    certificates: Mutex<Vec<Certificate>>,
}

/// A certificate, which is replaced under the running gateway.
struct Certificate {
    name: &'static str,
    end: Box<dyn Fn() -> Option<i64> + Send + Sync>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.name).finish()
    }
}

/// A count with one writer, so an addition is a load and a store.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one worker. Only that worker writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerMetrics {
    pub(super) classes: [ClassCounters; CLASS_SLOTS],
    pub(crate) connections_opened: Count,
    pub(crate) connections_reused: Count,
    pub(crate) retries: Count,
    pub(crate) bypassed: Count,
    pub(super) upstream_faults: [Count; UpstreamFault::ALL.len()],
    pub(crate) client_connections: Count,
    pub(crate) client_connections_closed: Count,
    pub(crate) client_connections_refused: Count,
    pub(super) handshakes: [Count; Handshake::ALL.len()],
    alive: Heartbeat,
    /// Off the fast path, so a lock, shared with scrapes only, is cheap enough.
    wire_faults: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Default)]
pub(super) struct ClassCounters {
    pub(super) outcomes: [Count; Outcome::ALL.len()],
    pub(super) buckets: [Count; BUCKETS_MICROS.len() + 1],
    pub(super) sum_micros: Count,
}

impl Metrics {
    /// Counters for this number of workers.
    pub fn new(workers: usize, control: Arc<ControlStats>) -> Arc<Metrics> {
        Arc::new(Metrics {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            classes: Mutex::new(FIRST_CLASSES.map(Arc::from).to_vec()),
            control,
            on_change_ok: AtomicU64::new(0),
            on_change_failed: AtomicU64::new(0),
            certificates: Mutex::default(),
        })
    }

    /// The counters of one worker.
    pub(crate) fn worker(&self, worker: usize) -> Arc<WorkerMetrics> {
        Arc::clone(&self.workers[worker])
    }

    /// The slot of a class, by name: the same for every table. `none` is for requests without a class. Called once per table,
    /// not per request.
    pub(crate) fn class_slot(&self, name: &str) -> usize {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = classes.iter().position(|class| &**class == name) {
            return slot;
        }
        if classes.len() >= CLASS_SLOTS - 1 {
            return CLASS_SLOTS - 1;
        }
        classes.push(Arc::from(name));
        classes.len() - 1
    }

    /// The workers without a sign of life for longer than `limit`.
    pub(crate) fn silent_workers(&self, limit: Duration) -> Vec<usize> {
        let workers = self.workers.iter().enumerate();
        workers.filter(|(_, worker)| worker.alive.silent_for() > limit).map(|(index, _)| index).collect()
    }

    /// Shows a certificate, by its name and a function that returns its end in seconds since 1970.
    pub(crate) fn add_certificate(&self, name: &'static str, end: impl Fn() -> Option<i64> + Send + Sync + 'static) {
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.push(Certificate { name, end: Box::new(end) });
    }

    /// The certificates in force, with their ends in seconds since 1970.
    pub(crate) fn certificate_ends(&self) -> Vec<(&'static str, i64)> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.iter().filter_map(|certificate| Some((certificate.name, (certificate.end)()?))).collect()
    }

    /// The certificates that have expired or will soon, with their ends.
    pub(crate) fn expiring_certificates(&self) -> Vec<(&'static str, jiff::Timestamp)> {
        let soon = jiff::Timestamp::now().as_second() + CERTIFICATE_WARNING;
        let ends = self.certificate_ends().into_iter().filter(|(_, end)| *end < soon);
        ends.map(|(name, end)| (name, jiff::Timestamp::from_second(end).unwrap_or(jiff::Timestamp::MAX))).collect()
    }

    pub(super) fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
    }

    /// The names of the slots in use.
    pub(super) fn class_names(&self) -> Vec<(usize, Arc<str>)> {
        let classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = classes.iter().cloned().enumerate().collect();
        if names.len() == CLASS_SLOTS - 1 {
            names.push((CLASS_SLOTS - 1, Arc::from(FURTHER_CLASSES)));
        }
        names
    }
}

impl WorkerMetrics {
    /// Records a sign of life.
    pub(crate) fn note_alive(&self) {
        self.alive.beat();
    }

    /// Counts a completed request. `class_slot` is from [`Metrics::class_slot`].
    pub(crate) fn record(&self, class_slot: usize, outcome: Outcome, elapsed: Duration) {
        let class = &self.classes[class_slot.min(CLASS_SLOTS - 1)];
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS_MICROS.len());
        class.outcomes[outcome as usize].add(1);
        class.buckets[bucket].add(1);
        class.sum_micros.add(micros);
    }

    /// Counts a failed exchange.
    pub(crate) fn upstream_failed(&self, fault: UpstreamFault) {
        self.upstream_faults[fault as usize].add(1);
    }

    /// Counts a TLS handshake, by its outcome.
    pub(crate) fn handshake(&self, outcome: Handshake) {
        self.handshakes[outcome as usize].add(1);
    }

    /// Counts a malformed message, by its reason.
    pub(crate) fn wire_fault(&self, reason: &'static str) {
        let mut faults = self.wire_faults.lock().unwrap_or_else(PoisonError::into_inner);
        let full = faults.len() >= WIRE_FAULT_REASONS && !faults.contains_key(reason);
        *faults.entry(if full { "further" } else { reason }).or_default() += 1;
    }

    pub(super) fn wire_faults(&self) -> BTreeMap<&'static str, u64> {
        self.wire_faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_and_fault_has_its_slot_and_name() {
        for (slot, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, slot);
            assert_eq!(Outcome::ALL.iter().filter(|other| other.as_str() == outcome.as_str()).count(), 1);
        }
        for (slot, fault) in UpstreamFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, slot);
        }
    }

    #[test]
    fn classes_keep_their_slot_and_too_many_share_the_last() {
        let metrics = Metrics::new(1, Arc::default());
        assert_eq!((metrics.class_slot("schema"), metrics.class_slot("none")), (0, 4));
        let slots: Vec<usize> = (0..20).map(|number| metrics.class_slot(&format!("class{number}"))).collect();
        assert_eq!((slots[0], slots[9], slots[10], slots[19]), (5, 14, 15, 15));
        assert_eq!(metrics.class_slot("class3"), slots[3]);
        assert_eq!(metrics.class_names().last().map(|(slot, name)| (*slot, &**name)), Some((15, "further")));
    }
}
