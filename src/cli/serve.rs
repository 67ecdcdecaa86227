//! `serve`: the gateway in front of a real UCS. It turns signals into shutdown and reload, and errors into exit codes.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::output::{FAILED, MISCONFIGURED};
use super::service::{self, Logs};
use crate::access::AccessSetupError;
use crate::config::{ServeArgs, Settings};
use crate::launch::{self, LaunchError, Ready, Signals};
use crate::transport::{Address, InheritError, InheritedSockets};

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    // Before any other file is opened: see `take`.
    let inherited = InheritedSockets::take();
    let level = args.log_level.clone();
    service::run(Logs { format: args.log_format, level: &level }, serve(args, inherited), exit_code)
}

/// 2 if a restart would not help.
pub(super) fn exit_code(error: &LaunchError) -> u8 {
    match error {
        error if error.is_about_no_file() => MISCONFIGURED,
        LaunchError::Access(AccessSetupError::TokenIo { .. }) => FAILED,
        LaunchError::Table(_)
        | LaunchError::Access(_)
        | LaunchError::Settings(_)
        | LaunchError::Inherit(_)
        | LaunchError::Tls(_)
        | LaunchError::Credentials(_) => MISCONFIGURED,
        LaunchError::Control(_)
        | LaunchError::Store(_)
        | LaunchError::Listen { .. }
        | LaunchError::AdminListen { .. }
        | LaunchError::Ended { .. }
        | LaunchError::System(_) => FAILED,
    }
}

async fn serve(mut args: ServeArgs, inherited: Result<InheritedSockets, InheritError>) -> Result<(), LaunchError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    // With a handler, a write beyond the limit of file sizes is an error like a full disk, and not the end.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    let (reload_sender, reload) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        while hang_up.recv().await.is_some() {
            // A reload that is already queued will read the newest file.
            let _ = reload_sender.try_send(());
        }
    });
    let (stop_sender, stop) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop_sender.send(()).await.is_err() {
                return;
            }
        }
    });
    let inherited = inherited?;
    listen_on(&inherited, &mut args)?;
    launch::run(Settings::new(args)?, inherited, Signals { stop, reload }, announce).await
}

/// An inherited socket wins over the address of the command line, so that the checks of settings are about the right one.
fn listen_on(inherited: &InheritedSockets, args: &mut ServeArgs) -> Result<(), LaunchError> {
    let said = |flag, address: &Address| {
        tracing::info!(%address, "listening on the socket that the service manager passed on; {flag} has no effect");
    };
    if let Some(socket) = &inherited.data {
        args.listen = socket.address()?;
        said("--listen", &args.listen);
    }
    if let Some(socket) = &inherited.admin {
        args.admin_listen = socket.address()?;
        said("--admin-listen", &args.admin_listen);
    }
    Ok(())
}

fn announce(ready: Ready) {
    tracing::info!(listen = %ready.listen, admin = %ready.admin, "ready");
}
