//! The task that serves a client's connection, as an exchange knows it: a handle to end it, and when its client was last seen to
//! read. It serves nothing.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Instant;

use tokio::task::AbortHandle;

/// The task that serves a client's connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientTask(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    task: OnceCell<AbortHandle>,
    read: Cell<Option<Instant>>,
}

impl ClientTask {
    /// Sets the task, once it has been spawned.
    pub(crate) fn set(&self, task: AbortHandle) {
        self.0.task.get_or_init(|| task);
    }

    /// Closes the connection at once.
    pub(crate) fn abort(&self) {
        self.0.task.get().inspect(|task| task.abort());
    }

    /// The client has read, as the kernel says, though no more could be written.
    pub(crate) fn note_read(&self, now: Instant) {
        self.0.read.set(Some(now));
    }

    /// When the client was last seen to read by [`note_read`](Self::note_read).
    pub(crate) fn last_read(&self) -> Option<Instant> {
        self.0.read.get()
    }
}
