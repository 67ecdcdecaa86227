//! The local close: it narrows this gateway alone and never touches the record. A close is in force before it is saved, as it
//! only closes; its end is saved before it is in force.

use jiff::Timestamp;
use tracing::{error, info};

use crate::control::Control;
use crate::control::stats::add_one;
use crate::control::store::{Fact, StoreError};
use crate::control_handle::ChangeError;
use crate::policy::mode::{LocalChange, LocalLog};

impl Control {
    /// Closes or opens this gateway alone. Returns once that is in force and saved. A close that cannot be saved stays in
    /// force, with an alarm, until it is requested again or the gateway restarts.
    pub(super) async fn set_local(&mut self, change: &LocalChange) -> Result<(), ChangeError> {
        let next = self.local.after(change, Timestamp::now());
        if next == self.local && self.alarms.local.is_none() {
            return Ok(());
        }
        if change.closed {
            self.put_local_in_force(next.clone());
        }
        if let Err(error) = self.save_local(&next).await {
            add_one(&self.stats.save_errors);
            error!(%error, closed = change.closed, "cannot save the local close");
            if change.closed {
                self.alarms.local = Some(format!("the local close is not saved: {error}"));
                self.publish();
            }
            return Err(self.not_durable(&error));
        }
        self.alarms.local = None;
        self.put_local_in_force(next);
        info!(closed = change.closed, by = change.actor.name, "local close changed");
        Ok(())
    }

    fn put_local_in_force(&mut self, local: LocalLog) {
        self.local = local;
        self.publish();
    }

    async fn save_local(&mut self, local: &LocalLog) -> Result<(), StoreError> {
        let json = serde_json::to_string(local).expect("texts and times are JSON");
        self.clerk.serve(self.store.remember(Fact::Local(json))).await
    }
}
