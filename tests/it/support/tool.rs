//! The real binary as a command that ends by itself (`check`, `mode get`, `token new` …) or that is read while it runs
//! (`mode watch`, `demo`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use super::{PATIENCE, TempDir};

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end, in the repository's folder.
pub fn run(arguments: &[&str]) -> Run {
    run_with_input(arguments, "")
}

/// The same, with something on standard input.
pub fn run_with_input(arguments: &[&str], input: &str) -> Run {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // A command that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// The command, not yet started, with both outputs piped and nothing of the environment of whoever runs the tests.
pub fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ucs-gateway"));
    for (name, _) in std::env::vars_os() {
        let foreign = name.to_string_lossy();
        if foreign.starts_with("UCS_GATEWAY_") || foreign == "STATE_DIRECTORY" || foreign == "NOTIFY_SOCKET" {
            command.env_remove(&name);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command that goes on. It is killed when dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    /// A demo that is killed leaves its folder here.
    _temporary: TempDir,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Running {
        let temporary = TempDir::new();
        let mut child = command(arguments).env("TMPDIR", temporary.path()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Running { child, lines, seen: Vec::new(), _temporary: temporary }
    }

    /// The next line of its standard output; `None` at the end.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line within {PATIENCE:?}; so far {:#?}", self.seen),
        }
    }

    /// The next line that holds `text`; those before it are dropped.
    #[track_caller]
    pub fn line_with(&mut self, text: &str) -> String {
        loop {
            match self.next_line() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("ended without {text:?}: {:#?}", self.seen),
            }
        }
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -s {name} failed");
    }

    /// Waits for its end; all that it wrote.
    #[track_caller]
    pub fn ended(mut self) -> Run {
        while self.next_line().is_some() {}
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "its output is closed, and it still runs: {:#?}", self.seen);
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        Run { code: status.code(), stdout: self.seen.join("\n"), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a process listens on IPv4, in no order: for one that says so nowhere.
pub fn listeners(pid: u32) -> BTreeSet<SocketAddr> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let open: BTreeSet<PathBuf> = open.filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    // proc(5): local address in the second field, state (0A: listening) in the fourth, inode in the tenth.
    let listening = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let (address, port) = (u32::from_str_radix(address, 16).ok()?, u16::from_str_radix(port, 16).ok()?);
        let socket = PathBuf::from(format!("socket:[{}]", fields.get(9)?));
        let is_own = fields[3] == "0A" && open.contains(&socket);
        is_own.then(|| SocketAddr::from((address.to_ne_bytes(), port)))
    });
    listening.collect()
}

/// The SHA-256 of a certificate, in hex digits, as openssl writes it.
pub fn sha256_of_certificate(path: &std::path::Path) -> String {
    use rustls::pki_types::pem::PemObject;
    use sha2::Digest;
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(path).unwrap();
    let digest = sha2::Sha256::digest(&certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
