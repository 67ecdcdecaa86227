//! The memory that a worker spends on requests which gather their bodies while connections to UCS are scarce. It decides who may
//! gather more, and reads nothing.

use std::cell::Cell;
use std::rc::Rc;

/// The most bytes of one worker: some 230 requests with all that one gathers, or 2,000 that have sent nothing yet.
const LIMIT: usize = 16 << 20;

/// What a request takes besides its body, roughly: its head, its exchange, and a stream of HTTP/2.
const REQUEST: usize = 8 << 10;

/// The bytes that all requests of a worker hold.
#[derive(Debug, Default)]
pub(crate) struct GatheredBytes(Cell<usize>);

impl GatheredBytes {
    /// The share of a request, which holds nothing yet.
    pub(crate) fn share(self: &Rc<Self>) -> GatheredShare {
        let mut share = GatheredShare { all: Rc::clone(self), bytes: 0 };
        share.note(0);
        share
    }
}

/// The bytes that one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct GatheredShare {
    all: Rc<GatheredBytes>,
    bytes: usize,
}

impl GatheredShare {
    /// Notes how many bytes of its body the request holds now. False if all of them hold too many.
    pub(crate) fn note(&mut self, body: usize) -> bool {
        self.set(body + REQUEST);
        self.all.0.get() <= LIMIT
    }

    fn set(&mut self, bytes: usize) {
        self.all.0.set(self.all.0.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for GatheredShare {
    fn drop(&mut self) {
        self.set(0);
    }
}
