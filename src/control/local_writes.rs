//! Writes of facts to the local state directory, one after the other beside the loop. A failure is logged and tried again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::control::slot::Slot;
use crate::control::store::{Fact, LocalState, StoreError};

/// The wait after a failed write.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct LocalWrites {
    local: LocalState,
    queue: VecDeque<(Fact, oneshot::Sender<()>)>,
    running: Slot<(Fact, Result<(), StoreError>)>,
    /// Notified at the end of the running write, successful or not.
    told: Option<oneshot::Sender<()>>,
    not_before: Instant,
}

impl LocalWrites {
    pub(super) fn new(local: LocalState) -> LocalWrites {
        LocalWrites { local, queue: VecDeque::new(), running: Slot::empty(), told: None, not_before: Instant::now() }
    }

    /// Writes a fact, in place of the same one that waits, or of an older memory of the fleet. The receiver is told at the end of the write.
    pub(super) fn write(&mut self, fact: Fact) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let is_replaced = |other: &Fact| matches!((other, &fact), (Fact::Fleet(_), Fact::Fleet(_))) || *other == fact;
        self.queue.retain(|(other, _)| !is_replaced(other));
        self.queue.push_back((fact, sender));
        self.advance();
        receiver
    }

    /// Whether the last write went well, or failed long enough ago for another attempt.
    pub(super) fn may_write(&self) -> bool {
        self.is_idle() && Instant::now() >= self.not_before
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    /// The end of the next write. Cancel safe.
    pub(super) async fn end(&mut self) -> (Fact, Result<(), StoreError>) {
        let end = self.running.end().await;
        if let Some(told) = self.told.take() {
            // The waiting step may have been dropped.
            let _ = told.send(());
        }
        if end.1.is_err() {
            self.not_before = Instant::now() + RETRY;
        }
        self.advance();
        end
    }

    fn advance(&mut self) {
        if !self.running.is_empty() {
            return;
        }
        let Some((fact, told)) = self.queue.pop_front() else { return };
        self.told = Some(told);
        let local = self.local.clone();
        self.running.begin(async move {
            let written = local.remember(fact.clone()).await;
            (fact, written)
        });
    }

    /// Writes the clean-shutdown marker, after all other writes.
    pub(super) async fn mark_clean_shutdown(self) -> Result<(), StoreError> {
        self.local.mark_clean_shutdown().await
    }
}
