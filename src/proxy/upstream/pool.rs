//! The pool of connections to UCS: one small pool per worker, newest first, with a cap and a bounded queue. It knows nothing
//! about requests and retries nothing. (hyper-util's pool shares its connections between threads behind a lock and has no cap;
//! one thread needs neither the lock nor `Send`, and a cut needs a handle of each connection.)

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::exchange::Exchange;
use crate::proxy::upstream::gathered::{Gathered, GatheredShare};
use crate::proxy::upstream::queue::Queue;
use crate::telemetry::{UpstreamFault, WorkerMetrics};
use crate::transport::Upstream;

/// Limits of a worker's pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    /// The time limit of connecting, and of waiting in the queue.
    pub(crate) connect_timeout: Duration,
    /// Connections idle for longer are closed, up to a sweep (100 ms) too early: keep it below UCS's own keep-alive.
    pub(crate) idle: Duration,
    /// Connections are closed this long after they were opened, once no exchange uses them: then the name of UCS is looked up
    /// again.
    pub(crate) max_age: Duration,
    /// The most connections of this worker.
    pub(crate) connections: usize,
    /// The most requests of this worker that wait for a connection.
    pub(crate) queue: usize,
}

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to UCS: {0}")]
    Connect(#[source] io::Error),
    #[error("no connection to UCS within {0:?}")]
    TimedOut(Duration),
    /// All connections are in use and the queue is full, or the wait in it was too long.
    #[error("all connections to UCS are in use")]
    Overload,
}

/// A connection in use by one exchange.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    /// The connection; dropping it resets it, unless the exchange has completed. Boxed, as it is moved often.
    pub(crate) connection: Box<Connection>,
    /// Whether an earlier exchange used it: only then can it be stale.
    pub(crate) reused: bool,
    /// When it is too old for another exchange.
    retires: Instant,
    permit: OwnedSemaphorePermit,
}

/// An idle connection. It keeps its permit, so that the next exchange need not acquire one.
#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    /// `None`: a waiting request got the permit, and will take the connection.
    permit: Option<OwnedSemaphorePermit>,
    retires: Instant,
    since: Instant,
}

#[derive(Debug)]
pub(crate) struct Pool {
    upstream: Upstream,
    limits: PoolLimits,
    idle: RefCell<Vec<Idle>>,
    permits: Arc<Semaphore>,
    queue: Rc<Queue>,
    gathered: Rc<Gathered>,
    /// The time of the last sweep: precise enough for idle times.
    swept: Cell<Instant>,
    metrics: Arc<WorkerMetrics>,
    /// Why connecting has failed last, while it fails: each reason is logged once.
    failing: RefCell<Option<String>>,
}

impl Pool {
    pub(crate) fn new(upstream: Upstream, limits: PoolLimits, metrics: Arc<WorkerMetrics>) -> Rc<Pool> {
        Rc::new(Pool {
            upstream,
            limits,
            idle: RefCell::default(),
            permits: Arc::new(Semaphore::new(limits.connections)),
            queue: Queue::limited_to(limits.queue),
            gathered: Rc::default(),
            swept: Cell::new(Instant::now()),
            metrics,
            failing: RefCell::default(),
        })
    }

    /// Checks out the newest open idle connection, unless waiting requests need it.
    pub(crate) fn checkout_idle(&self) -> Option<PooledConnection> {
        let mut idle = self.newest_open()?;
        match idle.permit.take().or_else(|| Arc::clone(&self.permits).try_acquire_owned().ok()) {
            Some(permit) => Some(self.reuse(idle, permit)),
            None => {
                self.idle.borrow_mut().push(idle);
                None
            }
        }
    }

    /// Checks out a connection: the newest open idle one (unless `fresh`), or a new one.
    pub(crate) async fn checkout(
        self: Rc<Self>,
        exchange: Rc<Exchange>,
        fresh: bool,
    ) -> Result<PooledConnection, ConnectError> {
        let permit = self.acquire(&exchange).await?;
        if !fresh && let Some(idle) = self.newest_open() {
            return Ok(self.reuse(idle, permit));
        }
        self.make_room();
        let mut connection = self.connect().await?;
        connection.begin_exchange();
        let retires = self.swept.get() + self.limits.max_age;
        Ok(PooledConnection { connection, reused: false, retires, permit })
    }

    /// Puts a connection back after a completed exchange.
    pub(crate) fn put_back(&self, pooled: PooledConnection) {
        let PooledConnection { mut connection, retires, permit, .. } = pooled;
        if self.swept.get() >= retires {
            return drop(connection);
        }
        connection.shrink();
        let permit = if self.queue.len() > 0 { None } else { Some(permit) };
        self.idle.borrow_mut().push(Idle { connection, permit, retires, since: self.swept.get() });
    }

    /// The number of requests that wait for a connection.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether more than half of the connections are in use: the others are for requests that have arrived.
    pub(crate) fn is_scarce(&self) -> bool {
        let free = self.permits.available_permits() + self.idle.borrow().len();
        self.queue.len() > 0 || free * 2 < self.limits.connections
    }

    /// The share of a request in the memory of those that gather; none if connections are not scarce.
    pub(crate) fn gathers(&self, exchange: &Rc<Exchange>) -> Option<GatheredShare> {
        self.is_scarce().then(|| self.gathered.share(exchange))
    }

    pub(crate) fn count_retry(&self) {
        self.metrics.retries.add(1);
    }

    /// Counts the failure of an exchange whose client has disconnected.
    pub(crate) fn count_fault(&self, fault: Option<UpstreamFault>) {
        fault.into_iter().for_each(|fault| self.metrics.upstream_failed(fault));
    }

    /// Closes connections that have been idle or open for too long.
    pub(crate) fn sweep(&self) {
        let (now, limit) = (Instant::now(), self.limits.idle);
        self.swept.set(now);
        self.idle
            .borrow_mut()
            .retain(|idle| idle.connection.is_quiet() && now - idle.since < limit && now < idle.retires);
    }

    /// Closes the oldest idle connection that no permit covers: the caller has its permit, and opens another connection.
    fn make_room(&self) {
        let mut idle = self.idle.borrow_mut();
        let uncovered = idle.iter().filter(|idle| idle.permit.is_none()).count();
        if uncovered > self.permits.available_permits()
            && let Some(oldest) = idle.iter().position(|idle| idle.permit.is_none())
        {
            idle.remove(oldest);
        }
    }

    fn newest_open(&self) -> Option<Idle> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            if idle.connection.is_quiet() {
                return Some(idle);
            }
        }
    }

    fn reuse(&self, idle: Idle, permit: OwnedSemaphorePermit) -> PooledConnection {
        let Idle { mut connection, retires, .. } = idle;
        self.metrics.connections_reused.add(1);
        connection.begin_exchange();
        PooledConnection { connection, reused: true, retires, permit }
    }

    async fn acquire(&self, exchange: &Rc<Exchange>) -> Result<OwnedSemaphorePermit, ConnectError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.queue.enter(exchange).ok_or(ConnectError::Overload)?;
        let permit = tokio::time::timeout(self.limits.connect_timeout, Arc::clone(&self.permits).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(ConnectError::Overload)
    }

    async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        let limit = self.limits.connect_timeout;
        let connecting = tokio::time::timeout(limit, self.upstream.connect());
        let stream = connecting.await.unwrap_or(Err(ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => ConnectError::TimedOut(limit),
            _ => ConnectError::Connect(error),
        });
        self.note(stream.as_ref().err());
        let stream = stream?;
        self.metrics.connections_opened.add(1);
        Ok(Box::new(Connection::new(stream)))
    }

    /// Logs a reason why UCS cannot be reached when it is new, and that UCS can be reached again.
    fn note(&self, error: Option<&ConnectError>) {
        let mut failing = self.failing.borrow_mut();
        match error.map(ToString::to_string) {
            None if failing.take().is_some() => tracing::info!("UCS can be reached again"),
            None => {}
            Some(error) if failing.as_ref() == Some(&error) => {}
            Some(error) => {
                tracing::warn!(%error, "UCS cannot be reached");
                *failing = Some(error);
            }
        }
    }
}
