//! The memory that a worker spends on requests which gather their bodies while connections to UCS are scarce. Beyond its limit
//! the oldest of them makes way, so that slow uploads, however many, take nothing from one that arrives in time. It reads
//! nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::exchange::{Exchange, GaveUp};

/// The most bytes of one worker: some 230 requests with all that one gathers, or 2,000 that have sent nothing yet.
const LIMIT: usize = 16 << 20;

/// What a request takes besides its body, roughly: its head, its exchange, and a stream of HTTP/2.
const REQUEST: usize = 8 << 10;

/// The requests of a worker that gather, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    requests: RefCell<BTreeMap<u64, Held>>,
    next: Cell<u64>,
    bytes: Cell<usize>,
}

#[derive(Debug)]
struct Held {
    exchange: Weak<Exchange>,
    bytes: usize,
}

impl Gathered {
    /// The share of a request, which holds nothing yet.
    pub(crate) fn share(self: &Rc<Self>, exchange: &Rc<Exchange>) -> GatheredShare {
        let number = self.next.get();
        self.next.set(number + 1);
        self.requests.borrow_mut().insert(number, Held { exchange: Rc::downgrade(exchange), bytes: 0 });
        GatheredShare { all: Rc::clone(self), number }
    }

    fn hold(&self, number: u64, bytes: usize) {
        if let Some(held) = self.requests.borrow_mut().get_mut(&number) {
            self.bytes.set(self.bytes.get() - held.bytes + bytes);
            held.bytes = bytes;
        }
    }

    fn make_room(&self) {
        while self.bytes.get() > LIMIT {
            let Some((_, oldest)) = self.requests.borrow_mut().pop_first() else { return };
            self.bytes.set(self.bytes.get() - oldest.bytes);
            if let Some(exchange) = oldest.exchange.upgrade() {
                exchange.give_up(GaveUp::Overload);
            }
        }
    }
}

/// The bytes that one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct GatheredShare {
    all: Rc<Gathered>,
    number: u64,
}

impl GatheredShare {
    /// Notes how many bytes of its body the request holds while it waits for more. It may be given up by that itself.
    pub(crate) fn note(&self, body: usize) {
        self.all.hold(self.number, body + REQUEST);
        self.all.make_room();
    }
}

impl Drop for GatheredShare {
    fn drop(&mut self) {
        self.all.hold(self.number, 0);
        self.all.requests.borrow_mut().remove(&self.number);
    }
}
