//! How a command ends: its text on standard output, its error on standard error, its exit code.

use std::io::Write;
use std::process::ExitCode;

/// Exit code for a command that did not succeed.
pub(crate) const FAILED: u8 = 1;

/// Exit code for wrong usage or a faulty configuration.
pub(crate) const MISCONFIGURED: u8 = 2;

/// Prints to standard output. A reader that went away (`| head`) is no error of ours.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Says on standard error why a command ends, and ends it with `code`.
pub(crate) fn fail(code: u8, why: impl std::fmt::Display) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "ucs-gateway: {why}"));
    ExitCode::from(code)
}
