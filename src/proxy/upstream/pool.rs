//! Connections to UCS: one small pool a worker, newest first, with a cap and a bounded queue. It knows nothing of
//! requests and retries nothing. (hyper-util's pool shares its connections between threads behind a lock and has no cap;
//! one thread needs neither the lock nor `Send`, and a cut needs a handle on each connection.)

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proxy::upstream::connection::Connection;
use crate::telemetry::{UpstreamFault, WorkerMetrics};
use crate::upstream::UpstreamUrl;

/// Limits of a worker's pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Time for a connection to be made, and for a place in the queue.
    pub connect_timeout: Duration,
    /// An idle connection older than this is closed, up to a sweep (100 ms) too early: keep it below UCS's own keep-alive.
    pub idle: Duration,
    /// Connections of this worker at the most.
    pub connections: usize,
    /// Requests of this worker that may wait for a connection.
    pub queue: usize,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// UCS cannot be reached.
    #[error("cannot connect to UCS: {0}")]
    Connect(#[source] io::Error),
    /// It did not answer in time.
    #[error("no connection to UCS within {0:?}")]
    TimedOut(Duration),
    /// All connections are in use and the queue is full, or the wait in it was too long.
    #[error("all connections to UCS are in use")]
    Overload,
}

/// A connection that one exchange has for itself.
#[derive(Debug)]
pub struct PooledConnection {
    /// The connection; dropping it resets it, unless the exchange came to its regular end. In a box, as it changes hands often.
    pub connection: Box<Connection>,
    /// Whether an earlier exchange used it: only then can it turn out to be stale.
    pub reused: bool,
    place: OwnedSemaphorePermit,
}

/// A connection keeps its place while it is idle, so that an exchange need not ask for one.
#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    /// `None`: a request that waited has got the place, and will come for the connection.
    place: Option<OwnedSemaphorePermit>,
    since: Instant,
}

/// The pool of one worker.
#[derive(Debug)]
pub struct Pool {
    upstream: UpstreamUrl,
    limits: PoolLimits,
    idle: RefCell<Vec<Idle>>,
    places: Arc<Semaphore>,
    waiting: Cell<usize>,
    /// When the last sweep was: near enough for how long a connection has been idle.
    swept: Cell<Instant>,
    metrics: Arc<WorkerMetrics>,
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: UpstreamUrl, limits: PoolLimits, metrics: Arc<WorkerMetrics>) -> Rc<Pool> {
        Rc::new(Pool {
            upstream,
            limits,
            idle: RefCell::default(),
            places: Arc::new(Semaphore::new(limits.connections)),
            waiting: Cell::new(0),
            swept: Cell::new(Instant::now()),
            metrics,
        })
    }

    /// The newest idle connection that still stands, if there is one that nobody waits for.
    pub fn lease_idle(&self) -> Option<PooledConnection> {
        let Idle { connection, place, since } = self.newest_standing()?;
        match place.or_else(|| Arc::clone(&self.places).try_acquire_owned().ok()) {
            Some(place) => Some(self.reuse(connection, place)),
            None => {
                self.idle.borrow_mut().push(Idle { connection, place: None, since });
                None
            }
        }
    }

    /// A connection: the newest idle one that still stands (unless `fresh`), or a new one.
    pub async fn lease(self: Rc<Self>, fresh: bool) -> Result<PooledConnection, ConnectError> {
        let place = self.place().await?;
        if !fresh && let Some(idle) = self.newest_standing() {
            return Ok(self.reuse(idle.connection, place));
        }
        let mut connection = self.connect().await?;
        connection.begin_exchange();
        Ok(PooledConnection { connection, reused: false, place })
    }

    /// Takes a connection back after the regular end of an exchange.
    pub fn give_back(&self, lease: PooledConnection) {
        let PooledConnection { mut connection, place, .. } = lease;
        connection.rest();
        let place = if self.waiting.get() > 0 { None } else { Some(place) };
        self.idle.borrow_mut().push(Idle { connection, place, since: self.swept.get() });
    }

    /// Counts an exchange that is tried again.
    pub fn count_retry(&self) {
        self.metrics.upstream_retried();
    }

    /// Counts how an exchange failed that no client waits for any more.
    pub fn count_fault(&self, fault: Option<UpstreamFault>) {
        fault.into_iter().for_each(|fault| self.metrics.upstream_failed(fault));
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self) {
        let (now, limit) = (Instant::now(), self.limits.idle);
        self.swept.set(now);
        self.idle.borrow_mut().retain(|idle| idle.connection.is_quiet() && now - idle.since < limit);
    }

    fn newest_standing(&self) -> Option<Idle> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            if idle.connection.is_quiet() {
                return Some(idle);
            }
        }
    }

    fn reuse(&self, mut connection: Box<Connection>, place: OwnedSemaphorePermit) -> PooledConnection {
        self.metrics.upstream_reused();
        connection.begin_exchange();
        PooledConnection { connection, reused: true, place }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, ConnectError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        if self.waiting.get() >= self.limits.queue {
            return Err(ConnectError::Overload);
        }
        let _queued = Queued::new(&self.waiting);
        let place = tokio::time::timeout(self.limits.connect_timeout, Arc::clone(&self.places).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(ConnectError::Overload)
    }

    async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        let limit = self.limits.connect_timeout;
        let connecting = TcpStream::connect((self.upstream.host.as_str(), self.upstream.port));
        let stream = tokio::time::timeout(limit, connecting).await.map_err(|_| ConnectError::TimedOut(limit))?;
        let stream = stream.map_err(ConnectError::Connect)?;
        // Small requests must not wait for the acknowledgement of earlier ones.
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        self.metrics.upstream_opened();
        Ok(Box::new(Connection::new(stream)))
    }
}

/// Counts one that waits; a waiter that goes away counts itself out.
struct Queued<'a>(&'a Cell<usize>);

impl<'a> Queued<'a> {
    fn new(waiting: &'a Cell<usize>) -> Queued<'a> {
        waiting.set(waiting.get() + 1);
        Queued(waiting)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
