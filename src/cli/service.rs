//! What `serve` and `demo` have in common: they log, and go on until something ends them. Whatever that is, a stream that
//! nobody reads and work that hangs do not keep the process from ending.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use tokio::runtime::{Builder, LocalOptions};

use super::output::{FAILED, MISCONFIGURED, fail};
use crate::telemetry::{self, LogFormat, STDERR, STDOUT};

/// How the logs are to be.
pub(super) struct Logs<'a> {
    pub(super) format: LogFormat,
    pub(super) level: &'a str,
}

/// Runs a service to its exit code. `code` is the one of an error.
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
        Err(error) => last_word(MISCONFIGURED, error),
    };
    STDOUT.flush();
    STDERR.flush();
    ended
}

fn block_on<E: Display>(service: impl Future<Output = Result<(), E>>, code: impl FnOnce(&E) -> u8) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return last_word(FAILED, error),
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(service)));
    // A save on a disk that hangs, say, is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => last_word(code(&error), error),
        Err(_) => last_word(FAILED, "the main thread ended with a panic"),
    }
}

/// As [`fail`], by way of the queue.
fn last_word(code: u8, why: impl Display) -> ExitCode {
    STDERR.push(format!("ucs-gateway: {why}\n").as_bytes());
    ExitCode::from(code)
}
