//! How much of a connection's responses may wait in h2 until the client's socket takes it: so much of bodies, so much of heads,
//! however many streams there are, and nothing more while the socket is full. A stream with more waits in its own task, which
//! deadlines can end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::sync::Semaphore;

/// The most bytes of bodies. With much less, streams that are ready at once fill fewer records of TLS: 64 KiB took a sixth more
/// of the processor for responses of 64 KB.
const BODY_BYTES: usize = 256 * 1024;

/// With so many bytes of heads, another one waits.
const HEAD_BYTES: usize = 32 * 1024;

/// What one connection has given h2 and not seen written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// The bytes of bodies that it may still be given.
    body_room: Semaphore,
    /// The bytes of heads that it was given.
    heads: Cell<usize>,
    /// Whether the client's socket is full.
    is_blocked: Cell<bool>,
    /// The streams that wait for that to end.
    waiting: RefCell<Vec<Waker>>,
}

impl Unwritten {
    pub(super) fn new() -> Unwritten {
        Unwritten {
            body_room: Semaphore::new(BODY_BYTES),
            heads: Cell::default(),
            is_blocked: Cell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Waits until another head or piece of a body may be given, if there is room for it.
    pub(super) fn poll_writable(&self, context: &Context<'_>) -> Poll<()> {
        if self.heads.get() < HEAD_BYTES && !self.is_blocked.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// h2 gets a head of so many bytes.
    pub(super) fn head_given(&self, bytes: usize) {
        self.heads.set(self.heads.get().saturating_add(bytes));
    }

    /// h2 has just written what it could: whether the socket refused some of it, and whether it is full now.
    pub(super) fn note_written(&self, was_refused: bool, is_blocked: bool) {
        if !was_refused {
            self.heads.set(0);
        }
        self.is_blocked.set(is_blocked);
        if self.heads.get() < HEAD_BYTES && !is_blocked {
            std::mem::take(&mut *self.waiting.borrow_mut()).into_iter().for_each(Waker::wake);
        }
    }

    /// Takes room for so many bytes of a body, if there is room at once.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        self.body_room.try_acquire_many(permits(bytes)).map(|permit| permit.forget()).is_ok()
    }

    /// Takes room for so many bytes of a body, one stream after the other.
    pub(super) async fn take(&self, bytes: usize) {
        if let Ok(permit) = self.body_room.acquire_many(permits(bytes)).await {
            permit.forget();
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes of a body that h2 gets, for which there is room. The room is free again once h2 drops them: they are written, or their
/// stream was reset.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Bytes,
    length: usize,
    unwritten: Rc<Unwritten>,
}

impl Part {
    pub(super) fn new(bytes: Bytes, unwritten: &Rc<Unwritten>) -> Part {
        Part { length: bytes.len(), bytes, unwritten: Rc::clone(unwritten) }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.unwritten.body_room.add_permits(self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;

    #[test]
    fn bodies_wait_for_room_one_after_the_other() {
        let unwritten = Rc::new(Unwritten::new());
        let mut context = Context::from_waker(Waker::noop());
        assert!(unwritten.try_take(BODY_BYTES) && !unwritten.try_take(1));
        let part = Part::new(Bytes::from(vec![0; BODY_BYTES]), &unwritten);
        let (mut first, mut second) = (pin!(unwritten.take(BODY_BYTES)), pin!(unwritten.take(1)));
        assert!(first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending());
        drop(part);
        assert!(second.as_mut().poll(&mut context).is_pending() && first.as_mut().poll(&mut context).is_ready());
        drop(Part::new(Bytes::from(vec![0; BODY_BYTES]), &unwritten));
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn streams_wait_until_heads_are_written_and_the_socket_takes_more() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Task>) {}
        }
        let (unwritten, task) = (Unwritten::new(), Waker::from(Arc::new(Task)));
        let context = Context::from_waker(&task);
        unwritten.head_given(HEAD_BYTES - 1);
        assert!(unwritten.poll_writable(&context).is_ready());
        unwritten.head_given(1_000_000);
        assert!(unwritten.poll_writable(&context).is_pending() && unwritten.poll_writable(&context).is_pending());
        assert_eq!(unwritten.waiting.borrow().len(), 1);
        for (was_refused, is_blocked) in [(true, true), (true, false), (false, true)] {
            unwritten.note_written(was_refused, is_blocked);
            assert!(unwritten.poll_writable(&context).is_pending(), "{was_refused} {is_blocked}");
        }
        unwritten.note_written(false, false);
        assert!(unwritten.poll_writable(&context).is_ready() && unwritten.waiting.borrow().is_empty());
    }
}
