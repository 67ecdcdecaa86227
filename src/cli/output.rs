//! How a command ends: its text on standard output, its error on standard error, its exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

/// Exit code of a failed command.
pub(crate) const FAILED: u8 = 1;

/// Exit code of wrong usage or an invalid configuration.
pub(crate) const MISCONFIGURED: u8 = 2;

/// Prints to standard output, and ends with `code` if that succeeds.
pub(crate) fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    ended(out.write_all(text.as_bytes()).and_then(|()| out.flush()), code)
}

/// The exit code after writing to standard output. A closed reader (`| head`) is not an error.
pub(crate) fn ended(written: io::Result<()>, code: ExitCode) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(FAILED, format!("cannot write: {error}")),
        _ => code,
    }
}

/// Runs a command that makes calls to its exit code.
pub(crate) fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    runtime().map_or_else(|error| fail(FAILED, format!("cannot start: {error}")), |runtime| runtime.block_on(command))
}

/// The runtime of a command that makes calls.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Prints a remark to standard error.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "ucs-gateway: {text}"));
}

/// Prints an error to standard error; the exit code is `code`.
pub(crate) fn fail(code: u8, why: impl std::fmt::Display) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "ucs-gateway: {why}"));
    ExitCode::from(code)
}
