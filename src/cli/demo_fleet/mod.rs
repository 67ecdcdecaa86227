//! `demo --fleet N`: N gateways as processes of their own, each in front of a stand-in UCS, with one record in an etcd that is
//! found in the path. Each process may be killed; all of them end with the demo, and leave no files behind.

mod child;
mod text;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::demo_setup::{DemoArgs, Folder, command_line, gateway_flags, routes, stand_in, stop_signal};
use crate::access::{Access, TOKEN_FILE};
use crate::control::fleet::founding::Founding;
use crate::control::fleet::operators;
use crate::control::store::etcd::{EtcdSettings, EtcdStore};
use crate::demo::StandIn;
use crate::policy::mode::Mode;
use crate::telemetry::STDOUT;
use child::Process;
use text::Member;

/// How long a part may take to start.
const START: Duration = Duration::from_secs(30);

/// The wait between two looks at an etcd that starts.
const LOOK: Duration = Duration::from_millis(200);

/// The orphan grace: an operation of the stand-in soon ends when its client has gone.
const GRACE: &str = "500ms";

const NO_ETCD: &str = "demo --fleet needs the program etcd (3.4 or later) in the path, and found none. On Debian and Ubuntu: \
    apt-get install etcd-server. Elsewhere: https://github.com/etcd-io/etcd/releases. Then try again";

/// Runs it until SIGINT, SIGTERM or SIGHUP.
pub(super) async fn show(args: DemoArgs, count: u16) -> Result<(), Box<dyn std::error::Error>> {
    let stop = stop_signal()?;
    let program = etcd_of_path().ok_or(NO_ETCD)?;
    STDOUT.start(&std::io::stdout())?;
    let folder = Folder::new()?;
    tokio::pin!(stop);
    let mut parts = Parts::default();
    let shown = tokio::select! {
        shown = parts.start(&args, &folder, (&program, count)) => shown,
        () = &mut stop => Ok(String::new()),
    };
    if let Ok(text) = &shown
        && !text.is_empty()
    {
        STDOUT.push(text.as_bytes());
        stop.await;
    }
    parts.stop().await;
    STDOUT.push(b"stopped\n");
    shown.map(drop)
}

/// The parts that were started so far.
#[derive(Default)]
struct Parts {
    stand_ins: Vec<StandIn>,
    /// Gateways; each reads the log of its process.
    gateways: Vec<JoinHandle<()>>,
    end: Option<tokio::sync::watch::Sender<bool>>,
    etcd: Option<Process>,
}

impl Parts {
    /// Starts everything; the text for the user.
    async fn start(
        &mut self,
        args: &DemoArgs,
        folder: &Folder,
        (program, count): (&Path, u16),
    ) -> Result<String, Box<dyn std::error::Error>> {
        let url = self.start_etcd(program, &folder.0).await?;
        let routes = routes(args, folder)?;
        let mut members = Vec::new();
        for number in 1..=count {
            members.push(self.start_member(args, (&folder.0, &routes, &url), number).await?);
        }
        let token = std::fs::read_to_string(folder.0.join("g1").join(TOKEN_FILE))?;
        let etcd = self.etcd.as_ref().map_or(0, |etcd| etcd.id);
        Ok(text::instructions(&members, token.trim(), (&url, etcd)))
    }

    async fn start_etcd(&mut self, program: &Path, folder: &Path) -> Result<String, Box<dyn std::error::Error>> {
        let (client, peer) = (free_address()?, free_address()?);
        let flags = [
            ("--name", "demo".to_owned()),
            ("--data-dir", folder.join("etcd").display().to_string()),
            ("--listen-client-urls", format!("http://{client}")),
            ("--advertise-client-urls", format!("http://{client}")),
            ("--listen-peer-urls", format!("http://{peer}")),
            ("--initial-advertise-peer-urls", format!("http://{peer}")),
            ("--initial-cluster", format!("demo=http://{peer}")),
        ];
        let mut etcd = Process::start(&command_line([program.into()], flags)).await?;
        let url = format!("etcd://{client}/demo");
        let store = EtcdStore::open(EtcdSettings::at(url.parse()?))?;
        let made = async {
            loop {
                match operators::init(&store, Founding::Mode(Mode::Production), 0).await {
                    Ok(_) => return,
                    Err(error) => tracing::debug!(%error, "etcd is not ready"),
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let mut last = String::new();
        let failed = async {
            while let Some(line) = etcd.log.recv().await {
                last = line;
            }
        };
        tokio::select! {
            () = made => {}
            () = failed => return Err(format!("etcd ended: {last}").into()),
            () = tokio::time::sleep(START) => return Err(format!("etcd was not ready in time: {last}").into()),
        }
        self.etcd = Some(etcd);
        Ok(url)
    }

    async fn start_member(
        &mut self,
        args: &DemoArgs,
        (folder, routes, url): (&Path, &Path, &str),
        number: u16,
    ) -> Result<Member, Box<dyn std::error::Error>> {
        let node = format!("g{number}");
        let stand_in = stand_in(args, "127.0.0.1:0").await?;
        let state = folder.join(&node);
        std::fs::create_dir(&state)?;
        match number {
            // One token for all of them.
            1 => drop(Access::from_token_file(&state)?),
            _ => drop(std::fs::copy(folder.join("g1").join(TOKEN_FILE), state.join(TOKEN_FILE))?),
        }
        let mut flags = gateway_flags(routes, stand_in.address, &state);
        flags.extend([
            ("--listen", after(&args.listen, 2 * (number - 1))?),
            ("--admin-listen", after(&args.admin_listen, 2 * (number - 1))?),
            ("--store", url.to_owned()),
            ("--node", node.clone()),
            ("--orphan-grace", GRACE.to_owned()),
            ("--workers", "1".to_owned()),
            ("--log-format", "json".to_owned()),
        ]);
        let words = command_line([std::env::current_exe()?.into(), "serve".into()], flags);
        let mut process = Process::start(&words).await?;
        let (data, admin) = tokio::time::timeout(START, ready(&mut process))
            .await
            .map_err(|_| format!("{node} was not ready in time"))?
            .map_err(|last| format!("{node} ended: {last}"))?;
        let member = Member { node, data, admin, ucs: stand_in.address.to_string(), process: process.id };
        self.stand_ins.push(stand_in);
        let end = self.end.get_or_insert_with(|| tokio::sync::watch::channel(false).0).subscribe();
        self.gateways.push(tokio::task::spawn_local(watch(process, member.node.clone(), end)));
        Ok(member)
    }

    /// Ends everything: the gateways first, as they say goodbye to the store.
    async fn stop(self) {
        if let Some(end) = &self.end {
            end.send_replace(true);
        }
        for gateway in self.gateways {
            drop(gateway.await);
        }
        if let Some(etcd) = self.etcd
            && let Err(error) = etcd.stop().await
        {
            tracing::warn!(%error, "etcd did not end");
        }
        for stand_in in self.stand_ins {
            stand_in.stop().await;
        }
    }
}

/// Passes the warnings of a gateway on, until the demo ends.
async fn watch(mut process: Process, node: String, mut end: tokio::sync::watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            Some(line) = process.log.recv() => warn(&node, &line),
        }
    }
    if let Err(error) = process.stop().await {
        tracing::warn!(%error, "{node} did not end");
    }
}

fn warn(node: &str, line: &str) {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    if matches!(line["level"].as_str(), Some("WARN" | "ERROR")) {
        tracing::warn!("{node}: {}", line["message"].as_str().unwrap_or_default());
    }
}

/// Waits for the addresses of a gateway that has started; the last line if it ended.
async fn ready(process: &mut Process) -> Result<(String, String), String> {
    let mut last = String::new();
    while let Some(line) = process.log.recv().await {
        let told: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if told["message"] == "ready" {
            let address = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            return Ok((address("listen"), address("admin")));
        }
        last = line;
    }
    Err(last)
}

fn etcd_of_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|program| program.is_file())
}

/// An address that nothing listened on a moment ago.
fn free_address() -> std::io::Result<std::net::SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The address some ports after this one; port 0 stays.
fn after(address: &str, ports: u16) -> Result<String, String> {
    let fault = || format!("{address}: write HOST:PORT, with room for further ports above it");
    let (host, port) = address.rsplit_once(':').ok_or_else(fault)?;
    let port: u16 = port.parse().map_err(|_| fault())?;
    let port = if port == 0 { 0 } else { port.checked_add(ports).ok_or_else(fault)? };
    Ok(format!("{host}:{port}"))
}
