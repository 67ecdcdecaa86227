//! `routes reload`: has a running gateway read its files again: the route table, and beside it access.yaml, credentials and
//! certificates.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::admin_client::{AdminArgs, AdminClient, CallError};
use super::mode_text::requests;
use super::output::{FAILED, block_on, fail, print};

/// A reload may wait for a large table, and for the requests of the old one.
const PATIENCE: Duration = Duration::from_secs(120);

/// The arguments of `routes`.
#[derive(Args, Debug)]
pub(crate) struct RoutesArgs {
    #[command(subcommand)]
    command: RoutesCommand,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the JSON document of the admin API
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum RoutesCommand {
    /// Read the route table and the other files again; a file with faults changes nothing
    Reload,
}

pub(crate) fn run(arguments: &RoutesArgs) -> ExitCode {
    let RoutesCommand::Reload = arguments.command;
    block_on(async {
        match reload(&arguments.admin).await {
            Ok(document) if arguments.json => print(&format!("{document}\n"), ExitCode::SUCCESS),
            Ok(document) => print(&in_words(&document), ExitCode::SUCCESS),
            Err(error) => fail(FAILED, error),
        }
    })
}

async fn reload(admin: &AdminArgs) -> Result<Value, CallError> {
    AdminClient::new(admin)?.call(Method::POST, "/routes/reload", None, PATIENCE).await
}

fn in_words(document: &Value) -> String {
    let routes = &document["routes"];
    if document["changed"] == false {
        return format!("no change: the same {routes} routes are in force\n");
    }
    let left = match document["still_running"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!("; {} of the old table continue", requests(count)),
    };
    format!("reloaded: {routes} routes are in force{left}\n")
}
