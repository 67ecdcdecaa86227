//! A data worker: one thread, one runtime, one listener, one pool of connections to UCS. It accepts connections up to their
//! limit, and its sweep finds whose deadline has passed: of clients here, of exchanges with UCS in `upstream/exchange`. It
//! shares nothing with the other workers on the request path; only a new connection may be handed to a worker that has fewer.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::MissedTickBehavior;

use super::client::{DiscardLimits, Scratch, session};
use super::context::{Downstream, DownstreamKind, date_now};
pub use super::context::{Shared, Worker};
pub(crate) use super::settings::{ClientTimeouts, ProxySettings};
pub use super::stop::Stop;
use super::upstream::drain_watch::FlipUnderWay;
use super::upstream::exchange::{SWEEP_INTERVAL, gap_between};
use crate::faults::{self, Part};
use crate::http1::RequestError;
pub(crate) use crate::transport::Handover;
pub use crate::transport::listen::{ListeningSocket, SocketOrigin};
use crate::transport::{Address, Listener, Peer, SocketLimits, Stream, unacknowledged};

/// How often the connection of a client that has closed its sending side is looked at: the event loop reports no reset after that.
const HALF_CLOSED_LOOK: Duration = Duration::from_secs(1);

/// How long a client may continue to send after it was refused, and how long it may pause meanwhile.
const DISCARD_TIME: Duration = Duration::from_secs(30);
const DISCARD_SILENCE: Duration = Duration::from_secs(5);

/// The first of these limits while the gateway stops.
const STOPPING_DISCARD: Duration = Duration::from_secs(1);

/// The interval at which a stopping worker looks whether its connections have ended.
const STOPPING_LOOK: Duration = Duration::from_millis(5);

/// An idle connection releases its memory after this time: at the second sweep that finds it idle.
const REST_AFTER: Duration = Duration::from_millis(50);

/// The kernel is asked this many times within `--idle-body-timeout` whether clients read that leave no room for more.
const READING_LOOKS: u32 = 6;

/// What the kernel receives of a client before it is read: enough for a fast upload, and no more, as the kernel would receive
/// megabytes for a UCS that does not read.
pub(crate) const SOCKET_LIMITS: SocketLimits =
    SocketLimits { send_buffer: None, receive_buffer: Some(128 * 1024), user_timeout: None };

/// Bytes that the kernel buffers for a client, beyond those in flight. Without a limit it would buffer megabytes for a client
/// that does not read.
const UNSENT_BYTES: u32 = 64 * 1024;

/// Runs a worker until shutdown is requested and its requests are done; an error if it cannot continue. To be called inside a
/// local runtime.
pub async fn run(
    worker: Rc<Worker>,
    listener: ListeningSocket,
    mut handover: mpsc::UnboundedReceiver<Handover>,
    settings: Rc<ProxySettings>,
    shared: Shared,
) -> io::Result<()> {
    let port = match listener.address()? {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    };
    let listener = Listener::new(listener, SOCKET_LIMITS)?;
    let connections = Rc::new(Connections::new(worker, settings, shared, port));
    let sweeping = faults::with(Part::Sweep(connections.worker.index), (), sweep(Rc::clone(&connections)));
    let mut sweeper = tokio::task::spawn_local(sweeping);
    let mut stop = connections.shared.stop.clone();
    let mut is_failing = false;
    loop {
        tokio::select! {
            (stream, peer) = accept(&listener, &mut is_failing) => connections.place(stream, peer),
            Some(handed) = handover.recv() => connections.serve_handed(handed),
            ended = &mut sweeper => return Err(without_sweeper(ended)),
            () = connections.accept_until(&mut stop) => break,
        }
    }
    connections.take_queued(listener, handover).await;
    tokio::select! {
        () = connections.wind_down() => {}
        ended = &mut sweeper => return Err(without_sweeper(ended)),
    }
    sweeper.abort();
    Ok(())
}

/// The next connection. Neither one that failed nor a lack of descriptors ends or spins the worker; many failures in a row are
/// logged once.
async fn accept(listener: &Listener, is_failing: &mut bool) -> (Stream, Peer) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                *is_failing = false;
                return accepted;
            }
            Err(error) => {
                if !std::mem::replace(is_failing, true) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Without the sweep no deadline is enforced, so the worker cannot continue.
fn without_sweeper(ended: Result<(), JoinError>) -> io::Error {
    let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
    io::Error::other(format!("its sweep failed: {why}"))
}

/// The client connections of one worker.
#[derive(Debug)]
struct Connections {
    worker: Rc<Worker>,
    settings: Rc<ProxySettings>,
    shared: Shared,
    scratch: Rc<Scratch>,
    swept: Cell<Instant>,
    /// When the kernel was last asked about clients that do not seem to read.
    looked: Cell<Instant>,
    /// The port of the listener; none of a unix socket.
    port: Option<u16>,
    /// Whether the last new connection was rejected: a flood of them is logged once.
    is_full: Cell<bool>,
}

impl Connections {
    fn new(worker: Rc<Worker>, settings: Rc<ProxySettings>, shared: Shared, port: Option<u16>) -> Connections {
        let scratch = Scratch::new(settings.wire);
        let is_full = Cell::new(false);
        let (swept, looked) = (Cell::new(Instant::now()), Cell::new(Instant::now()));
        Connections { worker, settings, shared, scratch, swept, looked, port, is_full }
    }

    /// The number of this worker's connections.
    fn load(&self) -> &AtomicUsize {
        &self.shared.loads[self.worker.index]
    }

    /// Serves a new connection here, or hands it to the worker with the fewest connections.
    fn place(self: &Rc<Self>, stream: Stream, peer: Peer) {
        let loads = &self.shared.loads;
        let load = |index: usize| loads[index].load(Ordering::Relaxed);
        let total: usize = (0..loads.len()).map(load).sum();
        if total >= self.settings.max_connections {
            self.worker.recorder.metrics.client_connections_refused.add(1);
            if !self.is_full.replace(true) {
                tracing::warn!(%peer, "connection limit reached (--max-connections); closing new connections");
            }
            return;
        }
        self.is_full.set(false);
        let least = (0..loads.len())
            .min_by_key(|index| (load(*index), *index != self.worker.index))
            .unwrap_or(self.worker.index);
        // Counted before it is handed over, so that the next connection is placed accordingly.
        loads[least].fetch_add(1, Ordering::Relaxed);
        if least == self.worker.index {
            return self.serve(stream, peer);
        }
        let Ok(handover) = Handover::new(stream, peer) else {
            loads[least].fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let Err(SendError(handover)) = self.shared.handovers[least].send(handover) else { return };
        // That worker has stopped accepting, and this one has not.
        loads[least].fetch_sub(1, Ordering::Relaxed);
        self.load().fetch_add(1, Ordering::Relaxed);
        self.serve_handed(handover);
    }

    /// Serves a connection that was counted for this worker.
    fn serve_handed(self: &Rc<Self>, handover: Handover) {
        match handover.take() {
            Ok((stream, peer)) => self.serve(stream, peer),
            Err(_) => drop(self.load().fetch_sub(1, Ordering::Relaxed)),
        }
    }

    fn serve(self: &Rc<Self>, stream: Stream, peer: Peer) {
        if stream.prepare_accepted(UNSENT_BYTES).is_err() {
            self.load().fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let downstream = self.worker.clients.connect(&self.worker, peer);
        let connected = Connected::new(self, Rc::clone(&downstream));
        let task = tokio::task::spawn_local(session::serve(
            stream,
            Rc::clone(&downstream),
            connected,
            Rc::clone(&self.scratch),
        ));
        downstream.task.set(task.abort_handle());
    }

    /// Follows the stop, until this worker accepts no more connections. A listening socket that outlives the process is left to
    /// the next one as soon as the clients that cannot know of the stop have had a response that says so. To be called again
    /// and again: it may be cancelled.
    async fn accept_until(&self, stop: &mut watch::Receiver<Stop>) {
        loop {
            let stage = *stop.borrow_and_update();
            self.worker.stop.set(stage);
            let looks = matches!(stage, Stop::Lingering { .. }) && self.shared.origin == SocketOrigin::Inherited;
            let is_over = match stage {
                Stop::Draining { .. } => true,
                _ => {
                    looks
                        && !self.worker.clients.all().iter().any(|client| client.kind == DownstreamKind::PREDATES_STOP)
                }
            };
            if is_over {
                return;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(STOPPING_LOOK), if looks => {}
            }
        }
    }

    /// Stops accepting, and serves the connections that are on their way to this worker.
    async fn take_queued(self: &Rc<Self>, listener: Listener, mut handover: mpsc::UnboundedReceiver<Handover>) {
        self.worker.stop.set(self.worker.stop.get().drained());
        // From now on, the other workers keep the connections that they cannot hand over.
        handover.close();
        while let Some(handed) = handover.recv().await {
            self.serve_handed(handed);
        }
        // The kernel resets connections that wait in the queue of a socket when it is closed for good.
        if self.shared.origin == SocketOrigin::Own {
            listener.accept_queued(|stream, peer| self.place(stream, peer));
        }
    }

    /// Waits until all connections and requests are done, or are cut.
    async fn wind_down(&self) {
        let Stop::Draining { cut_at } = self.worker.stop.get().drained() else { return };
        while tokio::time::Instant::now() < cut_at {
            if self.worker.clients.all().is_empty() && self.worker.forwarder.exchanges.is_empty() {
                return;
            }
            tokio::time::sleep(STOPPING_LOOK).await;
        }
        let clients = self.worker.clients.all().len();
        tracing::warn!(connections = clients, "shut down with connections still open");
    }

    /// Enforces the deadlines of client connections: idle, unread, half-closed, discarded input, and unfinished heads.
    fn sweep_clients(&self) {
        let now = Instant::now();
        let gap = gap_between(self.swept.replace(now), now);
        let (limits, timeouts) = (&self.settings.clients, &self.settings.timeouts);
        let silence = DISCARD_SILENCE.min(timeouts.idle_body);
        let (idle, discard_time) = match self.worker.stop.get() {
            Stop::Draining { .. } => (limits.linger.min(limits.idle), STOPPING_DISCARD),
            Stop::None | Stop::Lingering { .. } => (limits.idle, DISCARD_TIME),
        };
        let discard = DiscardLimits { time: discard_time, silence, min_rate: timeouts.min_rate };
        for downstream in self.worker.clients.all().iter() {
            let state = &downstream.state;
            // HTTP/2 tells its clients of a stop without a response.
            if self.worker.stop.get().has_begun() {
                state.wake_reader();
            }
            if !gap.is_zero() {
                state.postpone(gap);
            }
            if is_older(state.head_started(), limits.header) {
                state.expire(RequestError::HeaderTimeout);
            } else if is_older(state.unread_since(), timeouts.idle_body) {
                state.give_up_unread();
                downstream.task.abort();
            } else if is_older(state.half_closed_looked(), HALF_CLOSED_LOOK) {
                state.look_again();
            } else if state.discards_too_long(&discard) {
                downstream.task.abort();
            } else if is_older(state.idle_since(), idle) && !state.is_responding() {
                state.end_idle();
            } else if is_older(state.idle_since(), REST_AFTER) {
                state.shrink();
            }
        }
    }
}

/// Asks the kernel from time to time whether clients read that leave no room for more: a slow reader shows no progress here until
/// much of what the kernel holds is gone. Not on the worker's thread, as the kernel may take a while.
fn look_for_readers(connections: &Rc<Connections>) {
    let interval = connections.settings.timeouts.idle_body / READING_LOOKS;
    let waits = |downstream: &Rc<Downstream>| is_older(downstream.state.unread_since(), interval);
    if connections.looked.get().elapsed() < interval || !connections.worker.clients.all().iter().any(waits) {
        return;
    }
    connections.looked.set(Instant::now());
    let Some(port) = connections.port else { return };
    let connections = Rc::clone(connections);
    tokio::task::spawn_local(async move {
        // Without the list, the deadlines go by what could be written.
        let Ok(Ok(queues)) = tokio::task::spawn_blocking(move || unacknowledged(port)).await else { return };
        for downstream in connections.worker.clients.all().iter() {
            // A stream shares its connection's queue with others.
            let (Peer::Tcp(peer), DownstreamKind::Connection { .. }) = (downstream.peer, downstream.kind) else {
                continue;
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            if queues.get(&peer).is_some_and(|bytes| downstream.state.note_queued(*bytes)) {
                downstream.task.note_read(Instant::now());
            }
        }
    });
}

fn is_older(since: Option<tokio::time::Instant>, limit: Duration) -> bool {
    since.is_some_and(|since| since.elapsed() > limit)
}

async fn sweep(connections: Rc<Connections>) {
    let worker = &connections.worker;
    let cuts = worker.gate.watch_cuts();
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.recorder.metrics.note_alive();
        let cut = *cuts.borrow();
        let flip = worker.gate.published().record.as_deref().and_then(FlipUnderWay::of);
        worker.forwarder.exchanges.sweep(cut, flip, worker.forwarder.pool.queued());
        worker.gate.note_long_running(worker.forwarder.exchanges.long_running());
        worker.forwarder.pool.sweep();
        connections.sweep_clients();
        look_for_readers(&connections);
        *worker.date.borrow_mut() = date_now();
        worker.refusal_log.report(Instant::now());
        if let Some(log) = &worker.recorder.access_log {
            log.flush();
        }
    }
}

/// Counts a connection while it is open, however its task ends.
#[derive(Debug)]
pub(crate) struct Connected {
    connections: Rc<Connections>,
    /// The client's connection.
    pub(crate) downstream: Rc<Downstream>,
}

impl Connected {
    fn new(connections: &Rc<Connections>, downstream: Rc<Downstream>) -> Connected {
        connections.worker.recorder.metrics.client_connections.add(1);
        Connected { connections: Rc::clone(connections), downstream }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.connections.load().fetch_sub(1, Ordering::Relaxed);
        self.connections.worker.recorder.metrics.client_connections_closed.add(1);
        self.connections.worker.clients.remove(&self.downstream);
    }
}
