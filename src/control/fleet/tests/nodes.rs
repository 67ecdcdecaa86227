//! Real etcd processes for tests of the members: killed when dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The nodes of one etcd on addresses of its own.
pub(super) struct Nodes {
    pub endpoints: Vec<String>,
    commands: Vec<Vec<String>>,
    children: Vec<Option<Child>>,
    dir: PathBuf,
}

/// etcd 3.5 as tests/run installs it, or Debian's. None in CI fails; elsewhere the test is skipped, and says so.
fn program() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let pinned = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(target).join("etcd/etcd");
    let found = [pinned, "/usr/bin/etcd".into()].into_iter().find(|path| path.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none_or(|value| value != "true"), "etcd is missing");
    found
}

impl Nodes {
    pub fn start(count: usize) -> Option<Nodes> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let program = program()?.display().to_string();
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let ip = format!("127.{}.{}.{}", 192 + process / 250 % 60, 1 + process % 250, 1 + number % 250);
        let dir = std::env::temp_dir().join(format!("ucs-gateway-nodes-{process}-{number}"));
        let ports: Vec<TcpListener> = (0..2 * count).map(|_| TcpListener::bind((ip.as_str(), 0)).unwrap()).collect();
        let at = |index: usize| ports[index].local_addr().unwrap().to_string();
        let cluster: Vec<String> = (0..count).map(|n| format!("n{n}=http://{}", at(2 * n + 1))).collect();
        let command = |n: usize| {
            let (client, peer) = (format!("http://{}", at(2 * n)), format!("http://{}", at(2 * n + 1)));
            let data = dir.join(format!("n{n}")).display().to_string();
            let flags = [
                ("--name", format!("n{n}")),
                ("--data-dir", data),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", cluster.join(",")),
            ];
            let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
            std::iter::once(program.clone()).chain(flags).collect()
        };
        let commands: Vec<Vec<String>> = (0..count).map(command).collect();
        let endpoints = (0..count).map(|n| at(2 * n)).collect();
        drop(ports);
        let mut nodes = Nodes { endpoints, commands, children: (0..count).map(|_| None).collect(), dir };
        (0..count).for_each(|node| nodes.run(node));
        Some(nodes)
    }

    pub fn run(&mut self, node: usize) {
        let mut command = Command::new(&self.commands[node][0]);
        command.args(&self.commands[node][1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children[node] = Some(command.spawn().unwrap());
    }

    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, node: usize, name: &str) {
        let id = self.children[node].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The URL of a fleet, with the endpoints from this one on.
    pub fn url(&self, first: usize) -> String {
        let mut endpoints = self.endpoints.clone();
        let count = endpoints.len();
        endpoints.rotate_left(first % count);
        format!("etcd://{}/fleet", endpoints.join(","))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        (0..self.children.len()).for_each(|node| self.kill(node));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
