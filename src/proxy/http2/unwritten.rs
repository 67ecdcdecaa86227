//! Which responses hyper gets as a whole: short ones that the client's windows surely admit, while little waits in hyper. hyper has
//! then nothing left to do for the stream, so no deadline would end it: of all others the last byte is held back.

use std::cell::Cell;

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
}

impl Unwritten {
    /// No more than so many bytes wait if another response goes as a whole.
    pub(super) fn limited_to(most: usize) -> Unwritten {
        Unwritten { window: Cell::new(INITIAL_WINDOW), waiting: Cell::default(), most }
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
