//! `serve`: the gateway in front of a real UCS. It turns signals into shutdown and reload, and errors into exit codes.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::output::{FAILED, MISCONFIGURED};
use super::service::{self, Logs};
use crate::access::AccessSetupError;
use crate::config::{ServeArgs, Settings};
use crate::launch::{self, LaunchError, Ready};

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    let level = args.log_level.clone();
    service::run(Logs { format: args.log_format, level: &level }, serve(args), exit_code)
}

/// 2 if a restart would not help.
pub(super) fn exit_code(error: &LaunchError) -> u8 {
    match error {
        LaunchError::Access(AccessSetupError::TokenIo { .. }) => FAILED,
        LaunchError::Table(_) | LaunchError::Access(_) | LaunchError::Settings(_) | LaunchError::Credentials(_) => {
            MISCONFIGURED
        }
        LaunchError::Control(_)
        | LaunchError::Store(_)
        | LaunchError::Listen { .. }
        | LaunchError::AdminListen { .. }
        | LaunchError::Ended { .. }
        | LaunchError::System(_) => FAILED,
    }
}

async fn serve(args: ServeArgs) -> Result<(), LaunchError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let (reload_sender, reload) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        while hang_up.recv().await.is_some() {
            // A reload that is already queued will read the newest file.
            let _ = reload_sender.try_send(());
        }
    });
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    };
    launch::run(Settings::new(args)?, announce, stop, reload).await
}

fn announce(ready: Ready) {
    tracing::info!(listen = %ready.listen, admin = %ready.admin, "ready");
    // Without systemd this does nothing.
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
}
