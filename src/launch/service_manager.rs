//! Tells the service manager (systemd) how far the gateway is: sd_notify(3). It waits for no one: a thread sends the notices,
//! and there is none without a service manager.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use sd_notify::NotifyState;

/// The interval of [`Notice::StillStopping`], and the time that each of them asks for.
pub(super) const STILL_STOPPING: Duration = Duration::from_secs(5);
const EXTENSION: Duration = Duration::from_secs(20);

/// One notice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// The start or a reload is over.
    Ready,
    /// Every part has given a sign of life: for the watchdog.
    Alive,
    Reloading,
    Stopping,
    /// Requests in flight are waited for, within the gateway's own limits: the time limit of the stop is to be extended.
    StillStopping,
}

/// The way to the service manager; closed without one.
#[derive(Clone, Debug)]
pub(super) struct ServiceManager(Option<mpsc::Sender<Notice>>);

impl ServiceManager {
    pub(super) fn of_process() -> io::Result<ServiceManager> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(ServiceManager(None));
        }
        let (sender, notices) = mpsc::channel();
        let send_all = move || notices.iter().for_each(send);
        std::thread::Builder::new().name("service-manager".to_owned()).spawn(send_all)?;
        Ok(ServiceManager(Some(sender)))
    }

    pub(super) fn tell(&self, notice: Notice) {
        if let Some(sender) = &self.0 {
            // The thread ends with the process.
            let _ = sender.send(notice);
        }
    }

    /// Has the time limit of the stop extended, for as long as it is polled.
    pub(super) async fn extend_stop(&self) {
        loop {
            self.tell(Notice::StillStopping);
            tokio::time::sleep(STILL_STOPPING).await;
        }
    }
}

fn send(notice: Notice) {
    let sent = match notice {
        Notice::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Notice::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        // Together, or `Type=notify-reload` ignores it.
        Notice::Reloading => {
            NotifyState::monotonic_usec_now().and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
        }
        Notice::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Notice::StillStopping => {
            let time = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(time)])
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%error, ?notice, "cannot notify the service manager");
    }
}
