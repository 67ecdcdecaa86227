//! Decides when the member that may end a flip reads the roster again: once as many entries have changed as acknowledgements
//! are missing, as fewer cannot complete them. A hint only saves reads, and is never evidence.

use tokio::sync::watch;

use crate::policy::fleet::View;

pub(crate) struct RosterHints {
    changes: watch::Receiver<u64>,
    /// The changes by the time when the roster was read last, once it was.
    at_read: Option<u64>,
    /// The acknowledgements that it did not show.
    missing: u64,
}

impl RosterHints {
    pub(crate) fn new(changes: watch::Receiver<u64>) -> RosterHints {
        RosterHints { changes, at_read: None, missing: 1 }
    }

    /// A read of the roster is sent.
    pub(crate) fn read_begins(&mut self) {
        self.at_read = Some(*self.changes.borrow_and_update());
    }

    /// A read has ended.
    pub(crate) fn read(&mut self, view: &View) {
        let revision = view.record.brief.revision;
        if let Some(others) = &view.others {
            let lacks = others.iter().filter(|entry| entry.ack.is_none_or(|ack| ack.revision != revision));
            self.missing = (lacks.count() as u64).max(1);
        }
    }

    /// The roster may be complete by now. Cancel safe.
    pub(crate) async fn due(&mut self) {
        let Some(at_read) = self.at_read else { return std::future::pending().await };
        let wanted = at_read + self.missing;
        if self.changes.wait_for(|changes| *changes >= wanted).await.is_err() {
            return std::future::pending().await;
        }
        self.read_begins();
    }
}
