//! What the reader of a client's bytes, the answer under way and the worker's sweeper know of one connection: its faults, and
//! since when the client is slow. One thread only.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::RequestError;

/// While a gateway stops it reads on behind a refusal for no longer than this.
const STOPPING_DISCARD: Duration = Duration::from_secs(1);

/// How long a client may go on sending what nobody needs, behind an answer that it already has.
#[derive(Clone, Copy, Debug)]
pub struct DiscardLimits {
    /// In all.
    pub time: Duration,
    /// Without a byte.
    pub silence: Duration,
    /// Bytes a second on average, once it has lasted as long as a silence may; 0 for no such rule.
    pub min_rate: u64,
}

/// Input that is read and dropped.
#[derive(Clone, Copy, Debug)]
struct Discard {
    began: Instant,
    moved: Instant,
    bytes: u64,
}

/// The shared cell of one connection.
#[derive(Debug, Default)]
pub struct ConnectionState {
    body_fault: Cell<Option<RequestError>>,
    head_started: Cell<Option<Instant>>,
    idle: Cell<bool>,
    idle_since: Cell<Option<Instant>>,
    expired: Cell<Option<RequestError>>,
    /// Requests of this connection whose answer is not over.
    answering: Cell<usize>,
    /// Since when the client has sent the end of its input while an answer is under way.
    half_closed_since: Cell<Option<Instant>>,
    /// The half-closed client is taken for gone.
    gone: Cell<bool>,
    /// The client waits for 100 (Continue).
    continue_wanted: Cell<bool>,
    /// Since when the client has taken nothing of an answer that waits for it.
    unread_since: Cell<Option<Instant>>,
    /// The connection ends because of that.
    unread: Cell<bool>,
    /// Idle for long enough to give memory back.
    resting: Cell<bool>,
    /// What the client sends is read and dropped.
    discard: Cell<Option<Discard>>,
    stopping: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl ConnectionState {
    /// What was wrong with the body whose stream has just failed; `None` if nothing was seen but a broken socket.
    pub fn body_fault(&self) -> Option<RequestError> {
        self.body_fault.get()
    }

    /// When the first byte of a head came whose end has not come yet.
    pub fn head_started(&self) -> Option<Instant> {
        self.head_started.get()
    }

    /// Since when the client has sent nothing, between two requests. The time runs from the first call that finds it so: the
    /// sweeper calls often enough, and a request need not ask for the time.
    pub fn idle_since(&self) -> Option<Instant> {
        if self.idle.get() && self.idle_since.get().is_none() {
            self.idle_since.set(Some(Instant::now()));
        }
        self.idle_since.get()
    }

    /// Gives up on a head that has begun: `fault` (in practice [`RequestError::HeaderTimeout`]) is answered. Without effect once
    /// the head is complete. A connection that is idle is for the worker to close.
    pub fn expire(&self, fault: RequestError) {
        if self.head_started.get().is_some() {
            self.expired.set(Some(fault));
            self.wake_reader();
        }
    }

    /// Has an idle connection give back what only a busy one needs.
    pub fn rest(&self) {
        if !self.resting.replace(true) {
            self.wake_reader();
        }
    }

    /// Whether the connection has been idle for a while.
    pub fn is_resting(&self) -> bool {
        self.resting.get()
    }

    /// Takes no further request.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake_reader();
    }

    /// Whether the connection ends with the answer that is under way.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// A request is being answered from now on.
    pub fn begin_answer(&self) {
        self.answering.set(self.answering.get() + 1);
    }

    /// Its answer is over, sent or not.
    pub fn end_answer(&self) {
        self.answering.set(self.answering.get() - 1);
        self.gone.set(false);
        if self.answering.get() == 0 && self.half_closed_since.take().is_some() {
            self.wake_reader();
        }
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.answering.get() > 0
    }

    /// Since when the client has been silent for good, waiting for an answer or gone: TCP does not tell which.
    pub fn half_closed_since(&self) -> Option<Instant> {
        self.half_closed_since.get()
    }

    /// Takes the half-closed client for gone.
    pub fn give_up_half_closed(&self) {
        self.gone.set(true);
        self.wake_reader();
    }

    /// Whether the client must be told that it may send the body; says so once.
    pub fn takes_continue(&self) -> bool {
        self.continue_wanted.take()
    }

    /// Bytes of an answer wait for the client; `moved` when it has taken some of them.
    pub fn wait_for_reading(&self, moved: bool) {
        if moved || self.unread_since.get().is_none() {
            self.unread_since.set(Some(Instant::now()));
        }
    }

    /// The client has taken all that there was for it.
    pub fn all_was_read(&self) {
        self.unread_since.set(None);
    }

    /// Since when the client has taken nothing of what waits for it.
    pub fn unread_since(&self) -> Option<Instant> {
        self.unread_since.get()
    }

    /// The connection ends now, because the client does not read.
    pub fn give_up_unread(&self) {
        self.unread.set(true);
    }

    /// Whether that is why it ended.
    pub fn ended_unread(&self) -> bool {
        self.unread.get()
    }

    /// Whether the client has sent what nobody needs for too long.
    pub fn discards_too_long(&self, limits: &DiscardLimits) -> bool {
        let Some(Discard { began, moved, bytes }) = self.discard.get() else { return false };
        let (took, silent) = (began.elapsed(), moved.elapsed());
        let time = if self.stopping.get() { limits.time.min(STOPPING_DISCARD) } else { limits.time };
        let is_slow = took > limits.silence && (bytes as f64) < limits.min_rate as f64 * took.as_secs_f64();
        took > time || silent > limits.silence || is_slow
    }

    /// What comes from now on is dropped; without effect when that is so already.
    pub(crate) fn begin_discard(&self) {
        if self.discard.get().is_none() {
            let now = Instant::now();
            self.discard.set(Some(Discard { began: now, moved: now, bytes: 0 }));
        }
    }

    /// So many bytes were dropped.
    pub(crate) fn discarded(&self, length: usize) {
        let more =
            |discard: Discard| Discard { moved: Instant::now(), bytes: discard.bytes + length as u64, ..discard };
        self.discard.set(self.discard.get().map(more));
    }

    /// What comes from now on counts again.
    pub(crate) fn end_discard(&self) {
        self.discard.set(None);
    }

    /// Whether the half-closed client was given up; from the first call on its time runs.
    pub(crate) fn half_closed_is_gone(&self) -> bool {
        if self.half_closed_since.get().is_none() {
            self.half_closed_since.set(Some(Instant::now()));
        }
        self.gone.get()
    }

    /// The fault of a head whose time is over.
    pub(crate) fn take_expired(&self) -> Option<RequestError> {
        self.expired.take().filter(|_| self.head_started.get().is_some())
    }

    pub(crate) fn is_stopping_between_requests(&self) -> bool {
        self.stopping.get() && self.head_started.get().is_none()
    }

    /// A head is not complete; `begun` when more than empty lines have come.
    pub(crate) fn note_head(&self, begun: bool) {
        if begun && self.head_started.get().is_none() {
            self.head_started.set(Some(Instant::now()));
        }
    }

    pub(crate) fn head_over(&self) {
        self.head_started.set(None);
    }

    pub(crate) fn break_body(&self, fault: Option<RequestError>) {
        self.body_fault.set(fault);
    }

    pub(crate) fn want_continue(&self) {
        self.continue_wanted.set(true);
    }

    /// Bytes came, or the end.
    pub(crate) fn note_bytes(&self) {
        self.idle.set(false);
        self.idle_since.set(None);
        self.resting.set(false);
    }

    /// Nothing to read, between two requests or inside a head.
    pub(crate) fn note_waiting(&self) {
        self.idle.set(self.head_started.get().is_none());
    }

    pub(crate) fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Remembers who reads, for what the sweeper has to say.
    pub(crate) fn remember(&self, context: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(waker) => waker.clone_from(context.waker()),
            None => *reader = Some(context.waker().clone()),
        }
    }
}
