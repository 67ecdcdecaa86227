//! The common part of `serve` and `demo`: they log, and run until they are stopped or fail. Neither an unread output stream nor
//! blocked work keeps the process from ending.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use tokio::runtime::{Builder, LocalOptions};

use super::output::{FAILED, MISCONFIGURED, fail};
use crate::telemetry::{self, LogFormat, STDERR, STDOUT};

pub(super) struct Logs<'a> {
    pub(super) format: LogFormat,
    pub(super) level: &'a str,
}

/// Runs a service to its exit code; `code` maps an error.
pub(super) fn run<E: Display>(
    logs: Logs<'_>,
    service: impl Future<Output = Result<(), E>>,
    code: impl FnOnce(&E) -> u8,
) -> ExitCode {
    if let Err(error) = STDERR.start(&std::io::stderr()) {
        return fail(FAILED, error);
    }
    let ended = match telemetry::init_logs(logs.format, logs.level) {
        Ok(()) => block_on(service, code),
        Err(error) => fail_queued(MISCONFIGURED, error),
    };
    STDOUT.flush();
    STDERR.flush();
    ended
}

fn block_on<E: Display>(service: impl Future<Output = Result<(), E>>, code: impl FnOnce(&E) -> u8) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return fail_queued(FAILED, error),
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(service)));
    // Does not wait for blocked work, such as a save on a hanging disk.
    runtime.shutdown_background();
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail_queued(code(&error), error),
        Err(_) => fail_queued(FAILED, "the main thread ended with a panic"),
    }
}

/// As [`fail`], through the queue of log lines.
fn fail_queued(code: u8, why: impl Display) -> ExitCode {
    STDERR.push(format!("ucs-gateway: {why}\n").as_bytes());
    ExitCode::from(code)
}
