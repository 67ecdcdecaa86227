//! The commands, one file each. They print and set exit codes (0: done, 1: failed, 2: usage or configuration); their work is
//! done elsewhere.

mod admin_client;
mod certificate;
mod check;
mod check_against;
mod check_upstream;
mod completions;
mod demo;
mod demo_fleet;
mod demo_setup;
mod diff;
mod drain_screen;
mod environment;
mod explain;
mod fleet;
mod fleet_text;
mod history_text;
mod journal;
mod links;
mod logged_request;
mod man;
mod mode;
mod mode_set;
mod mode_text;
mod output;
mod remarks;
mod routes;
mod schema;
mod serve;
mod service;
mod times;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "ucs-gateway",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("UCS_GATEWAY_COMMIT"), ")"),
    about = "A reverse proxy that enforces UCS's Server Mode: it forwards the operations that the current mode allows and refuses \
             the rest."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway in front of UCS
    Serve(Box<crate::config::ServeArgs>),
    /// Run the gateway in front of a stand-in UCS, to try it out
    Demo(demo_setup::DemoArgs),
    /// Check a route table and report every problem
    Check(check::CheckArgs),
    /// Show how a request would be handled in each mode, and why
    Explain(explain::ExplainArgs),
    /// List the requests that two route tables handle differently
    Diff(diff::DiffArgs),
    /// Show or change the mode of a running gateway
    Mode(Box<mode::ModeArgs>),
    /// Have a running gateway read its files again
    Routes(routes::RoutesArgs),
    /// Verify the journal of a gateway
    Journal(journal::JournalArgs),
    /// Create and manage a fleet in its store
    Fleet(Box<fleet::FleetArgs>),
    /// Generate credentials for access.yaml
    Token(token::TokenArgs),
    /// Make a certificate, to try TLS out
    Certificate(certificate::CertificateArgs),
    /// Print the JSON Schema of routes.yaml
    Schema,
    /// Print shell completions
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(man::ManArgs),
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = environment::with_variables(Cli::command(), &arguments);
    let parsed = command.clone().try_get_matches_from(&arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &command, &arguments),
    };
    match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Mode(args) => mode::run(&args),
        Command::Routes(args) => routes::run(&args),
        Command::Fleet(args) => fleet::run(*args),
        Command::Token(args) => token::run(&args),
        Command::Certificate(args) => certificate::run(&args),
        Command::Schema => schema::run(),
        Command::Journal(args) => journal::run(&args),
        Command::Man(args) => man::run(&args, command),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Help and the version are no failures.
fn refuse(error: &clap::Error, command: &clap::Command, arguments: &[OsString]) -> ExitCode {
    // Clap writes to a terminal in colours.
    let written = error.print();
    match environment::origin_of(error, command, arguments) {
        Some(origin) => output::fail(output::MISCONFIGURED, origin),
        None if error.use_stderr() => ExitCode::from(output::MISCONFIGURED),
        None => output::ended(written, ExitCode::SUCCESS),
    }
}
