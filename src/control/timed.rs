//! The events of the clock: the end of a mode, and scheduled flips; and the consequences when one fails.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use crate::control::requests::Requester;
use crate::control::{Control, SLOWEST_RETRY};
use crate::control_handle::ChangeError;
use crate::policy::mode::{Change, Phase};

impl Control {
    /// Flips because the mode expired.
    pub(super) fn expire(&mut self) {
        self.submit(Change::Expire { drain_timeout: self.drain_timeout }, Requester::Expiry);
    }

    /// A failure is retried with growing waits, and raises an alarm from the second time on, unless the expiry was removed.
    pub(super) fn expiry_failed(&mut self, error: &ChangeError) {
        let record = Arc::clone(self.record());
        if record.expires.is_none() || record.phase == Phase::Switching {
            return;
        }
        let wait = self.expiry_trouble.failed(record.expires);
        warn!(%error, ?wait, "the mode expired, but switching back failed");
        self.expiry_not_before = Instant::now() + wait;
        if self.expiry_trouble.failures > 1 {
            self.alarms.expiry = Some(format!("the mode expired, but switching back failed: {error}"));
            self.publish();
        }
    }

    /// Flips because the time of a scheduled flip has come. One that is too late or fails is given up, with an alarm: the
    /// operator decides again.
    pub(super) fn run_scheduled(&mut self) {
        let Some(scheduled) = self.record().scheduled.clone() else { return };
        let words = format!("the flip to {} scheduled for {}", scheduled.mode, scheduled.at);
        if scheduled.is_missed(Timestamp::now()) {
            self.give_up_scheduled("schedule_missed", format!("{words} was missed, and is not made up for"));
        } else {
            self.submit(Change::RunScheduled { drain_timeout: self.drain_timeout }, Requester::Scheduled(words));
        }
    }

    pub(super) fn scheduled_failed(&mut self, words: &str, error: &ChangeError) {
        // Another member was first.
        let is_taken =
            self.protocol.is_fleet() && matches!(error, ChangeError::Busy(_)) && self.record().scheduled.is_none();
        if !is_taken && !matches!(error, ChangeError::Cancelled(_) | ChangeError::ShuttingDown) {
            self.give_up_scheduled("schedule_failed", format!("{words} failed: {error}"));
        }
    }

    fn give_up_scheduled(&mut self, cause: &str, alarm: String) {
        warn!("{alarm}");
        self.alarms.scheduled = Some(alarm);
        self.publish();
        // A flip that had begun has left the record already: then this is not due.
        self.submit(Change::GiveUpScheduled { cause: cause.to_owned() }, Requester::GiveUp);
    }

    /// The record that gives the flip up could not be saved.
    pub(super) fn scheduled_kept(&mut self) {
        self.scheduled_not_before = Instant::now() + SLOWEST_RETRY;
    }
}
