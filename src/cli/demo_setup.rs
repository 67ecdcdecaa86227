//! The common part of the demos of one gateway and of a fleet: their arguments, the stand-in UCS, the flags of a gateway, a
//! temporary folder, the program's name in the commands that they print, and the signal that ends them. It starts no gateway.

use std::error::Error;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::{StandIn, StandInOptions};
use crate::transport::{TcpListener, parse_listen};

/// The arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Address of the data port, for clients of UCS; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = listen_address)]
    pub(crate) listen: String,
    /// Address of the admin port; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081", value_parser = listen_address)]
    pub(crate) admin_listen: String,
    /// Address of the stand-in UCS and its settings; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = listen_address)]
    pub(crate) stand_in_listen: String,
    /// Route table [default: the shipped table]
    #[arg(long, value_name = "FILE")]
    pub(crate) routes: Option<PathBuf>,
    /// Start the stand-in UCS without a profile schema
    #[arg(long)]
    pub(crate) no_schema: bool,
    /// Encrypt both ports, with a certificate that is made for the demo
    #[arg(long)]
    pub(crate) tls: bool,
    /// Start this many gateways as one fleet, with an etcd that is found in the path
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=9), conflicts_with_all = ["tls", "stand_in_listen"])]
    pub(crate) fleet: Option<u16>,
    /// Duration of every operation of the stand-in UCS, to watch a drain
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = crate::policy::duration::parse)]
    pub(crate) delay: std::time::Duration,
}

/// As it was written, once it is known to be an address to listen on.
fn listen_address(text: &str) -> Result<String, String> {
    parse_listen(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// The shipped table, embedded so that the demo runs in any folder.
const SHIPPED_ROUTES: &str = include_str!("../../routes.yaml");

/// A flag of a program, with its value.
pub(super) type Flag = (&'static str, String);

/// This program, as printed commands call it: a new user has not installed it.
pub(super) fn program() -> String {
    std::env::current_exe().map_or_else(|_| "ucs-gateway".to_owned(), |path| path.display().to_string())
}

/// Completes when the demo is to end. Closing the terminal ends it too: there is no table to reload, but a folder to remove.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Starts a stand-in UCS with example data.
pub(super) async fn stand_in(args: &DemoArgs, address: &str) -> Result<StandIn, Box<dyn Error>> {
    let options = StandInOptions { profile_schema: !args.no_schema, delay: args.delay, ..StandInOptions::new() };
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let stand_in = StandIn::start(listener, options).await?;
    stand_in.seed();
    Ok(stand_in)
}

/// The flags that every gateway of a demo has.
pub(super) fn gateway_flags(routes: &Path, ucs: SocketAddr, state: &Path) -> Vec<Flag> {
    vec![
        ("--routes", routes.display().to_string()),
        ("--upstream", format!("http://{ucs}")),
        ("--state-dir", state.display().to_string()),
        // Enough to try it, and few enough for any limit of file descriptors.
        ("--max-connections", "1000".to_owned()),
        // Ctrl-C ends it at once.
        ("--stop-linger", "0s".to_owned()),
    ]
}

/// The words of a command line.
pub(super) fn command_line<const N: usize>(
    start: [OsString; N],
    flags: impl IntoIterator<Item = Flag>,
) -> Vec<OsString> {
    let flags = flags.into_iter().flat_map(|(flag, value)| [OsString::from(flag), value.into()]);
    start.into_iter().chain(flags).collect()
}

/// The route table of the arguments, else the shipped one.
pub(super) fn routes(args: &DemoArgs, folder: &Folder) -> std::io::Result<PathBuf> {
    args.routes.clone().map_or_else(|| folder.write("routes.yaml", SHIPPED_ROUTES), Ok)
}

/// The temporary folder of the demo, removed when dropped.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> std::io::Result<Folder> {
        // A random name, as process ids recur (above all in containers) and a killed demo leaves its folder behind.
        let number = getrandom::u64().map_err(std::io::Error::other)?;
        let path = std::env::temp_dir().join(format!("ucs-gateway-demo-{number:016x}"));
        // Fails if the folder exists: it would belong to another process.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left in the temporary directory does no harm.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
