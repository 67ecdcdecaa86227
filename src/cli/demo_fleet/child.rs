//! A process of the demo that ends with it, however the demo ends: a shell stands between, and ends it once its standard input,
//! a pipe from here, is closed. Ctrl-C in a terminal reaches the demo alone.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

/// Prints the process's id, leaves standard error to it alone, and ends it when there is nothing more to read. The process may be
/// gone by then.
const KEEPER: &str = r#""$@" </dev/null >/dev/null & echo $! >&2; exec 2>/dev/null; read -r _; kill $!; wait $!"#;

/// How long a process may take to end.
const END: Duration = Duration::from_secs(10);

pub(super) struct Process {
    /// Of the process itself.
    pub(super) id: u32,
    /// Its lines on standard error, until it ends.
    pub(super) log: mpsc::UnboundedReceiver<String>,
    keeper: Child,
}

impl Process {
    /// Starts a program with arguments.
    pub(super) async fn start(words: &[OsString]) -> io::Result<Process> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "sh"]).args(words).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut keeper = command.spawn()?;
        let output = BufReader::new(keeper.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let (sender, mut log) = mpsc::unbounded_channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = log.recv().await.unwrap_or_default();
        let id = first.trim().parse().map_err(|_| io::Error::other(first))?;
        Ok(Process { id, log, keeper })
    }

    /// Ends it, and waits for its end.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        // Waiting closes the pipe.
        let ended = tokio::task::spawn_blocking(move || self.keeper.wait());
        let ended = tokio::time::timeout(END, ended).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        ended.map_err(io::Error::other)?.map(drop)
    }
}
