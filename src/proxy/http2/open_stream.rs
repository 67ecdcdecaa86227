//! The place of an open stream among its worker's clients. It serves nothing.

use std::rc::Rc;

use super::unwritten::Unwritten;
use crate::proxy::context::Downstream;

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    connection: Rc<Downstream>,
    pub(super) downstream: Rc<Downstream>,
    /// What its connection has given hyper.
    pub(super) unwritten: Rc<Unwritten>,
}

impl OpenStream {
    pub(super) fn new(connection: &Rc<Downstream>, unwritten: &Rc<Unwritten>) -> OpenStream {
        // A connection with an open stream is not idle.
        connection.state.begin_response();
        let downstream = connection.worker.clients.open_stream(connection);
        OpenStream { connection: Rc::clone(connection), downstream, unwritten: Rc::clone(unwritten) }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.downstream.worker.clients.remove(&self.downstream);
        self.connection.state.end_response();
    }
}
