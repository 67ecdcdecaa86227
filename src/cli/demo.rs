//! `demo`: the gateway in front of the stand-in UCS, in one process, with commands to try. It leaves no files behind.

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use tokio::sync::mpsc;

use super::certificate::{self, CertificateFiles};
use super::demo_fleet;
use super::demo_setup::{DemoArgs, Flag, Folder, command_line, gateway_flags, program, routes, stand_in, stop_signal};
use super::environment;
use super::output::FAILED;
use super::serve;
use super::service::{self, Logs};
use crate::access::TOKEN_FILE;
use crate::config::{ServeArgs, Settings};
use crate::launch::{self, LaunchError, Ready, Signals};
use crate::telemetry::{LogFormat, STDOUT};
use crate::transport::InheritedSockets;

/// Runs the demo until SIGINT or SIGTERM.
pub(crate) fn run(args: DemoArgs) -> ExitCode {
    let logs = Logs { format: LogFormat::Human, level: "warn" };
    service::run(logs, show(args), |error| error.downcast_ref().map_or(FAILED, serve::exit_code))
}

async fn show(args: DemoArgs) -> Result<(), Box<dyn Error>> {
    if let Some(count) = args.fleet {
        return demo_fleet::show(args, count).await;
    }
    let stopped = stop_signal()?;
    STDOUT.start(&std::io::stdout())?;
    let folder = Folder::new()?;
    let stand_in = stand_in(&args, &args.stand_in_listen).await?;
    let ucs = stand_in.address;
    let certificates = args.tls.then(|| certificate::create(&folder.0, &certificate_names(), 2)).transpose()?;
    let state = folder.0.join("state");
    let mut flags = gateway_flags(&routes(&args, &folder)?, ucs, &state);
    flags.extend([("--listen", args.listen), ("--admin-listen", args.admin_listen)]);
    flags.extend(certificates.as_ref().map(tls_flags).into_iter().flatten());
    let settings = Settings::new(serve_args(flags)?).map_err(LaunchError::from)?;
    let ready = move |ready: Ready| {
        let token = std::fs::read_to_string(state.join(TOKEN_FILE)).unwrap_or_default();
        let ca = certificates.map(|files| files.ca.display().to_string());
        let text = instructions(&ready, token.trim(), (&ucs.to_string(), &state.display().to_string()), ca.as_deref());
        STDOUT.push(text.as_bytes());
    };
    let (stop_sender, stop) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        stopped.await;
        let _ = stop_sender.send(()).await;
    });
    // The sender is kept alive, so that the channel stays open without ever asking for a reload.
    let (_no_reload, reload) = mpsc::channel(1);
    launch::run(settings, InheritedSockets::default(), Signals { stop, reload }, ready).await?;
    stand_in.stop().await;
    STDOUT.push(b"stopped\n");
    Ok(())
}

/// The names by which the demo may be called.
fn certificate_names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}

/// Both ports show the same certificate.
fn tls_flags(files: &CertificateFiles) -> [Flag; 4] {
    let [certificate, key] = [&files.certificate, &files.key].map(|path| path.display().to_string());
    [
        ("--tls-cert", certificate.clone()),
        ("--tls-key", key.clone()),
        ("--admin-tls-cert", certificate),
        ("--admin-tls-key", key),
    ]
}

/// Parses the demo's settings as those of `serve`.
fn serve_args(flags: Vec<Flag>) -> Result<ServeArgs, clap::Error> {
    #[derive(Parser)]
    struct Wrapped {
        #[command(flatten)]
        serve: ServeArgs,
    }
    let words = command_line(["demo".into()], flags);
    let command = environment::with_variables(Wrapped::command(), &words);
    Ok(Wrapped::from_arg_matches(&command.try_get_matches_from(words)?)?.serve)
}

fn instructions(ready: &Ready, token: &str, (ucs, state): (&str, &str), ca: Option<&str>) -> String {
    let scheme = if ca.is_some() { "https" } else { "http" };
    let (data, admin) = (format!("{scheme}://{}", ready.listen), format!("{scheme}://{}", ready.admin));
    // curl trusts it for the rest of the session.
    let trust = ca.map(|ca| format!("\n  export CURL_CA_BUNDLE={ca}")).unwrap_or_default();
    let program = program();
    let trust_of_cli = ca.map(|ca| format!(" UCS_GATEWAY_ADMIN_CA={ca}")).unwrap_or_default();
    format!(
        include_str!("demo.txt"),
        data = data,
        admin = admin,
        token = token,
        ucs = ucs,
        state = state,
        trust = trust,
        program = program,
        trust_of_cli = trust_of_cli,
    )
}
