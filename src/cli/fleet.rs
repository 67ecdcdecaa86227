//! `fleet init|list|forget|export`: the commands about a fleet in its store. They talk to etcd and to no gateway.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::fleet_text;
use super::output::{FAILED, block_on, fail, print};
use crate::config::StoreAccess;
use crate::control::fleet::founding::Founding;
use crate::control::fleet::operators::{self, OperatorError};
use crate::control::store::etcd::{EtcdAddress, EtcdStore, check_name};
use crate::policy::duration::parse as parse_duration;
use crate::policy::mode::Mode;

/// The arguments of `fleet`.
#[derive(Args, Debug)]
pub(crate) struct FleetArgs {
    /// Store of the fleet, as etcd://HOST:PORT,HOST:PORT/NAME or etcds://…
    #[arg(long, global = true, value_name = "URL", default_value = "etcd://127.0.0.1:2379/ucs")]
    store: EtcdAddress,
    #[command(flatten)]
    access: StoreAccess,
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Make the fleet in its store; after a restore from a backup, make it valid again
    Init {
        /// Mode of the fleet
        #[arg(long, conflicts_with = "from")]
        mode: Option<Mode>,
        /// State directory of a stopped gateway, whose record the fleet continues
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// After a restore: the highest revision that any member has shown
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        above: u64,
    },
    /// Show the record and every member
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a member whose process is gone for good
    Forget {
        /// Name of the member
        #[arg(value_parser = name)]
        node: String,
        /// Confirm that its process is stopped and will not come back by itself
        #[arg(long, required = true)]
        stopped: bool,
        /// Time that UCS may need to finish the requests that the member left
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
        orphan_grace: Duration,
    },
    /// Write the record and its history into a new state directory, for a gateway alone
    Export {
        /// The directory
        dir: PathBuf,
    },
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

pub(crate) fn run(arguments: FleetArgs) -> ExitCode {
    let store = match EtcdStore::open(arguments.access.at(arguments.store)) {
        Ok(store) => store,
        Err(error) => return fail(FAILED, format!("cannot start: {error}")),
    };
    block_on(async {
        match text_of(&store, arguments.command).await {
            Ok(text) => print(&text, ExitCode::SUCCESS),
            Err(error) => fail(FAILED, error),
        }
    })
}

async fn text_of(store: &EtcdStore, command: FleetCommand) -> Result<String, OperatorError> {
    match command {
        FleetCommand::Init { mode, from, above } => {
            let founding = match (mode, from) {
                (Some(mode), _) => Founding::Mode(mode),
                (None, Some(dir)) => Founding::Record(Box::new(operators::record_of(&dir)?)),
                (None, None) => Founding::Unsaid,
            };
            let record = operators::init(store, founding, above).await?;
            Ok(format!("the fleet is in {}, revision {}\n", record.mode, record.revision))
        }
        FleetCommand::List { json } => {
            let view = operators::view(store).await?;
            let record = view.record.as_ref().ok_or(OperatorError::NoFleet)?;
            Ok(if json { format!("{:#}\n", json!(view)) } else { fleet_text::of(&view, record) })
        }
        FleetCommand::Forget { node, orphan_grace, .. } => {
            operators::forget(store, &node, orphan_grace).await?;
            Ok(format!("{node} is forgotten; the next flip names it\n"))
        }
        FleetCommand::Export { dir } => {
            let record = operators::export(store, &dir).await?;
            Ok(format!("{} holds revision {} and its history\n", dir.display(), record.revision))
        }
    }
}
