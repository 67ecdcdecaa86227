//! The state of one client connection, shared by its reader, the response in progress and the worker's sweeper: errors, and the
//! times from which deadlines count. Single-threaded.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::RequestError;

/// The time limit of discarding input while the gateway shuts down.
const STOPPING_DISCARD: Duration = Duration::from_secs(1);

/// The limits of discarding a client's input after its response.
#[derive(Clone, Copy, Debug)]
pub struct DiscardLimits {
    /// The total time.
    pub(crate) time: Duration,
    /// The time without a byte.
    pub(crate) silence: Duration,
    /// The least average rate in bytes per second, once it has lasted as long as `silence`; 0 for no limit.
    pub(crate) min_rate: u64,
}

/// Input that is read and discarded.
#[derive(Clone, Copy, Debug)]
struct Discard {
    began: Instant,
    moved: Instant,
    bytes: u64,
}

/// The shared state of one connection.
#[derive(Debug, Default)]
pub struct ConnectionState {
    body_error: Cell<Option<RequestError>>,
    head_started: Cell<Option<Instant>>,
    idle: Cell<bool>,
    idle_since: Cell<Option<Instant>>,
    expired: Cell<Option<RequestError>>,
    /// The requests of this connection whose response is not complete.
    responses: Cell<usize>,
    /// When the client closed its side while a response was in progress.
    half_closed_since: Cell<Option<Instant>>,
    /// The half-closed client counts as gone.
    gone: Cell<bool>,
    /// The client waits for 100 (Continue).
    continue_wanted: Cell<bool>,
    /// Since when the client has read nothing of a pending response.
    unread_since: Cell<Option<Instant>>,
    /// The connection was closed because the client did not read.
    unread: Cell<bool>,
    /// Idle for long enough to release memory.
    shrunk: Cell<bool>,
    /// The client's input is read and discarded.
    discard: Cell<Option<Discard>>,
    stopping: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl ConnectionState {
    /// The error of the request body that has just failed; `None` if the socket failed.
    pub fn body_error(&self) -> Option<RequestError> {
        self.body_error.get()
    }

    /// When the first byte of an incomplete head arrived.
    pub(crate) fn head_started(&self) -> Option<Instant> {
        self.head_started.get()
    }

    /// Since when the connection has been idle between two requests. The time counts from the first call that finds it idle: the
    /// sweeper calls often enough, and requests need not read the clock.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        if self.idle.get() && self.idle_since.get().is_none() {
            self.idle_since.set(Some(Instant::now()));
        }
        self.idle_since.get()
    }

    /// Rejects a head that has begun, with this error (in practice [`RequestError::HeaderTimeout`]). No effect once the head is
    /// complete. Idle connections are closed by the worker.
    pub(crate) fn expire(&self, error: RequestError) {
        if self.head_started.get().is_some() {
            self.expired.set(Some(error));
            self.wake_reader();
        }
    }

    /// Makes an idle connection release the memory that only a busy one needs.
    pub(crate) fn shrink(&self) {
        if !self.shrunk.replace(true) {
            self.wake_reader();
        }
    }

    /// Whether the connection has been idle for long enough to release memory.
    pub(crate) fn is_shrunk(&self) -> bool {
        self.shrunk.get()
    }

    /// Takes no further request.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.wake_reader();
    }

    /// Whether the connection closes after the response in progress.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// A response is in progress from now on.
    pub(crate) fn begin_response(&self) {
        self.responses.set(self.responses.get() + 1);
    }

    /// The response is over, sent or not.
    pub(crate) fn end_response(&self) {
        self.responses.set(self.responses.get() - 1);
        self.gone.set(false);
        if self.responses.get() == 0 && self.half_closed_since.take().is_some() {
            self.wake_reader();
        }
    }

    /// Whether a response is in progress.
    pub(crate) fn is_responding(&self) -> bool {
        self.responses.get() > 0
    }

    /// Since when the client has closed its side: it waits for a response or is gone, which TCP does not tell apart.
    pub(crate) fn half_closed_since(&self) -> Option<Instant> {
        self.half_closed_since.get()
    }

    /// Counts the half-closed client as gone.
    pub(crate) fn give_up_half_closed(&self) {
        self.gone.set(true);
        self.wake_reader();
    }

    /// Whether 100 (Continue) must be sent; true once per request.
    pub(crate) fn takes_continue(&self) -> bool {
        self.continue_wanted.take()
    }

    /// Bytes of a response wait for the client; `moved` if it has read some since the last call.
    pub(crate) fn wait_for_reading(&self, moved: bool) {
        if moved || self.unread_since.get().is_none() {
            self.unread_since.set(Some(Instant::now()));
        }
    }

    /// The client has read everything so far.
    pub(crate) fn all_read(&self) {
        self.unread_since.set(None);
    }

    /// Since when the client has read nothing of a pending response.
    pub(crate) fn unread_since(&self) -> Option<Instant> {
        self.unread_since.get()
    }

    /// The connection is closed because the client does not read.
    pub(crate) fn give_up_unread(&self) {
        self.unread.set(true);
    }

    /// Whether the connection was closed because the client did not read.
    pub(crate) fn ended_unread(&self) -> bool {
        self.unread.get()
    }

    /// Whether input has been discarded for too long.
    pub(crate) fn discards_too_long(&self, limits: &DiscardLimits) -> bool {
        let Some(Discard { began, moved, bytes }) = self.discard.get() else { return false };
        let (took, silent) = (began.elapsed(), moved.elapsed());
        let time = if self.stopping.get() { limits.time.min(STOPPING_DISCARD) } else { limits.time };
        let is_slow = took > limits.silence && (bytes as f64) < limits.min_rate as f64 * took.as_secs_f64();
        took > time || silent > limits.silence || is_slow
    }

    /// Input is discarded from now on; no effect if it already is.
    pub(crate) fn begin_discard(&self) {
        if self.discard.get().is_none() {
            let now = Instant::now();
            self.discard.set(Some(Discard { began: now, moved: now, bytes: 0 }));
        }
    }

    /// Counts discarded bytes.
    pub(crate) fn discarded(&self, length: usize) {
        let more =
            |discard: Discard| Discard { moved: Instant::now(), bytes: discard.bytes + length as u64, ..discard };
        self.discard.set(self.discard.get().map(more));
    }

    /// Input is no longer discarded.
    pub(crate) fn end_discard(&self) {
        self.discard.set(None);
    }

    /// Whether the half-closed client counts as gone; the first call starts its grace period.
    pub(crate) fn half_closed_is_gone(&self) -> bool {
        if self.half_closed_since.get().is_none() {
            self.half_closed_since.set(Some(Instant::now()));
        }
        self.gone.get()
    }

    /// The error of a head that was rejected by [`expire`](Self::expire).
    pub(crate) fn take_expired(&self) -> Option<RequestError> {
        self.expired.take().filter(|_| self.head_started.get().is_some())
    }

    pub(crate) fn is_stopping_between_requests(&self) -> bool {
        self.stopping.get() && self.head_started.get().is_none()
    }

    /// A head is incomplete; `begun` if more than empty lines have arrived.
    pub(crate) fn note_head(&self, begun: bool) {
        if begun && self.head_started.get().is_none() {
            self.head_started.set(Some(Instant::now()));
        }
    }

    pub(crate) fn head_over(&self) {
        self.head_started.set(None);
    }

    pub(crate) fn fail_body(&self, error: Option<RequestError>) {
        self.body_error.set(error);
    }

    pub(crate) fn want_continue(&self) {
        self.continue_wanted.set(true);
    }

    /// Bytes arrived, or the end.
    pub(crate) fn note_bytes(&self) {
        self.idle.set(false);
        self.idle_since.set(None);
        self.shrunk.set(false);
    }

    /// There is nothing to read, between two requests or inside a head.
    pub(crate) fn note_waiting(&self) {
        self.idle.set(self.head_started.get().is_none());
    }

    pub(crate) fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Registers the reading task, to be woken by the sweeper.
    pub(crate) fn remember(&self, context: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(waker) => waker.clone_from(context.waker()),
            None => *reader = Some(context.waker().clone()),
        }
    }
}
