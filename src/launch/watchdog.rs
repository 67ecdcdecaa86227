//! systemd's watchdog (`WatchdogSec=`): it is fed after every part has given a sign of life, and not otherwise.

use std::time::Duration;

use super::service_manager::{Notice, ServiceManager};
use crate::liveness::Liveness;

/// Feeds the watchdog, if there is one. Runs also during a shutdown.
pub(super) async fn feed(liveness: Liveness, service_manager: ServiceManager) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Twice within the limit, and once if a question takes its longest.
    let pause = (limit / 2).saturating_sub(Duration::from_millis(1)).min(Duration::from_secs(10));
    let mut was_silent = false;
    loop {
        let silent = liveness.silent().await;
        if silent.is_empty() {
            service_manager.tell(Notice::Alive);
        } else if !was_silent {
            tracing::error!(?silent, "no sign of life: the watchdog is not fed");
        }
        was_silent = !silent.is_empty();
        tokio::time::sleep(pause).await;
    }
}
