//! The real binary as a child process: started on free ports, watched through its log, ended by signals.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{TempDir, everywhere, tool};

/// How long a start may take: longer than any other wait, because the gateway may first ask UCS for its mode.
const START: Duration = Duration::from_secs(60);

/// A running `ucs-gateway serve`. It is killed when dropped.
pub struct Gateway {
    /// Where clients connect; port 0 when that is a unix socket.
    pub data: SocketAddr,
    /// Where operators connect; port 0 when that is a unix socket.
    pub admin: SocketAddr,
    child: Child,
    lines: Arc<Lines>,
    state_dir: PathBuf,
    /// Removed with it, unless the caller brought a folder.
    _own_dir: Option<TempDir>,
}

/// Everything that the process wrote, by stream.
#[derive(Default)]
struct Lines {
    log: Mutex<Vec<String>>,
    access: Mutex<Vec<String>>,
}

impl Gateway {
    /// Before `upstream`, with a state directory of its own. `extra` are further flags of `serve`.
    pub fn start(upstream: SocketAddr, extra: &[&str]) -> Gateway {
        let dir = TempDir::new();
        let mut gateway = Gateway::start_in(dir.path(), upstream, extra);
        gateway._own_dir = Some(dir);
        gateway
    }

    /// The same, in production from the start, and sending nothing of its own to UCS: no probe, no mode. So an upstream
    /// sees what clients sent and nothing else.
    pub fn bare(upstream: SocketAddr, extra: &[&str]) -> Gateway {
        let quiet = ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production"];
        Gateway::start(upstream, &[&quiet, extra].concat())
    }

    /// With a state directory that outlives it.
    pub fn start_in(state_dir: &Path, upstream: SocketAddr, extra: &[&str]) -> Gateway {
        Gateway::try_start_in(state_dir, upstream, extra)
            .unwrap_or_else(|(status, log)| panic!("the gateway did not start: {status}\n{}", log.join("\n")))
    }

    /// The same, or how it ended and what it said.
    pub fn try_start_in(
        state_dir: &Path,
        upstream: SocketAddr,
        extra: &[&str],
    ) -> Result<Gateway, (ExitStatus, Vec<String>)> {
        Gateway::watch(command(state_dir, upstream, extra), state_dir)
    }

    /// Started by a shell that runs `prelude` first: limits, signals and variables are the gateway's own then.
    pub fn start_after(
        prelude: &str,
        state_dir: &Path,
        upstream: SocketAddr,
        extra: &[&str],
    ) -> Result<Gateway, (ExitStatus, Vec<String>)> {
        Gateway::start_with_input(Stdio::null(), prelude, state_dir, upstream, extra)
    }

    /// The same with this file as the standard input of `prelude`, which may pass it on as another descriptor.
    pub fn start_with_input(
        input: Stdio,
        prelude: &str,
        state_dir: &Path,
        upstream: SocketAddr,
        extra: &[&str],
    ) -> Result<Gateway, (ExitStatus, Vec<String>)> {
        let plain = command(state_dir, upstream, extra);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{prelude}; exec \"$0\" \"$@\""));
        command.arg(plain.get_program()).args(plain.get_args());
        for (foreign, _) in plain.get_envs() {
            command.env_remove(foreign);
        }
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        Gateway::watch(command, state_dir)
    }

    /// With its outputs where the caller wants them, so that nobody hears what it says.
    pub fn start_into(state_dir: &Path, upstream: SocketAddr, extra: &[&str], stdout: Stdio, stderr: Stdio) -> Gateway {
        let child = command(state_dir, upstream, extra).stdout(stdout).stderr(stderr).spawn().unwrap();
        let unknown = ([0, 0, 0, 0], 0).into();
        let (lines, state_dir) = (Arc::default(), state_dir.to_owned());
        let mut gateway = Gateway { data: unknown, admin: unknown, child, lines, state_dir, _own_dir: None };
        super::eventually("it listens", || tool::listeners(gateway.pid()).len() == 2);
        for address in tool::listeners(gateway.pid()) {
            // Answered once all is ready.
            let is_admin = super::request(address, "GET /readyz", &[], b"").status == 200;
            *(if is_admin { &mut gateway.admin } else { &mut gateway.data }) = address;
        }
        assert!(gateway.admin != unknown && gateway.data != unknown);
        gateway
    }

    /// No file that it writes may grow beyond so many bytes; `None` lifts the limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={soft}:");
        let limited = Command::new("prlimit").args(["--pid", &self.pid().to_string(), &limit]).status();
        assert!(limited.expect("prlimit (util-linux) is there").success(), "prlimit {limit} failed");
    }

    /// From now on it may have so many descriptors.
    pub fn limit_descriptors(&self, count: usize) {
        let limit = format!("--nofile={count}:");
        let limited = Command::new("prlimit").args(["--pid", &self.pid().to_string(), &limit]).status();
        assert!(limited.expect("prlimit (util-linux) is there").success(), "prlimit {limit} failed");
    }

    fn watch(mut command: Command, state_dir: &Path) -> Result<Gateway, (ExitStatus, Vec<String>)> {
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Lines::default());
        let (ready_sender, ready) = mpsc::channel();
        let (log, access) = (child.stderr.take().unwrap(), child.stdout.take().unwrap());
        let (kept_log, kept_access) = (Arc::clone(&lines), Arc::clone(&lines));
        let reader = std::thread::spawn(move || {
            keep_lines(log, &kept_log.log, |line| {
                if let Some(addresses) = ready_line(line) {
                    let _ = ready_sender.send(addresses);
                }
            });
        });
        std::thread::spawn(move || keep_lines(access, &kept_access.access, |_| {}));
        match ready.recv_timeout(START) {
            Ok((data, admin)) => {
                let data = if data.port() == 0 { data } else { everywhere::entrance(data) };
                Ok(Gateway { data, admin, child, lines, state_dir: state_dir.to_owned(), _own_dir: None })
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("the gateway was not ready within {START:?}\n{}", lines.log.lock().unwrap().join("\n"));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = child.wait().unwrap();
                reader.join().unwrap();
                Err((status, lines.log.lock().unwrap().clone()))
            }
        }
    }

    /// The token that it made in its state directory.
    pub fn token(&self) -> String {
        let path = self.state_dir.join("admin.token");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far, for failure messages.
    pub fn log(&self) -> String {
        self.lines.log.lock().unwrap().join("\n")
    }

    /// The lines of the access log so far (`--access-log`).
    pub fn access_lines(&self) -> Vec<String> {
        self.lines.access.lock().unwrap().clone()
    }

    /// Most memory that was ever resident, in KiB. A peak between two looks cannot be missed.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    /// The same without the pages of its file, which come as its code is first run.
    pub fn peak_own_kib(&self) -> u64 {
        self.peak_kib() - self.memory_kib("RssFile:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = self.memory();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The kernel's account of the process, with its memory.
    pub fn memory(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap()
    }

    /// SIGKILL: nothing can be saved any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended within `deadline`.
    pub fn terminate(mut self, deadline: Duration) -> ExitStatus {
        self.signal("TERM");
        self.exited(deadline)
    }

    /// Waits until it has ended by itself.
    pub fn exited(&mut self, deadline: Duration) -> ExitStatus {
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "still running after {deadline:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal by its name without SIG: `HUP`, `TERM`, `STOP` …
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -s {name} failed");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The harness shows it with the failed test only.
            eprintln!("--- log of the gateway ---\n{}\n---", self.log());
        }
    }
}

fn command(state_dir: &Path, upstream: SocketAddr, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ucs-gateway"));
    // Settings of whoever runs the tests must not reach the gateway.
    for (name, _) in std::env::vars_os() {
        let foreign = name.to_string_lossy();
        let of_manager = foreign == "STATE_DIRECTORY" || foreign == "NOTIFY_SOCKET" || foreign.starts_with("LISTEN_");
        if foreign.starts_with("UCS_GATEWAY_") || of_manager {
            command.env_remove(&name);
        }
    }
    command.arg("serve");
    if !extra.contains(&"--upstream") {
        command.args(everywhere::upstream(upstream));
    }
    if !extra.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    if !extra.contains(&"--admin-listen") {
        command.args(["--admin-listen", "127.0.0.1:0"]);
    }
    command.args(["--log-format", "json", "--state-dir"]).arg(state_dir);
    if !extra.contains(&"--routes") {
        command.args(["--routes", concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml")]);
    }
    // Tests hold flips by requests that lack a byte, for as long as a busy machine needs.
    if !extra.contains(&"--drain-client-timeout") {
        command.args(["--drain-client-timeout", "1m"]);
    }
    // Clients of a stopping gateway are a subject of `restart` alone.
    if !extra.contains(&"--stop-linger") {
        command.args(["--stop-linger", "0s"]);
    }
    if !extra.contains(&"--tls-cert") {
        command.args(everywhere::listener());
    }
    command.args(extra).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn keep_lines(stream: impl Read, kept: &Mutex<Vec<String>>, mut each: impl FnMut(&str)) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        kept.lock().unwrap().push(line.clone());
        each(&line);
    }
}

/// The addresses of the line that says that it is ready.
fn ready_line(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "ready" {
        return None;
    }
    let address = |name: &str| line[name].as_str().unwrap_or_default().parse().ok();
    let admin = address("admin").unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
    // A data port on a unix socket has none either.
    let data = match line["listen"].as_str()? {
        socket if socket.starts_with("unix:") => ([0, 0, 0, 0], 0).into(),
        _ => address("listen")?,
    };
    Some((data, admin))
}
