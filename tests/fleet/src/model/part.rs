//! A part of the world that most moves leave as it is: shared until it is changed, with its fingerprint.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::Fingerprint;

#[derive(Clone, Debug)]
pub(super) struct Part<T> {
    content: Rc<T>,
    print: Cell<Option<(u64, u64)>>,
}

impl<T> Part<T> {
    pub(super) fn new(content: T) -> Part<T> {
        Part { content: Rc::new(content), print: Cell::new(None) }
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T: Clone> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.print.set(None);
        Rc::make_mut(&mut self.content)
    }
}

impl<T: Hash> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let print = self.print.get().unwrap_or_else(|| Fingerprint::of(&*self.content));
        self.print.set(Some(print));
        print.hash(state);
    }
}
