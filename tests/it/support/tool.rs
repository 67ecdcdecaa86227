//! The real binary as a command that ends by itself: `check`, `mode get`, `token new` …

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

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
