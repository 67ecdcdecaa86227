//! Arguments → command → exit code. All else is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ucs_gateway::cli::run(ucs_gateway::cli::Cli::parse())
}
