//! The record in force, and the only way from control to the gate: what is published was saved before, or is kept in memory
//! by name.

use std::sync::Arc;

use crate::control::store::Saved;
use crate::gate::{Gate, Published};
use crate::policy::mode::ModeRecord;

/// See the module.
pub(super) struct InForce {
    gate: Arc<Gate>,
    record: Arc<ModeRecord>,
}

impl InForce {
    /// The record of a start.
    pub(super) fn new(gate: Arc<Gate>, record: Saved<ModeRecord>) -> InForce {
        InForce { gate, record: Arc::new(record.into_inner()) }
    }

    pub(super) fn record(&self) -> &Arc<ModeRecord> {
        &self.record
    }

    /// Puts a durable record in force. [`Self::show`] follows.
    pub(super) fn put(&mut self, record: Saved<ModeRecord>) {
        self.record = Arc::new(record.into_inner());
    }

    /// Puts a record in force whose save failed, because the old mode must be restored. With a shared store this may only
    /// narrow what is admitted.
    pub(super) fn keep_unsaved(&mut self, record: ModeRecord) {
        self.record = Arc::new(record);
    }

    /// The record in force with what else is known.
    pub(super) fn with(&self, beside: Published) -> Published {
        Published { record: Some(Arc::clone(&self.record)), ..beside }
    }

    /// Publishes the record in force, whatever record `published` holds.
    pub(super) fn show(&self, published: Published) {
        self.gate.publish(self.with(published));
    }
}
