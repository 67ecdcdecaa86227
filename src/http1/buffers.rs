//! A thread's buffers for outgoing messages. They are reused, the last one returned first, because it is still in the
//! processor's cache. Their contents are the callers' business.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// The most idle buffers that are kept; a burst's surplus is freed.
const KEPT: usize = 64;

/// A buffer that has grown beyond this many bytes is freed.
const KEPT_BYTES: usize = 8 * 1024;

/// Pieces of a body up to this many bytes are copied behind the bytes that wait already, so that one system call sends all of
/// them.
pub(crate) const COPIED_BYTES: usize = 4 * 1024;

#[derive(Debug, Default)]
pub struct Buffers(RefCell<Vec<Vec<u8>>>);

/// A buffer in use. Dropping it returns it.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Rc<Buffers>,
}

impl Buffers {
    /// Returns an empty buffer with room for `room` bytes.
    pub(crate) fn take(self: &Rc<Self>, room: usize) -> Buffer {
        let mut bytes = self.0.borrow_mut().pop().unwrap_or_default();
        bytes.reserve(room);
        Buffer { bytes, home: Rc::clone(self) }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.borrow_mut();
        if kept.len() < KEPT && self.bytes.capacity() <= KEPT_BYTES {
            self.bytes.clear();
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// The part of a body of this size that is copied behind its head, in bytes.
pub(crate) fn copied_part(size: Option<u64>) -> usize {
    size.map_or(0, |size| usize::try_from(size).unwrap_or(COPIED_BYTES).min(COPIED_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_unless_it_is_long_or_one_of_too_many() {
        let buffers = Rc::new(Buffers::default());
        let mut first = buffers.take(10);
        first.extend_from_slice(b"left over");
        drop(first);
        let again = buffers.take(10);
        assert!(again.is_empty() && buffers.0.borrow().is_empty(), "the same one");
        drop(buffers.take(KEPT_BYTES + 1));
        assert!(buffers.0.borrow().is_empty());
        let many: Vec<Buffer> = (0..2 * KEPT).map(|_| buffers.take(10)).collect();
        drop(many);
        drop(again);
        assert_eq!(buffers.0.borrow().len(), KEPT);
    }
}
