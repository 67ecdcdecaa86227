//! `completions SHELL`: what a shell needs to complete our commands.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::print;

/// What `completions` is told.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    pub(crate) shell: Shell,
}

/// Prints them.
pub(crate) fn run(args: &CompletionsArgs, command: &mut Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "ucs-gateway", &mut script);
    print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
