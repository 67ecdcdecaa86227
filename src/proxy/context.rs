//! The context of a request: its worker, its client's connection or stream, and its head. Data only; it serves nothing.

use std::cell::{Cell, Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use tokio::sync::{mpsc, watch};

use super::class_limits::{ClassFull, ClassLimits, ClassPermit};
use super::client::ConnectionState;
use super::headers::{ForwardedInfo, Received, RequestIds, TrustedProxies};
use super::origins::AllowedOrigins;
use super::recorder::RequestRecorder;
use super::refusal::Refusal;
use super::refusal::cache::RefusalCache;
use super::refusal::log::RefusalLog;
use super::settings::ProxySettings;
use super::stop::Stop;
use super::upstream::error::ForwardError;
use super::upstream::exchange::{ClientTask, Exchanges};
use super::upstream::forward::Forwarder;
use super::upstream::pool::Pool;
use super::upstream::source::Source;
use crate::access::{Access, AccessError, Principal};
use crate::control_handle::ControlHandle;
use crate::gate::{TableRef, WorkerGate};
use crate::http1::{Buffers, Fields, HeadLimits, RequestHead};
use crate::telemetry::Metrics;
use crate::transport::{Handover, Peer, SocketOrigin, TlsServer};

/// The shortest delay of a rejection for too many failed attempts. Thousands of connections that guess without a pause would
/// otherwise make all other requests wait.
const THROTTLED_DELAY: Duration = Duration::from_millis(250);

/// The longest such delay.
const LONGEST_THROTTLED_DELAY: Duration = Duration::from_secs(5);

/// The time between two such rejections of one worker, as long as the longest delay admits it: a crowd has 500 a second.
const THROTTLED_INTERVAL: Duration = Duration::from_millis(2);

/// The state that all workers share, besides the settings.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The channel for mode changes.
    pub control_handle: ControlHandle,
    /// The principals and their permissions.
    pub access: Arc<Access>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Limits of requests in flight, by class.
    pub class_limits: Arc<ClassLimits>,
    /// The number of connections of each worker.
    pub loads: Arc<[AtomicUsize]>,
    /// The channels that hand a connection to another worker.
    pub handovers: Arc<[mpsc::UnboundedSender<Handover>]>,
    /// How far the gateway is with its end.
    pub stop: watch::Receiver<Stop>,
    /// Whether the listening socket outlives the process.
    pub origin: SocketOrigin,
}

/// The state that all connections of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// Its place among the workers.
    pub(crate) index: usize,
    /// The worker's handle of the gate.
    pub(crate) gate: WorkerGate,
    /// Forwards requests to UCS.
    pub(crate) forwarder: Forwarder,
    /// Counters and access log.
    pub(crate) recorder: Rc<RequestRecorder>,
    /// The channel for mode changes.
    pub(crate) control_handle: ControlHandle,
    /// The principals and their permissions.
    pub(crate) access: Arc<Access>,
    /// Buffers for outgoing messages.
    pub(crate) buffers: Rc<Buffers>,
    /// Cached pages of refusals by the mode.
    pub(crate) refusals: RefusalCache,
    /// Lines of refused requests, where no access log has them.
    pub(crate) refusal_log: RefusalLog,
    /// The longest `Retry-After`.
    pub(crate) max_retry_after: Duration,
    /// Generates the ids of requests that have none.
    pub(crate) request_ids: RequestIds,
    /// The `Host` of requests that have none.
    pub(crate) upstream_host: HeaderValue,
    /// The `Date` of responses that have none (RFC 9110, 5.6.7), at most one sweep old.
    pub(crate) date: RefCell<String>,
    /// The origins whose pages may read the gateway's own responses.
    pub(crate) origins: AllowedOrigins,
    /// Whether the gateway itself responds to `GET /livez`.
    pub(crate) livez: bool,
    /// The proxies whose fields name the client.
    pub(crate) trusted_proxies: TrustedProxies,
    /// How far this worker is with its end: no request looks at a channel.
    pub(crate) stop: Cell<Stop>,
    /// TLS of the data port.
    pub(crate) tls: Option<Arc<TlsServer>>,
    /// Whether clients may speak HTTP/2 without TLS.
    pub(crate) h2c: bool,
    /// Limits of a request's head.
    pub(crate) head_limits: HeadLimits,
    /// The clients that deadlines apply to.
    pub(crate) clients: Clients,
    metrics: Arc<Metrics>,
    class_limits: Arc<ClassLimits>,
    /// The slots of each class, for the table with this generation.
    class_slots: RefCell<(u32, Vec<ClassSlot>)>,
    no_class: usize,
    /// When the next rejection for too many failed attempts is due at the earliest.
    next_throttled: Cell<Instant>,
}

/// The places of a class in the metrics and in the limits.
#[derive(Clone, Copy, Debug)]
struct ClassSlot {
    metrics: usize,
    position: Option<usize>,
}

/// One client's connection, or one stream of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Downstream {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: Peer,
    /// Its deadlines, errors and interim responses.
    pub(crate) state: Rc<ConnectionState>,
    /// The forwarding fields that its requests get.
    pub(crate) forwarded: Rc<ForwardedInfo>,
    pub(crate) task: ClientTask,
    pub(crate) kind: DownstreamKind,
    /// The number of its connection among those of the worker.
    connection: u64,
    /// Its place among the worker's clients.
    place: Cell<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownstreamKind {
    Connection {
        /// Whether it was accepted before a stop was requested: then its client cannot know of the stop.
        predates_stop: bool,
    },
    /// A stream of an HTTP/2 connection. It has one request.
    Stream,
}

impl DownstreamKind {
    /// A connection whose client cannot know of a stop.
    pub(crate) const PREDATES_STOP: DownstreamKind = DownstreamKind::Connection { predates_stop: true };
}

/// The client connections and streams of one worker. Each knows its place, so that removing one costs the same however many
/// there are.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: RefCell<Vec<Rc<Downstream>>>,
    /// The number of connections that have come so far.
    connections: Cell<u64>,
}

impl Clients {
    /// Adds a connection that was accepted just now.
    pub(crate) fn connect(&self, worker: &Rc<Worker>, peer: Peer) -> Rc<Downstream> {
        let forwarded = ForwardedInfo::new(peer.ip(), worker.tls.is_some());
        let forwarded = forwarded.with_trust(worker.trusted_proxies.trust(peer.ip()));
        self.add(Downstream {
            worker: Rc::clone(worker),
            peer,
            state: Rc::default(),
            forwarded: Rc::new(forwarded),
            task: ClientTask::default(),
            kind: DownstreamKind::Connection { predates_stop: !worker.stop.get().has_begun() },
            connection: self.connections.replace(self.connections.get() + 1),
            place: Cell::default(),
        })
    }

    /// Adds a stream of this connection.
    pub(crate) fn open_stream(&self, connection: &Downstream) -> Rc<Downstream> {
        self.add(Downstream {
            worker: Rc::clone(&connection.worker),
            peer: connection.peer,
            state: Rc::default(),
            forwarded: Rc::clone(&connection.forwarded),
            task: ClientTask::default(),
            kind: DownstreamKind::Stream,
            connection: connection.connection,
            place: Cell::default(),
        })
    }

    fn add(&self, downstream: Downstream) -> Rc<Downstream> {
        let mut all = self.all.borrow_mut();
        downstream.place.set(all.len());
        let downstream = Rc::new(downstream);
        all.push(Rc::clone(&downstream));
        downstream
    }

    /// Removes a connection or a stream; the last one takes its place.
    pub(crate) fn remove(&self, downstream: &Downstream) {
        let (mut all, place) = (self.all.borrow_mut(), downstream.place.get());
        all.swap_remove(place);
        if let Some(moved) = all.get(place) {
            moved.place.set(place);
        }
    }

    /// All of them, which must not change meanwhile.
    pub(crate) fn all(&self) -> Ref<'_, Vec<Rc<Downstream>>> {
        self.all.borrow()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'a> {
    /// The connection or stream that it arrived on.
    pub(crate) downstream: &'a Rc<Downstream>,
    pub(crate) head: &'a RequestHead,
}

impl Downstream {
    /// The client behind a trusted proxy, by the fields of a request; `None` if the peer itself is the client.
    pub(crate) fn proxied_client(&self, fields: &Fields) -> Option<IpAddr> {
        if !self.forwarded.is_proxy() {
            return None;
        }
        let peer = self.peer.ip();
        self.worker.trusted_proxies.client(peer, fields).filter(|client| Some(*client) != peer)
    }

    /// The client of a request, which may be malformed, as events name it.
    pub(crate) fn client_name(&self, head: Option<&RequestHead>) -> String {
        let client = head.and_then(|head| self.proxied_client(&head.fields));
        client.map_or_else(|| self.forwarded.peer().to_owned(), |client| client.to_string())
    }

    /// The origin of a request, as the queue for UCS distinguishes clients.
    pub(crate) fn source_of(&self, fields: &Fields) -> Source {
        Source { address: self.proxied_client(fields).or_else(|| self.peer.ip()), connection: self.connection }
    }

    /// The source of a request's credential, by which guesses are limited: the real client, not the proxy that many share. The
    /// user of a unix socket's peer is no principal here, as that peer is usually a proxy, which speaks for its clients.
    pub(crate) fn source(&self, fields: &Fields) -> Peer {
        match (self.proxied_client(fields), self.peer) {
            (Some(client), _) => Peer::Tcp((client, 0).into()),
            (None, Peer::Unix(_)) => Peer::Unix(None),
            (None, peer) => peer,
        }
    }
}

impl RequestContext<'_> {
    /// The version that the request was received in.
    pub(crate) fn received(self) -> Received {
        match self.downstream.kind {
            DownstreamKind::Stream => Received::Http2,
            DownstreamKind::Connection { .. } if self.head.is_http10 => Received::Http10,
            DownstreamKind::Connection { .. } => Received::Http11,
        }
    }

    /// The principal of the credential in the field. Two credentials are rejected, as different servers could read different
    /// ones. A rejection for too many failed attempts is delayed.
    pub(crate) async fn principal(self, field: &str) -> Result<Principal, Refusal> {
        let RequestContext { downstream, head } = self;
        let malformed = || Refusal::Access(AccessError::Malformed);
        let mut values = head.fields.values(field);
        let credential = values.next().map(|value| std::str::from_utf8(value).map_err(|_| malformed())).transpose()?;
        if values.next().is_some() {
            return Err(malformed());
        }
        let identified = downstream.worker.access.authenticate(credential, downstream.source(&head.fields)).await;
        if let Err(AccessError::Throttled { .. }) = identified {
            tokio::time::sleep_until(downstream.worker.throttled_until().into()).await;
        }
        identified.map_err(Refusal::Access)
    }

    /// The refusal of a request that could not be forwarded: an error in the client's own body comes first.
    pub(crate) fn failed(self, error: ForwardError) -> Refusal {
        self.downstream.state.body_error().map_or(Refusal::Forward(error), Refusal::Request)
    }
}

impl Worker {
    /// Creates a worker; to be called on its own thread.
    pub fn new(
        index: usize,
        gate: WorkerGate,
        settings: &ProxySettings,
        shared: &Shared,
        recorder: RequestRecorder,
    ) -> Rc<Worker> {
        let pool = Pool::new(settings.upstream.clone(), settings.pool, Arc::clone(&recorder.metrics));
        let exchanges = Exchanges::new(settings.timeouts);
        let host = HeaderValue::from_str(&settings.upstream.url.authority);
        Rc::new(Worker {
            index,
            gate,
            forwarder: Forwarder { pool, exchanges, max_body: settings.max_body },
            recorder: Rc::new(recorder),
            control_handle: shared.control_handle.clone(),
            access: Arc::clone(&shared.access),
            buffers: Rc::default(),
            refusals: RefusalCache::default(),
            refusal_log: RefusalLog::new(Instant::now()),
            max_retry_after: settings.max_retry_after,
            request_ids: RequestIds::new(random_prefix(index)),
            upstream_host: host.unwrap_or(HeaderValue::from_static("ucs")),
            date: RefCell::new(date_now()),
            origins: settings.origins.clone(),
            livez: settings.livez,
            trusted_proxies: settings.trusted_proxies.clone(),
            stop: Cell::default(),
            tls: settings.tls.clone(),
            h2c: settings.h2c,
            head_limits: settings.wire,
            clients: Clients::default(),
            metrics: Arc::clone(&shared.metrics),
            class_limits: Arc::clone(&shared.class_limits),
            class_slots: RefCell::new((0, Vec::new())),
            no_class: shared.metrics.class_slot("none"),
            next_throttled: Cell::new(Instant::now()),
        })
    }

    /// The revision of the record in force, if one is known.
    pub(crate) fn revision(&self) -> Option<u64> {
        self.gate.published().record.as_ref().map(|record| record.revision)
    }

    /// When the next rejection for too many failed attempts is due. Equal delays would make a crowd's next attempts arrive all at
    /// once, and other requests wait for them.
    fn throttled_until(&self) -> Instant {
        let now = Instant::now();
        let due = self.next_throttled.get().clamp(now + THROTTLED_DELAY, now + LONGEST_THROTTLED_DELAY);
        self.next_throttled.set(due + THROTTLED_INTERVAL);
        due
    }

    /// The slot of a class in the metrics; looked up once per table.
    pub(crate) fn class_slot(&self, table: &TableRef, class: Option<usize>) -> usize {
        class.map_or(self.no_class, |class| self.slots_of(table, class).metrics)
    }

    /// Takes a permit of the class; `None` if the class has no limit.
    pub(crate) fn enter_class(&self, table: &TableRef, class: Option<usize>) -> Result<Option<ClassPermit>, ClassFull> {
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

/// The current date in the format of RFC 9110, 5.6.7; empty if the clock is beyond the year 9999.
pub(super) fn date_now() -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap_or_default()
}

fn random_prefix(index: usize) -> u64 {
    // Without the system's randomness ids are still unique within this process.
    getrandom::u64().unwrap_or(index as u64)
}
