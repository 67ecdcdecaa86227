//! The gateway while it runs, and its stop: in stages, the workers first and the admin port last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::admin_parts::admin_parts;
use super::error::LaunchError;
use super::parts::{self, Parts};
use super::service_manager::{Notice, ServiceManager};
use super::signals::next;
use super::sockets::Sockets;
use super::watchdog;
use super::workers::{SharedParts, Workers};
use crate::admin;
use crate::config::Settings;
use crate::control::{Control, StopSignals};
use crate::faults::{self, Part};
use crate::liveness::Liveness;
use crate::proxy::worker::Stop;

/// The running gateway, and the senders that stop its parts.
pub(super) struct Running {
    pub(super) parts: Parts,
    begin_stop: watch::Sender<bool>,
    stop_workers: watch::Sender<Stop>,
    stop_control: watch::Sender<bool>,
    stop_admin: oneshot::Sender<()>,
}

impl Running {
    pub(super) fn start(
        settings: &Settings,
        shared: SharedParts,
        (begin_stop, stop_workers): (watch::Sender<bool>, watch::Sender<Stop>),
        control: Control,
        (sockets, service_manager): (Sockets, ServiceManager),
    ) -> Result<Running, LaunchError> {
        let (stop_control, control_stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = oneshot::channel::<()>();
        let workers = Workers::start(settings, &shared, sockets.data)?;
        let controlling = run_control(control, shared.stopping.clone(), control_stopped);
        let control = tokio::task::spawn_local(faults::with(Part::Control, (), controlling));
        let (liveness, questions) =
            Liveness::new(shared.control_handle.clone(), Arc::clone(&shared.metrics), shared.stopping.clone());
        tokio::task::spawn_local(liveness.clone().keep_asking());
        tokio::task::spawn_local(watchdog::feed(liveness.clone(), service_manager));
        let stopped = async move { drop(admin_stopped.await) };
        let serving = admin::serve(sockets.admin, admin_parts(settings, shared, liveness), questions, stopped);
        let admin = tokio::task::spawn_local(faults::with(Part::Admin, (), serving));
        Ok(Running { parts: Parts { control, admin, workers }, begin_stop, stop_workers, stop_control, stop_admin })
    }

    pub(super) async fn shut_down(
        mut self,
        settings: &Settings,
        mut again: mpsc::Receiver<()>,
        service_manager: &ServiceManager,
    ) -> Result<(), LaunchError> {
        service_manager.tell(Notice::Stopping);
        let (linger, timeout) = (settings.stop_linger.min(settings.stop_timeout), settings.stop_timeout);
        tracing::info!(?linger, ?timeout, "shutting down: waiting for requests in flight");
        // Control begins to stop too: it takes back a flip in progress. It ends after the requests.
        self.begin_stop.send_replace(true);
        tokio::select! {
            stopped = self.parts.workers_stopped(timeout) => stopped?,
            () = stop_in_stages(&self.stop_workers, (linger, timeout), &mut again) => {}
            () = service_manager.extend_stop() => {}
        }
        self.stop_control.send_replace(true);
        parts::stopped("control", self.parts.control).await?;
        // Last, so that a client that waits for a flip receives its result, and event streams end properly.
        drop(self.stop_admin);
        parts::stopped("the admin port", self.parts.admin).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Takes the workers through the stages of a stop; it never completes.
async fn stop_in_stages(
    workers: &watch::Sender<Stop>,
    (linger, timeout): (Duration, Duration),
    again: &mut mpsc::Receiver<()>,
) {
    let cut_at = Instant::now() + timeout;
    if !linger.is_zero() {
        workers.send_replace(Stop::Lingering { cut_at });
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = next(again) => tracing::info!("stopped again: no longer accepting connections"),
        }
    }
    workers.send_replace(Stop::Draining { cut_at });
    std::future::pending().await
}

async fn run_control(control: Control, stopping: watch::Receiver<bool>, stopped: watch::Receiver<bool>) {
    let raised = |mut flag: watch::Receiver<bool>| async move { drop(flag.wait_for(|raised| *raised).await) };
    control.run(StopSignals::new(raised(stopping), raised(stopped))).await;
}
