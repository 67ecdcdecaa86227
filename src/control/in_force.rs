//! The record in force, and the only way from control to the gate: a published record was saved before, or is kept in memory
//! by name.

use std::sync::Arc;

use crate::control::store::Saved;
use crate::gate::{Gate, Published};
use crate::policy::fleet::Closed;
use crate::policy::mode::ModeRecord;

pub(super) struct InForce {
    gate: Arc<Gate>,
    record: Arc<ModeRecord>,
    /// Nothing is admitted before a record is known.
    is_known: bool,
    /// Why this member of a fleet is closed beside its record.
    closed: Option<Closed>,
}

impl InForce {
    pub(super) fn new(gate: Arc<Gate>, record: Saved<ModeRecord>) -> InForce {
        InForce { gate, record: Arc::new(record.into_inner()), is_known: true, closed: None }
    }

    /// Before the first read of a fleet's store. `record` only fills the place.
    pub(super) fn unknown(gate: Arc<Gate>, record: ModeRecord) -> InForce {
        InForce { gate, record: Arc::new(record), is_known: false, closed: None }
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Puts a record in force that a read of the fleet's store has shown, or a confirmed write. [`Self::show`] follows.
    pub(super) fn adopt(&mut self, record: ModeRecord) {
        (self.record, self.is_known) = (Arc::new(record), true);
    }

    pub(super) fn close(&mut self, closed: Option<Closed>) {
        self.closed = closed;
    }

    /// No record is known any more.
    pub(super) fn forget(&mut self) {
        self.is_known = false;
    }

    pub(super) fn record(&self) -> &Arc<ModeRecord> {
        &self.record
    }

    /// Puts a durable record in force. [`Self::show`] follows.
    pub(super) fn put(&mut self, record: Saved<ModeRecord>) {
        self.record = Arc::new(record.into_inner());
    }

    /// Puts a record in force whose save failed, because the old mode must be restored. Never in a fleet.
    pub(super) fn keep_unsaved(&mut self, record: ModeRecord) {
        self.record = Arc::new(record);
    }

    /// The record in force, with the rest of the published state.
    pub(super) fn with(&self, beside: Published) -> Published {
        Published { record: self.is_known.then(|| Arc::clone(&self.record)), closed: self.closed, ..beside }
    }

    /// Publishes the record in force, whatever record `published` holds.
    pub(super) fn show(&self, published: Published) {
        self.gate.publish(self.with(published));
    }
}
