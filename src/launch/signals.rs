//! The requests that a running gateway takes from outside of its ports.

use tokio::sync::mpsc;

use super::service_manager::{Notice, ServiceManager};
use crate::control_handle::ReloadWhen;
use crate::reloads::Reloads;

/// The requests of an operator or a service manager; a closed channel never yields one.
pub(crate) struct Signals {
    /// The first item stops the gateway gracefully, the second one ends `--stop-linger`.
    pub(crate) stop: mpsc::Receiver<()>,
    /// Each item reloads the route table and access.yaml.
    pub(crate) reload: mpsc::Receiver<()>,
}

/// The next item; pending forever once the channel is closed.
pub(super) async fn next(channel: &mut mpsc::Receiver<()>) {
    if channel.recv().await.is_none() {
        std::future::pending().await
    }
}

/// Reloads as signals and `--watch-files` ask for it; it never completes. To run beside the watch over the parts, which must
/// not wait for a reload.
pub(super) async fn reload_forever(
    reloads: &Reloads,
    mut requested: mpsc::Receiver<()>,
    watched: Option<mpsc::UnboundedReceiver<&'static str>>,
    service_manager: &ServiceManager,
) {
    let mut watched = watched.unwrap_or_else(|| mpsc::unbounded_channel().1);
    loop {
        // The outcomes are in the log.
        tokio::select! {
            Some(()) = requested.recv() => {
                service_manager.tell(Notice::Reloading);
                drop(reloads.reload_all(ReloadWhen::AfterFlip).await);
                service_manager.tell(Notice::Ready);
            }
            Some(name) = watched.recv() => reloads.reload_one(name).await,
            else => std::future::pending().await,
        }
    }
}
