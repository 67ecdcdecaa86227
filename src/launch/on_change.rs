//! `--on-change`: starts the operator's program when a flip has settled or was reverted and when an alarm comes up, with the
//! document of `GET /mode` on its standard input. One at a time: of the events meanwhile only the newest document is kept.
//! No other part waits for it, and a shutdown does not either.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::admin;
use crate::config::OnChangeSettings;
use crate::gate::{Gate, Published};
use crate::policy::mode::Phase;
use crate::telemetry::Metrics;

/// The interval at which a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Starts the program for every event until the gateway stops. Without a program it waits for ever.
pub(super) async fn run(settings: Option<OnChangeSettings>, gate: Arc<Gate>, metrics: Arc<Metrics>) {
    let Some(settings) = settings else { return std::future::pending().await };
    let mut published = gate.watch();
    let mut told = Told::since(&published.borrow());
    published.mark_changed();
    let (mut next, mut running) = (None, None);
    loop {
        tokio::select! {
            Ok(()) = published.changed() => {
                let published = Arc::clone(&published.borrow_and_update());
                next = told.news(&gate, &published).or(next);
            }
            ended = end(&mut running) => {
                running = None;
                report(&settings, &metrics, ended);
            }
        }
        if running.is_none()
            && let Some(document) = next.take()
        {
            running = Some(start(settings.clone(), document));
        }
    }
}

/// The state that the program knows.
struct Told {
    /// A flip is under way.
    is_switching: bool,
    /// The last flip.
    attempt: Option<String>,
    alarm: Option<String>,
}

impl Told {
    /// The state of the start is no news, but its alarm is.
    fn since(published: &Published) -> Told {
        let record = published.record.as_deref();
        let is_switching = record.is_some_and(|record| record.phase == Phase::Switching);
        Told { is_switching, attempt: record.and_then(|record| record.attempt.clone()), alarm: None }
    }

    /// The document, if a flip has ended since the last look or an alarm has come up.
    fn news(&mut self, gate: &Gate, published: &Published) -> Option<Value> {
        let record = published.record.as_deref()?;
        let is_alarm = published.alarm.is_some() && published.alarm != self.alarm;
        self.alarm.clone_from(&published.alarm);
        let was_switching = std::mem::replace(&mut self.is_switching, record.phase == Phase::Switching);
        // A quick flip may begin and end between two looks.
        let is_another = record.attempt.is_some() && record.attempt != self.attempt;
        let has_ended = !self.is_switching && (was_switching || is_another);
        if has_ended {
            self.attempt.clone_from(&record.attempt);
        }
        (has_ended || is_alarm).then(|| admin::mode_document(gate, published, record))
    }
}

type Running = oneshot::Receiver<Result<(), String>>;

/// The end of the run under way; pending without one.
async fn end(running: &mut Option<Running>) -> Result<(), String> {
    match running {
        Some(running) => running.await.unwrap_or_else(|_| Err("cannot be run: its thread ended".to_owned())),
        None => std::future::pending().await,
    }
}

fn report(settings: &OnChangeSettings, metrics: &Metrics, ended: Result<(), String>) {
    let program = settings.program.display();
    match ended {
        Ok(()) => {
            metrics.on_change_ok.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%program, "the program of --on-change has ended");
        }
        Err(how) => {
            metrics.on_change_failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%program, "the program of --on-change {how}");
        }
    }
}

/// On a thread of its own: to start a program of a file system that hangs takes as long as that.
fn start(settings: OnChangeSettings, document: Value) -> Running {
    let (sender, receiver) = oneshot::channel();
    let run = move || drop(sender.send(run_program(&settings.program, settings.timeout, &document)));
    // If there is no thread, the sender is dropped, which is the end.
    drop(std::thread::Builder::new().name("on-change".to_owned()).spawn(run));
    receiver
}

/// Runs the program to its end, or kills it.
fn run_program(program: &Path, limit: Duration, document: &Value) -> Result<(), String> {
    // Standard output and standard error are for log lines. A group of its own can be killed as a whole.
    let mut command = Command::new(program);
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        let text = format!("{document}\n");
        // It need not read its input: the pipe breaks when it ends, and has room for most documents until then.
        let write = move || drop(input.write_all(text.as_bytes()));
        drop(std::thread::Builder::new().name("on-change-input".to_owned()).spawn(write));
    }
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("failed: {status}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) => {
                let killed = kill_group(&child).and_then(|()| child.wait());
                return Err(match killed {
                    Ok(_) => format!("had not ended after {limit:?} and was killed"),
                    Err(error) => format!("had not ended after {limit:?} and cannot be killed: {error}"),
                });
            }
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}

/// Kills the program and the processes that it has started. It has not been waited for, so its id is still its own.
fn kill_group(child: &Child) -> std::io::Result<()> {
    Ok(kill_process_group(Pid::from_child(child), Signal::KILL)?)
}
