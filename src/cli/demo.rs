//! `demo`: the gateway before the stand-in UCS, in one process, with what to try. Nothing of it outlives the process.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::service::{self, Logs};
use super::{FAILED, serve};
use crate::config::ServeArgs;
use crate::demo::{self, StandIn, StandInOptions};
use crate::gateway::{self, Ready};
use crate::telemetry::{LogFormat, STDOUT};

/// What `demo` can be told.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Where clients of UCS connect; port 0 for a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Where operators connect; port 0 for a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub admin_listen: String,
    /// Where the stand-in UCS itself listens, to switch its moods; port 0 for a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub stand_in_listen: String,
    /// Route table; the shipped one when absent.
    #[arg(long, value_name = "FILE")]
    pub routes: Option<PathBuf>,
    /// Begin without a profile schema at UCS.
    #[arg(long)]
    pub no_schema: bool,
    /// Let every operation of the stand-in take so long, to see a drain.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = crate::policy::duration::parse)]
    pub delay: std::time::Duration,
}

/// Runs the demo until SIGINT or SIGTERM.
pub fn run(args: DemoArgs) -> ExitCode {
    let logs = Logs { format: LogFormat::Human, level: "warn" };
    service::run(logs, show(args), |error| error.downcast_ref().map_or(FAILED, serve::exit_code))
}

/// The shipped table, so that the demo runs from any folder.
const SHIPPED_ROUTES: &str = include_str!("../../routes.yaml");

async fn show(args: DemoArgs) -> Result<(), Box<dyn std::error::Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A terminal that is closed ends the demo: there is no table to read again, and a folder to remove.
    let mut hangup = signal(SignalKind::hangup())?;
    STDOUT.start(&std::io::stdout())?;
    let folder = Folder::new()?;
    let routes = match args.routes {
        Some(routes) => routes,
        None => folder.write("routes.yaml", SHIPPED_ROUTES)?,
    };
    let options = StandInOptions { profile_schema: !args.no_schema, delay: args.delay, ..StandInOptions::new() };
    let listener = TcpListener::bind(&args.stand_in_listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", args.stand_in_listen))?;
    let stand_in = StandIn::start(listener, options).await?;
    demo::seed(&stand_in);
    let ucs = stand_in.address;
    let settings = serve_args(&[
        ("--routes", &routes.display().to_string()),
        ("--upstream", &format!("http://{ucs}")),
        ("--listen", &args.listen),
        ("--admin-listen", &args.admin_listen),
        ("--state-dir", &folder.0.join("state").display().to_string()),
    ])?;
    let state = settings.state_dir();
    let ready = move |ready: Ready| {
        let token = std::fs::read_to_string(state.join("admin.token")).unwrap_or_default();
        let text = what_to_try(&ready, token.trim(), &ucs.to_string(), &state.display().to_string());
        STDOUT.push(text.as_bytes());
    };
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    // The sender stays alive: a closed channel would read as a reload that never comes, which is the truth here.
    let (_no_reload, reload) = mpsc::channel(1);
    gateway::run(settings, ready, stop, reload).await?;
    stand_in.stop().await;
    STDOUT.push(b"stopped\n");
    Ok(())
}

/// The demo's settings go the way that everybody's go.
fn serve_args(flags: &[(&str, &str)]) -> Result<ServeArgs, clap::Error> {
    #[derive(Parser)]
    struct Wrapped {
        #[command(flatten)]
        serve: ServeArgs,
    }
    let words = flags.iter().flat_map(|(flag, value)| [*flag, *value]);
    Ok(Wrapped::try_parse_from(std::iter::once("demo").chain(words))?.serve)
}

/// A folder of the demo's own; removed when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Folder> {
        // Process ids come again, in containers above all: what a killed demo left behind must not be in the way.
        let number = getrandom::u64().map_err(std::io::Error::other)?;
        let path = std::env::temp_dir().join(format!("ucs-gateway-demo-{number:016x}"));
        // A folder that is there already is somebody else's.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder in the temporary directory that cannot be removed harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn what_to_try(ready: &Ready, token: &str, ucs: &str, state: &str) -> String {
    let (data, admin) = (format!("http://{}", ready.listen), format!("http://{}", ready.admin));
    format!(
        r#"ucs-gateway demo: a gateway before a stand-in UCS

  clients of UCS   {data}
  operators        {admin}/   (web page and admin API)
  token            {token}
  stand-in UCS     http://{ucs}   (moods: curl http://{ucs}/_stand-in)
  state            {state}

Copy and paste, in another terminal:

  TOKEN={token}

  # 1. Production: profiles are open, schema changes are not.
  curl -i {data}/profiles -H 'Content-Type: application/json' -d '{{"FirstName":"Ada","LastName":"Lovelace"}}'
  curl -i {data}/metadata/profiles/extensions -H 'Content-Type: application/json' -d '{{"name":"Bill","type":"single-valued","attributes":[{{"name":"amount","type":"integer"}}]}}'

  # 2. Flip to maintenance. The answer comes when nothing that maintenance forbids is running any more.
  curl -i -X PUT {admin}/mode -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"mode":"maintenance","reason":"new schema"}}'

  # 3. Now it is the other way round.
  curl -i '{data}/profiles?LastName=Lovelace'
  curl -i {data}/metadata/profiles/extensions -H 'Content-Type: application/json' -d '{{"name":"Bill","type":"single-valued","attributes":[{{"name":"amount","type":"integer"}}]}}'

  # 4. And back, this time the way a client of UCS does it.
  curl -i {data}/server/mode -u "admin:$TOKEN" -H 'Content-Type: application/json' -d '{{"mode":"production"}}'

  # 5. See a drain: UCS takes three seconds now; start a request, then flip.
  curl http://{ucs}/_stand-in/delay -d '{{"milliseconds":3000}}'
  curl -s '{data}/profiles?LastName=Lovelace' & sleep 1; curl -s -X PUT {admin}/mode -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"mode":"maintenance"}}'

Stop with ctrl-c.
"#
    )
}
