//! The commands: one file each. They print and set exit codes (0; 1 failed; 2 usage or configuration); what they do is
//! done elsewhere.

mod admin_client;
mod check;
mod completions;
mod demo;
mod diff;
mod explain;
mod mode;
mod output;
mod schema;
mod serve;
mod service;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "ucs-gateway",
    version,
    about = "The only way into one UCS, open to just what its Server Mode allows."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway before a UCS.
    Serve(Box<crate::config::ServeArgs>),
    /// Run the gateway before a stand-in UCS, to try it.
    Demo(demo::DemoArgs),
    /// Read a route table and tell all that is wrong with it.
    Check(check::CheckArgs),
    /// Tell what becomes of a request, in each mode, and why.
    Explain(explain::ExplainArgs),
    /// Tell which requests two route tables treat differently.
    Diff(diff::DiffArgs),
    /// See or change the mode of a running gateway.
    Mode(Box<mode::ModeArgs>),
    /// Make credentials for access.yaml.
    Token(token::TokenArgs),
    /// Print the JSON Schema of routes.yaml.
    Schema,
    /// Print completions for a shell.
    Completions(completions::CompletionsArgs),
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(*args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Mode(args) => mode::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Schema => schema::run(),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}
