//! What a request is served with: its worker and its client's connection. Data, and the slots of a class; it serves nothing.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hyper::header::HeaderValue;
use tokio::sync::{mpsc, watch};

use super::class_limits::{ClassFull, ClassLimits, ClassPermit};
use super::client::ConnectionState;
use super::headers::{ForwardedInfo, RequestIds};
use super::recorder::RequestRecorder;
use super::refusal::cache::RefusalCache;
use super::settings::ProxySettings;
use super::upstream::exchange::{ClientTask, Exchanges};
use super::upstream::forward::Forwarder;
use super::upstream::pool::Pool;
use crate::access::Access;
use crate::control_handle::ControlHandle;
use crate::gate::{TableRef, WorkerGate};
use crate::http1::{Buffers, RequestHead};
use crate::telemetry::Metrics;

/// What the workers share besides the settings.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where changes are asked for.
    pub control_handle: ControlHandle,
    /// Who may ask.
    pub access: Arc<Access>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// How many requests of a class may be in flight.
    pub class_limits: Arc<ClassLimits>,
    /// How many connections each worker has.
    pub loads: Arc<[AtomicUsize]>,
    /// The way to hand a connection to each worker.
    pub handovers: Arc<[mpsc::UnboundedSender<(std::net::TcpStream, SocketAddr)>]>,
    /// Becomes true when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

/// What all connections of one worker use.
#[derive(Debug)]
pub struct Worker {
    /// The way through the gate.
    pub seat: WorkerGate,
    /// The way to UCS.
    pub forwarder: Forwarder,
    /// Counters and log.
    pub recorder: Rc<RequestRecorder>,
    /// Where changes are asked for.
    pub control_handle: ControlHandle,
    /// Who may ask.
    pub access: Arc<Access>,
    /// For messages on their way out.
    pub buffers: Rc<Buffers>,
    /// What refusals by the mode say.
    pub refusals: RefusalCache,
    /// Makes ids for requests that come without.
    pub request_ids: RequestIds,
    /// `Host` for requests that come without.
    pub upstream_host: HeaderValue,
    /// The time of day for answers that have none (RFC 9110, 5.6.7), at most a sweep old.
    pub date: RefCell<String>,
    metrics: Arc<Metrics>,
    class_limits: Arc<ClassLimits>,
    /// By class, of the table with this generation.
    class_slots: RefCell<(u32, Vec<ClassSlot>)>,
    no_class: usize,
}

/// Where the counts of a class are.
#[derive(Clone, Copy, Debug)]
struct ClassSlot {
    metrics: usize,
    position: Option<usize>,
}

/// One client's connection.
#[derive(Debug)]
pub struct Downstream {
    /// Its worker.
    pub worker: Rc<Worker>,
    /// The client.
    pub peer: SocketAddr,
    /// What the reader of its bytes has seen.
    pub state: Rc<ConnectionState>,
    /// What it adds to its requests.
    pub hop: ForwardedInfo,
    /// Whether the request that is being answered asks for a change: then it is not given up when the client leaves.
    pub mutating: Cell<bool>,
    /// The task that serves it.
    pub task: ClientTask,
}

/// One request, with its client's connection.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    /// The connection that it came on.
    pub downstream: &'a Rc<Downstream>,
    /// Its head.
    pub head: &'a RequestHead,
}

impl Worker {
    /// Puts the parts together, on the worker's own thread.
    pub fn new(
        index: usize,
        seat: WorkerGate,
        settings: &ProxySettings,
        shared: &Shared,
        recorder: RequestRecorder,
    ) -> Rc<Worker> {
        let pool = Pool::new(settings.upstream.clone(), settings.pool, Arc::clone(&recorder.metrics));
        let exchanges = Exchanges::new(settings.timeouts);
        let host = HeaderValue::from_str(&settings.upstream.authority);
        Rc::new(Worker {
            seat,
            forwarder: Forwarder { pool, exchanges, max_body: settings.max_body },
            recorder: Rc::new(recorder),
            control_handle: shared.control_handle.clone(),
            access: Arc::clone(&shared.access),
            buffers: Rc::default(),
            refusals: RefusalCache::default(),
            request_ids: RequestIds::new(random_prefix(index)),
            upstream_host: host.unwrap_or(HeaderValue::from_static("ucs")),
            date: RefCell::new(date_now()),
            metrics: Arc::clone(&shared.metrics),
            class_limits: Arc::clone(&shared.class_limits),
            class_slots: RefCell::new((0, Vec::new())),
            no_class: shared.metrics.class_slot("none"),
        })
    }

    /// The slot of a class in the metrics, looked up once a table.
    pub fn class_slot(&self, table: &TableRef, class: Option<usize>) -> usize {
        class.map_or(self.no_class, |class| self.slots_of(table, class).metrics)
    }

    /// A place for a request of the class; none is needed when the class has no limit.
    pub fn place(&self, table: &TableRef, class: Option<usize>) -> Result<Option<ClassPermit>, ClassFull> {
        let position = class.and_then(|class| self.slots_of(table, class).position);
        position.map(|position| self.class_limits.enter(position)).transpose()
    }

    fn slots_of(&self, table: &TableRef, class: usize) -> ClassSlot {
        let mut slots = self.class_slots.borrow_mut();
        if slots.0 != table.generation() {
            let classes = table.table().classes.iter();
            let slot =
                |name| ClassSlot { metrics: self.metrics.class_slot(name), position: self.class_limits.position(name) };
            *slots = (table.generation(), classes.map(|class| slot(&*class.name)).collect());
        }
        slots.1[class]
    }
}

/// RFC 9110, 5.6.7. A clock beyond the year 9999 has no such date.
pub(super) fn date_now() -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap_or_default()
}

fn random_prefix(index: usize) -> u64 {
    // Without the system's randomness ids are still unique within this process.
    getrandom::u64().unwrap_or(index as u64)
}
