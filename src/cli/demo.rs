//! `demo`: the gateway in front of the stand-in UCS, in one process, with commands to try. It leaves no files behind.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use tokio::sync::mpsc;

use super::certificate;
use super::demo_fleet;
use super::demo_setup::{DEMO_CONNECTIONS, DemoArgs, Folder, program, routes, stop_signal};
use super::environment;
use super::output::FAILED;
use super::serve;
use super::service::{self, Logs};
use crate::config::{ServeArgs, Settings};
use crate::demo::{StandIn, StandInOptions};
use crate::launch::{self, LaunchError, Ready, Signals};
use crate::telemetry::{LogFormat, STDOUT};
use crate::transport::{InheritedSockets, TcpListener};

/// Runs the demo until SIGINT or SIGTERM.
pub(crate) fn run(args: DemoArgs) -> ExitCode {
    let logs = Logs { format: LogFormat::Human, level: "warn" };
    service::run(logs, show(args), |error| error.downcast_ref().map_or(FAILED, serve::exit_code))
}

async fn show(args: DemoArgs) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(count) = args.fleet {
        return demo_fleet::show(args, count).await;
    }
    let stopped = stop_signal()?;
    STDOUT.start(&std::io::stdout())?;
    let folder = Folder::new()?;
    let routes = routes(&args, &folder)?;
    let options = StandInOptions { profile_schema: !args.no_schema, delay: args.delay, ..StandInOptions::new() };
    let listener = TcpListener::bind(&args.stand_in_listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", args.stand_in_listen))?;
    let stand_in = StandIn::start(listener, options).await?;
    stand_in.seed();
    let ucs = stand_in.address;
    let certificates = args.tls.then(|| certificate::create(&folder.0, &certificate_names(), 2)).transpose()?;
    let mut flags = vec![
        ("--routes", routes.display().to_string()),
        ("--upstream", format!("http://{ucs}")),
        ("--listen", args.listen),
        ("--admin-listen", args.admin_listen),
        // Enough to try it, and few enough for any limit of file descriptors.
        ("--max-connections", DEMO_CONNECTIONS.to_owned()),
        // Ctrl-C ends it at once.
        ("--stop-linger", "0s".to_owned()),
        ("--state-dir", folder.0.join("state").display().to_string()),
    ];
    if let Some(files) = &certificates {
        let [certificate, key] = [&files.certificate, &files.key].map(|path| path.display().to_string());
        flags.extend([("--tls-cert", certificate.clone()), ("--tls-key", key.clone())]);
        flags.extend([("--admin-tls-cert", certificate), ("--admin-tls-key", key)]);
    }
    let settings = serve_args(&flags)?;
    let settings = Settings::new(settings).map_err(LaunchError::from)?;
    let state = settings.state_dir.clone();
    let ready = move |ready: Ready| {
        let token = std::fs::read_to_string(state.join("admin.token")).unwrap_or_default();
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

/// Parses the demo's settings as those of `serve`.
fn serve_args(flags: &[(&str, String)]) -> Result<ServeArgs, clap::Error> {
    #[derive(Parser)]
    struct Wrapped {
        #[command(flatten)]
        serve: ServeArgs,
    }
    let words = flags.iter().flat_map(|(flag, value)| [*flag, value.as_str()]);
    let words: Vec<OsString> = std::iter::once("demo").chain(words).map(OsString::from).collect();
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
        r#"ucs-gateway demo: a gateway in front of a stand-in UCS

  clients of UCS   {data}
  operators        {admin}/   (web page and admin API)
  token            {token}
  stand-in UCS     http://{ucs}   (settings: curl http://{ucs}/_stand-in)
  state            {state}

Copy and paste, in another terminal:

  TOKEN={token}{trust}

  # 1. Production: profiles are open, schema changes are not.
  curl -i {data}/profiles -H 'Content-Type: application/json' -d '{{"FirstName":"Ada","LastName":"Lovelace"}}'
  curl -i {data}/metadata/profiles/extensions -H 'Content-Type: application/json' -d '{{"name":"Bill","type":"single-valued","attributes":[{{"name":"amount","type":"integer"}}]}}'

  # 2. Flip to maintenance. The response arrives when the requests that maintenance forbids have ended.
  curl -i -X PUT {admin}/mode -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"mode":"maintenance","reason":"new schema"}}'

  # 3. Now it is the other way round.
  curl -i '{data}/profiles?LastName=Lovelace'
  curl -i {data}/metadata/profiles/extensions -H 'Content-Type: application/json' -d '{{"name":"Bill","type":"single-valued","attributes":[{{"name":"amount","type":"integer"}}]}}'

  # 4. Back to production, this time as a client of UCS does it.
  curl -i {data}/server/mode -u "admin:$TOKEN" -H 'Content-Type: application/json' -d '{{"mode":"production"}}'

  # 5. Watch a drain: UCS now takes three seconds; start a request, then flip.
  curl http://{ucs}/_stand-in/delay -d '{{"milliseconds":3000}}'
  curl -s '{data}/profiles?LastName=Lovelace' & sleep 1; curl -s -X PUT {admin}/mode -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"mode":"maintenance"}}'

  # 6. The same with the command line: back to production, and all that happened.
  export UCS_GATEWAY_ADMIN={admin} UCS_GATEWAY_TOKEN=$TOKEN{trust_of_cli}
  {program} mode set production --reason "tried out"
  {program} mode history

Stop with ctrl-c.
"#
    )
}
