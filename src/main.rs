//! Arguments → command → exit code. All else is in the library.

use std::process::ExitCode;

use clap::Parser;

/// A request allocates a dozen times; see benches/README.md for what this one saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ucs_gateway::cli::run(ucs_gateway::cli::Cli::parse())
}
