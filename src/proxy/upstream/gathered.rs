//! The memory that a worker spends on requests which gather their bodies while connections to UCS are scarce. It decides who may
//! gather more, and reads nothing.

use std::cell::Cell;
use std::rc::Rc;

/// The most bytes of one worker: 256 requests with all that one gathers, or some thousands that send slowly.
const LIMIT: usize = 16 << 20;

/// The bytes that all requests of a worker hold.
#[derive(Debug, Default)]
pub(crate) struct GatheredBytes(Cell<usize>);

impl GatheredBytes {
    /// The share of a request, which holds nothing yet.
    pub(crate) fn share(self: &Rc<Self>) -> GatheredShare {
        GatheredShare { all: Rc::clone(self), bytes: 0 }
    }
}

/// The bytes that one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct GatheredShare {
    all: Rc<GatheredBytes>,
    bytes: usize,
}

impl GatheredShare {
    /// Notes how many bytes the request holds now. False if all of them hold too many.
    pub(crate) fn note(&mut self, bytes: usize) -> bool {
        self.all.0.set(self.all.0.get() - self.bytes + bytes);
        self.bytes = bytes;
        self.all.0.get() <= LIMIT
    }
}

impl Drop for GatheredShare {
    fn drop(&mut self) {
        self.note(0);
    }
}
