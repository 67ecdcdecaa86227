//! The local close: it narrows this gateway alone and never touches the record. A close is in force before it is saved, as it
//! only closes; its end is saved before it is in force. One change after the other, at any time, during a flip too.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, info};

use crate::control::Control;
use crate::control::local_close::LocalReply;
use crate::control::stats::add_one;
use crate::control::store::{Fact, StoreError};
use crate::control_handle::{BypassUse, ChangeError};
use crate::policy::mode::LocalChange;

impl Control {
    /// Closes or opens this gateway alone. The reply comes once that is in force and saved. A close that cannot be saved
    /// stays in force, with an alarm, until it is requested again or the gateway restarts.
    pub(super) fn set_local(&mut self, change: LocalChange, reply: LocalReply) {
        if self.local.saving.is_some() {
            return self.local.waiting.push_back((change, reply));
        }
        let next = self.local.log.after(&change, Timestamp::now());
        if next == self.local.log && self.alarms.local.is_none() {
            return drop(reply.send(Ok(())));
        }
        if change.closed {
            self.local.log = next.clone();
            self.publish();
            self.note_local_close();
        }
        let json = serde_json::to_string(&next).expect("texts and times are JSON");
        self.local.saving = Some((change, next, reply));
        self.local_writes.write(Fact::Local(json));
    }

    /// Notes the first use of a bypass under the record in force, for the history.
    pub(super) fn note_bypass(&mut self, bypass: &BypassUse) {
        let record = Arc::clone(self.record());
        let is_new = self.bypasses.note(&bypass.principal, &bypass.operation, &record, Timestamp::now());
        if is_new && let Ok(json) = serde_json::to_string(&self.bypasses) {
            self.local_writes.write(Fact::Bypasses(json));
        }
    }

    /// The write of the local close ended.
    pub(super) fn on_local_saved(&mut self, written: Result<(), StoreError>) {
        let Some((change, next, reply)) = self.local.saving.take() else { return };
        let ended = match written {
            Ok(()) => {
                self.alarms.local = None;
                self.local.log = next;
                info!(closed = change.closed, by = change.actor.name, "local close changed");
                Ok(())
            }
            Err(error) => {
                add_one(&self.stats.save_errors);
                error!(%error, closed = change.closed, "cannot save the local close");
                if change.closed {
                    self.alarms.local = Some(format!("the local close is not saved: {error}"));
                }
                Err(ChangeError::NotDurable { record: self.record().clone(), detail: error.to_string() })
            }
        };
        // A close that came meanwhile is in force at once: the gate does not open in between.
        let closes_again = self.local.waiting.front().is_some_and(|(change, _)| change.closed);
        if !(closes_again && ended.is_ok() && !change.closed) {
            self.publish();
        }
        self.note_local_close();
        // The requester may have disconnected; the change stands.
        let _ = reply.send(ended);
        while self.local.saving.is_none()
            && let Some((change, reply)) = self.local.waiting.pop_front()
        {
            self.set_local(change, reply);
        }
    }
}
