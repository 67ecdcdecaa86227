//! A place for one piece of long work, which control's loop polls beside everything else.

use std::future::Future;
use std::pin::Pin;

use tokio::time::{Instant, sleep_until};

/// Waits until a point in time; pending without one.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// At most one future. It continues over several polls of the loop, until it ends or is dropped.
pub(super) struct Slot<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Slot<T> {
        Slot(None)
    }

    /// Begins `work`, and drops the work before it.
    pub(super) fn begin(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(work));
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The end of the work; pending while there is none. Cancel safe.
    pub(super) async fn end(&mut self) -> T {
        let Some(work) = &mut self.0 else { return std::future::pending().await };
        let end = work.await;
        self.0 = None;
        end
    }
}
