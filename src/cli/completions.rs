//! `completions SHELL`: what a shell needs to complete our commands.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

/// What `completions` is told.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// For which shell.
    pub shell: Shell,
}

/// Prints them.
pub fn run(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ucs-gateway", &mut script);
    print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
