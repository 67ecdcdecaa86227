//! The state of one client connection, shared by its reader, the response in progress and the worker's sweeper: errors, and the
//! times from which deadlines count. Single-threaded.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::RequestError;
use crate::proxy::upstream::pace::Pace;

/// RFC 9110, 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The limits of discarding a client's input after its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiscardLimits {
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

/// The state of the reader, as far as deadlines depend on it.
#[derive(Clone, Copy, Debug, Default)]
enum Reading {
    /// It reads a body or waits for a response, which have deadlines elsewhere.
    #[default]
    Request,
    /// It waits between two requests. The time counts from the first look of the sweeper, which looks often enough: requests
    /// need not read the clock.
    Idle { since: Option<Instant>, stage: IdleStage },
    /// It has the beginning of a head, which the sweeper may have rejected.
    Head { since: Instant, expired: Option<RequestError> },
    /// The client has closed its side while a response is in progress, and waits for that (RFC 9112, 9.6). Its connection was
    /// last looked at at this time.
    HalfClosed { looked: Instant },
    /// It discards input.
    Discarding(Discard),
}

/// How far an idle connection is on its way to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum IdleStage {
    /// It may be busy again soon.
    #[default]
    Fresh,
    /// It has been idle for long enough to release memory.
    Shrunk,
    /// It ends unless a request has arrived.
    Over,
}

/// The state of the writer.
#[derive(Clone, Copy, Debug, Default)]
enum Writing {
    /// The client has read everything so far.
    #[default]
    Current,
    /// Bytes wait for the client, which has read nothing since this time. `queued`: how many the kernel held for it then.
    Waiting { since: Instant, queued: Option<u64> },
    /// The connection was closed because the client does not read.
    GaveUp,
}

/// The shared state of one connection.
#[derive(Debug, Default)]
pub struct ConnectionState {
    reading: Cell<Reading>,
    writing: Cell<Writing>,
    body_error: Cell<Option<RequestError>>,
    /// Interim responses that wait to be sent to the client (RFC 9110, 15.2).
    interim: RefCell<Vec<u8>>,
    /// The requests of this connection whose response is not complete.
    responses: Cell<usize>,
    reader: RefCell<Option<Waker>>,
}

impl ConnectionState {
    /// The error of the request body that has just failed; `None` if the socket failed.
    pub fn body_error(&self) -> Option<RequestError> {
        self.body_error.get()
    }

    /// When the first byte of an incomplete head arrived.
    pub(crate) fn head_started(&self) -> Option<Instant> {
        if let Reading::Head { since, .. } = self.reading.get() { Some(since) } else { None }
    }

    /// Since when the connection has been idle between two requests, counted from the first call that finds it idle.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let Reading::Idle { since, stage } = self.reading.get() else { return None };
        let since = Some(since.unwrap_or_else(Instant::now));
        self.reading.set(Reading::Idle { since, stage });
        since
    }

    /// Moves every deadline by `gap`, in which the worker stood still: bytes may have arrived meanwhile.
    pub(crate) fn postpone(&self, gap: Duration) {
        self.reading.set(match self.reading.get() {
            Reading::Request => Reading::Request,
            Reading::Idle { since, stage } => Reading::Idle { since: since.map(|since| since + gap), stage },
            Reading::Head { since, expired } => Reading::Head { since: since + gap, expired },
            Reading::HalfClosed { looked } => Reading::HalfClosed { looked: looked + gap },
            Reading::Discarding(Discard { began, moved, bytes }) => {
                Reading::Discarding(Discard { began: began + gap, moved: moved + gap, bytes })
            }
        });
        if let Writing::Waiting { since, queued } = self.writing.get() {
            self.writing.set(Writing::Waiting { since: since + gap, queued });
        }
    }

    /// Rejects a head that has begun, with this error (in practice [`RequestError::HeaderTimeout`]). No effect once the head is
    /// complete.
    pub(crate) fn expire(&self, error: RequestError) {
        if let Reading::Head { since, .. } = self.reading.get() {
            self.reading.set(Reading::Head { since, expired: Some(error) });
            self.wake_reader();
        }
    }

    /// Makes an idle connection release the memory that only a busy one needs.
    pub(crate) fn shrink(&self) {
        if let Reading::Idle { since, stage: IdleStage::Fresh } = self.reading.get() {
            self.reading.set(Reading::Idle { since, stage: IdleStage::Shrunk });
            self.wake_reader();
        }
    }

    /// Ends an idle connection, unless a request has arrived that the reader has not seen yet.
    pub(crate) fn end_idle(&self) {
        if let Reading::Idle { since, .. } = self.reading.get() {
            self.reading.set(Reading::Idle { since, stage: IdleStage::Over });
            self.wake_reader();
        }
    }

    /// Whether the idle connection ends now.
    pub(crate) fn is_idle_over(&self) -> bool {
        matches!(self.reading.get(), Reading::Idle { stage: IdleStage::Over, .. })
    }

    /// Whether the connection has been idle for long enough to release memory.
    pub(crate) fn is_shrunk(&self) -> bool {
        matches!(self.reading.get(), Reading::Idle { stage: IdleStage::Shrunk, .. })
    }

    /// A response is in progress from now on.
    pub(crate) fn begin_response(&self) {
        self.responses.set(self.responses.get() + 1);
    }

    /// The response is over, sent or not.
    pub(crate) fn end_response(&self) {
        self.responses.set(self.responses.get() - 1);
        if matches!(self.reading.get(), Reading::HalfClosed { .. }) && !self.is_responding() {
            self.reading.set(Reading::Request);
            self.wake_reader();
        }
    }

    /// Whether a response is in progress.
    pub(crate) fn is_responding(&self) -> bool {
        self.responses.get() > 0
    }

    /// When the connection of a half-closed client was last looked at.
    pub(crate) fn half_closed_looked(&self) -> Option<Instant> {
        if let Reading::HalfClosed { looked } = self.reading.get() { Some(looked) } else { None }
    }

    /// Makes the reader look at the connection of a half-closed client again: the event loop tells nothing more of it.
    pub(crate) fn look_again(&self) {
        self.reading.set(Reading::HalfClosed { looked: Instant::now() });
        self.wake_reader();
    }

    /// The client has closed its side; false if that is known.
    pub(crate) fn half_closes(&self) -> bool {
        let is_news = !matches!(self.reading.get(), Reading::HalfClosed { .. });
        if is_news {
            self.reading.set(Reading::HalfClosed { looked: Instant::now() });
        }
        is_news
    }

    /// Queues an interim response, which is sent before anything else.
    pub(crate) fn queue_interim(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.interim.borrow_mut());
    }

    /// Queues 100 (Continue): the body that the client may be waiting with is read now.
    pub(crate) fn queue_continue(&self) {
        self.queue_interim(|bytes| bytes.extend_from_slice(CONTINUE));
    }

    /// Sends queued interim responses; `write` returns how many bytes it took. The rest stays queued.
    pub(crate) fn send_interim<E>(&self, mut write: impl FnMut(&[u8]) -> Poll<Result<usize, E>>) -> Result<(), E> {
        let mut interim = self.interim.borrow_mut();
        while !interim.is_empty() {
            let Poll::Ready(length) = write(&interim) else { break };
            interim.drain(..length?);
        }
        Ok(())
    }

    /// The interim responses that are still to be sent.
    pub(crate) fn take_interim(&self) -> Vec<u8> {
        self.interim.take()
    }

    /// Bytes of a response wait for the client; `moved` if it has read some since the last call.
    pub(crate) fn wait_for_reading(&self, moved: bool) {
        match self.writing.get() {
            Writing::Current => self.writing.set(Writing::Waiting { since: Instant::now(), queued: None }),
            Writing::Waiting { .. } if moved => {
                self.writing.set(Writing::Waiting { since: Instant::now(), queued: None });
            }
            Writing::Waiting { .. } | Writing::GaveUp => {}
        }
    }

    /// The client has read everything so far.
    pub(crate) fn all_read(&self) {
        if let Writing::Waiting { .. } = self.writing.get() {
            self.writing.set(Writing::Current);
        }
    }

    /// Since when the client has read nothing of a pending response.
    pub(crate) fn unread_since(&self) -> Option<Instant> {
        if let Writing::Waiting { since, .. } = self.writing.get() { Some(since) } else { None }
    }

    /// The kernel holds so many bytes for the client. If they were more before, the client reads, though too little to make room
    /// for more: true.
    pub(crate) fn note_queued(&self, bytes: u64) -> bool {
        let Writing::Waiting { since, queued } = self.writing.get() else { return false };
        let reads = queued.is_some_and(|before| bytes < before);
        let since = if reads { Instant::now() } else { since };
        self.writing.set(Writing::Waiting { since, queued: Some(bytes) });
        reads
    }

    /// The connection is closed because the client does not read.
    pub(crate) fn give_up_unread(&self) {
        self.writing.set(Writing::GaveUp);
    }

    /// Whether the connection was closed because the client did not read.
    pub(crate) fn ended_unread(&self) -> bool {
        matches!(self.writing.get(), Writing::GaveUp)
    }

    /// Whether input has been discarded for too long.
    pub(crate) fn discards_too_long(&self, limits: &DiscardLimits) -> bool {
        let Reading::Discarding(Discard { began, moved, bytes }) = self.reading.get() else { return false };
        let (took, silent) = (began.elapsed(), moved.elapsed());
        let is_slow = took > limits.silence && Pace { waited: took, moved: bytes }.is_below(limits.min_rate);
        took > limits.time || silent > limits.silence || is_slow
    }

    /// Input is discarded from now on; no effect if it already is.
    pub(crate) fn begin_discard(&self) {
        if !matches!(self.reading.get(), Reading::Discarding(_)) {
            let now = Instant::now();
            self.reading.set(Reading::Discarding(Discard { began: now, moved: now, bytes: 0 }));
        }
    }

    /// Counts discarded bytes.
    pub(crate) fn discarded(&self, length: usize) {
        if let Reading::Discarding(discard) = self.reading.get() {
            let bytes = discard.bytes + length as u64;
            self.reading.set(Reading::Discarding(Discard { moved: Instant::now(), bytes, ..discard }));
        }
    }

    /// Input is no longer discarded.
    pub(crate) fn end_discard(&self) {
        if let Reading::Discarding(_) = self.reading.get() {
            self.reading.set(Reading::Request);
        }
    }

    /// The error of a head that was rejected by [`expire`](Self::expire).
    pub(crate) fn take_expired(&self) -> Option<RequestError> {
        if let Reading::Head { expired, .. } = self.reading.get() { expired } else { None }
    }

    /// A head is incomplete; `begun` if more than empty lines have arrived.
    pub(crate) fn note_head(&self, begun: bool) {
        if begun && self.head_started().is_none() {
            self.reading.set(Reading::Head { since: Instant::now(), expired: None });
        }
    }

    pub(crate) fn head_over(&self) {
        if let Reading::Head { .. } = self.reading.get() {
            self.reading.set(Reading::Request);
        }
    }

    pub(crate) fn fail_body(&self, error: Option<RequestError>) {
        self.body_error.set(error);
    }

    /// Bytes arrived, or the end.
    pub(crate) fn note_bytes(&self) {
        if let Reading::Idle { .. } = self.reading.get() {
            self.reading.set(Reading::Request);
        }
    }

    /// There is nothing to read, between two requests or inside a head.
    pub(crate) fn note_waiting(&self) {
        if !matches!(self.reading.get(), Reading::Idle { .. } | Reading::Head { .. }) {
            self.reading.set(Reading::Idle { since: None, stage: IdleStage::Fresh });
        }
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
