//! Which responses hyper gets as a whole: short ones that the client's windows surely admit, while little waits in hyper. hyper has
//! then nothing left to do for the stream, so no deadline would end it: of all others the last byte is held back. And no response
//! gives hyper more while the client's socket takes no more, as hyper keeps that even for streams that were ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

/// The window of a stream unless the client says otherwise (RFC 9113, 6.9.2).
const INITIAL_WINDOW: usize = 65_535;

/// What one connection has given hyper and not seen written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// The least window that the client has given its new streams.
    window: Cell<usize>,
    /// The bytes of bodies that wait in hyper. Those of streams that were reset stay counted: then fewer responses go as a whole.
    waiting: Cell<usize>,
    /// The most of them for that.
    most: usize,
    /// Whether the client's socket takes no more.
    is_blocked: Cell<bool>,
    /// The streams that wait until it does.
    blocked: RefCell<BTreeMap<u64, Waker>>,
    streams: Cell<u64>,
}

impl Unwritten {
    /// No more than so many bytes wait if another response goes as a whole.
    pub(super) fn limited_to(most: usize) -> Unwritten {
        Unwritten {
            window: Cell::new(INITIAL_WINDOW),
            waiting: Cell::default(),
            most,
            is_blocked: Cell::default(),
            blocked: RefCell::default(),
            streams: Cell::default(),
        }
    }

    /// The number of the next stream.
    pub(super) fn next_stream(&self) -> u64 {
        self.streams.replace(self.streams.get() + 1)
    }

    /// Waits until the client's socket takes more.
    pub(super) fn poll_writable(&self, stream: u64, context: &Context<'_>) -> Poll<()> {
        if !self.is_blocked.get() {
            return Poll::Ready(());
        }
        self.blocked.borrow_mut().insert(stream, context.waker().clone());
        Poll::Pending
    }

    /// The stream is over.
    pub(super) fn forget(&self, stream: u64) {
        self.blocked.borrow_mut().remove(&stream);
    }

    /// Whether the client's socket has just taken less than there was.
    pub(super) fn note_blocked(&self, is_blocked: bool) {
        self.is_blocked.set(is_blocked);
        if !is_blocked {
            std::mem::take(&mut *self.blocked.borrow_mut()).into_values().for_each(Waker::wake);
        }
    }

    /// Whether the last bytes of a body go as a whole; `before` of them hyper has had already.
    pub(super) fn admits(&self, last: usize, before: usize) -> bool {
        before.saturating_add(last) <= self.window.get() && self.waiting.get().saturating_add(last) <= self.most
    }

    /// hyper gets these bytes of a body.
    pub(super) fn given(&self, bytes: usize) {
        self.waiting.set(self.waiting.get().saturating_add(bytes));
    }

    /// A DATA frame with so many bytes is written.
    pub(super) fn written(&self, bytes: usize) {
        self.waiting.set(self.waiting.get().saturating_sub(bytes));
    }

    /// The client has set the window of its streams.
    pub(super) fn window_is(&self, window: usize) {
        self.window.set(self.window.get().min(window));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_wait_while_the_socket_takes_no_more() {
        let unwritten = Unwritten::limited_to(100);
        let context = Context::from_waker(Waker::noop());
        let (first, second) = (unwritten.next_stream(), unwritten.next_stream());
        assert!(unwritten.poll_writable(first, &context).is_ready());
        unwritten.note_blocked(true);
        assert!(unwritten.poll_writable(first, &context).is_pending());
        assert!(unwritten.poll_writable(second, &context).is_pending());
        unwritten.forget(first);
        assert_eq!(unwritten.blocked.borrow().len(), 1);
        unwritten.note_blocked(false);
        assert!(unwritten.poll_writable(first, &context).is_ready() && unwritten.blocked.borrow().is_empty());
    }

    #[test]
    fn a_response_goes_as_a_whole_within_its_window_and_the_limit() {
        let unwritten = Unwritten::limited_to(100);
        assert!(unwritten.admits(100, 65_435) && !unwritten.admits(100, 65_436) && !unwritten.admits(101, 0));
        unwritten.given(60);
        assert!(unwritten.admits(40, 0) && !unwritten.admits(41, 0));
        unwritten.written(1000);
        assert!(unwritten.admits(100, 0));
        unwritten.window_is(99);
        unwritten.window_is(500);
        assert!(unwritten.admits(99, 0) && !unwritten.admits(100, 0));
    }
}
