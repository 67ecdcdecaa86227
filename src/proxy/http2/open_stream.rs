//! The place of an open stream among its worker's clients. It serves nothing.

use std::rc::Rc;
use std::time::Duration;

use super::unwritten::Unwritten;
use crate::proxy::context::Downstream;
use crate::proxy::upstream::exchange::SWEEP_INTERVAL;

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    connection: Rc<Downstream>,
    pub(super) downstream: Rc<Downstream>,
    /// What its connection has given h2.
    pub(super) unwritten: Rc<Unwritten>,
}

impl OpenStream {
    pub(super) fn new(connection: &Rc<Downstream>, unwritten: &Rc<Unwritten>) -> OpenStream {
        // A connection with an open stream is not idle.
        connection.state.begin_response();
        let downstream = connection.worker.clients.open_stream(connection);
        OpenStream { connection: Rc::clone(connection), downstream, unwritten: Rc::clone(unwritten) }
    }

    /// Resets the client's connection if nothing was read from it for so long: the kernel keeps much for it, however its streams
    /// end.
    pub(super) fn end_unread_connection(&self, unread_for: Duration) {
        let Downstream { state, task, .. } = &*self.connection;
        if state.unread_since().is_some_and(|since| since.elapsed() + SWEEP_INTERVAL >= unread_for) {
            state.give_up_unread();
            task.abort();
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.downstream.worker.clients.remove(&self.downstream);
        self.connection.state.end_response();
    }
}
