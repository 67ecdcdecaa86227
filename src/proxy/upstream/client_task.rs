//! The task that serves a client's connection, as an exchange knows it: a handle to end it. It serves nothing.

use std::cell::OnceCell;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// The task that serves a client's connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientTask(Rc<OnceCell<AbortHandle>>);

impl ClientTask {
    /// Sets the task, once it has been spawned.
    pub(crate) fn set(&self, task: AbortHandle) {
        self.0.get_or_init(|| task);
    }

    /// Closes the connection at once.
    pub(crate) fn abort(&self) {
        self.0.get().inspect(|task| task.abort());
    }
}
