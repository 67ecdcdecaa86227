//! What a connection's guard, its service and the worker's sweeper share: the fault, and since when the client is slow.
//! One thread only.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use hyper::http::{Request, Version, header};
use tokio::time::Instant;

use super::fault::WireFault;

/// The shared cell of one connection.
#[derive(Debug, Default)]
pub struct WireState {
    pub(super) head_fault: Cell<Option<WireFault>>,
    pub(super) body_fault: Cell<Option<WireFault>>,
    pub(super) head_started: Cell<Option<Instant>>,
    pub(super) idle_since: Cell<Option<Instant>>,
    pub(super) expired: Cell<Option<WireFault>>,
    /// Requests of this connection whose answer is not over.
    answering: Cell<usize>,
    /// Since when the client has sent the end of its input while an answer is under way.
    half_closed_since: Cell<Option<Instant>>,
    /// The half-closed client is taken for gone.
    gone: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

/// What hyper gets instead of a faulty head. It has no Host, which the guard lets no client leave out on HTTP/1.1, so no
/// client can send it.
pub(super) const SYNTHETIC_REQUEST: &[u8] = b"GET /.wire-fault HTTP/1.1\r\nConnection: close\r\n\r\n";

impl WireState {
    /// The fault to answer `request` with, when it is the guard's stand-in for a faulty head. The service asks this
    /// before anything else; earlier requests of the same connection are answered as usual.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<WireFault> {
        let fault = self.head_fault.get()?;
        let is_synthetic = request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST);
        is_synthetic.then_some(fault)
    }

    /// What was wrong with the body whose stream has just failed; `None` if the guard saw nothing (a socket error).
    pub fn body_fault(&self) -> Option<WireFault> {
        self.body_fault.get()
    }

    /// The fault that ended the connection's input, for logs and metrics.
    pub fn head_fault(&self) -> Option<WireFault> {
        self.head_fault.get()
    }

    /// When the first byte of a head came whose end has not come yet.
    pub fn head_started(&self) -> Option<Instant> {
        self.head_started.get()
    }

    /// Since when the client has sent nothing, between two requests; the last one may still be in the making.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get()
    }

    /// Gives up on a head that has begun: the guard feeds its stand-in, so that `fault` (in practice
    /// [`WireFault::HeaderTimeout`]) is answered in the ordinary way. Without effect once the head is complete. A
    /// connection that is idle is for the worker to close.
    pub fn expire(&self, fault: WireFault) {
        if self.head_started.get().is_none() {
            return;
        }
        self.expired.set(Some(fault));
        self.wake_reader();
    }

    /// A request is being answered from now on.
    pub fn begin_answer(&self) {
        self.answering.set(self.answering.get() + 1);
    }

    /// Its answer is over, sent or not.
    pub fn end_answer(&self) {
        self.answering.set(self.answering.get() - 1);
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

    /// Takes the half-closed client for gone: hyper gets to see the end of the input, and drops the request.
    pub fn give_up_half_closed(&self) {
        self.gone.set(true);
        self.wake_reader();
    }

    /// Whether the end of the input is kept from hyper, which would take the client for gone at once: a client may end
    /// its side after the request and still wait for the answer (RFC 9112, 9.6).
    pub(super) fn hides_end(&self) -> bool {
        if !self.is_answering() || self.gone.get() {
            return false;
        }
        if self.half_closed_since.get().is_none() {
            self.half_closed_since.set(Some(Instant::now()));
        }
        true
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Remembers who reads, for [`WireState::expire`].
    pub(super) fn remember(&self, context: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(waker) => waker.clone_from(context.waker()),
            None => *reader = Some(context.waker().clone()),
        }
    }
}
