//! How a command ends: its text on standard output, its error on standard error, its exit code.

use std::io::Write;
use std::process::ExitCode;

/// Exit code of a failed command.
pub(crate) const FAILED: u8 = 1;

/// Exit code of wrong usage or an invalid configuration.
pub(crate) const MISCONFIGURED: u8 = 2;

/// Prints to standard output. A closed reader (`| head`) is not an error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints an error to standard error; the exit code is `code`.
pub(crate) fn fail(code: u8, why: impl std::fmt::Display) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "ucs-gateway: {why}"));
    ExitCode::from(code)
}
