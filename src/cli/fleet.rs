//! `fleet init|list|forget|export`: what operators do to a fleet in its store. They talk to etcd and to no gateway.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{FAILED, fail, print};
use crate::config::StoreAccess;
use crate::control::fleet::founding::Founding;
use crate::control::fleet::keys::{FleetContents, Marked, MemberEntry};
use crate::control::fleet::operators::{self, OperatorError};
use crate::control::store::etcd::{EtcdAddress, EtcdStore, check_name};
use crate::policy::duration::parse as parse_duration;
use crate::policy::mode::{Mode, ModeRecord, Phase};

/// Characters of a fingerprint in a table.
const SHORT: usize = 12;

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
        /// State directory of a gateway that is stopped: its record goes on in the fleet
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
    /// Take a member away whose process is gone for good
    Forget {
        /// Name of the member
        node: String,
        /// Your word that its process is stopped, and will not come back by itself
        #[arg(long, required = true)]
        stopped: bool,
        /// Time that UCS may need to finish what the member left
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
        orphan_grace: Duration,
    },
    /// Write the record and its history into a new state directory, for a gateway alone
    Export {
        /// The directory
        dir: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn run(arguments: FleetArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, format!("cannot start: {error}")),
    };
    let store = match EtcdStore::open(arguments.access.at(arguments.store)) {
        Ok(store) => store,
        Err(error) => return fail(FAILED, format!("cannot start: {error}")),
    };
    match runtime.block_on(text_of(&store, arguments.command)) {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(error) => fail(FAILED, error),
    }
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
            let contents = operators::read(store).await?;
            Ok(if json { format!("{:#}\n", in_json(&contents)) } else { in_words(&contents)? })
        }
        FleetCommand::Forget { node, orphan_grace, .. } => {
            if let Err(fault) = check_name(&node) {
                return Err(OperatorError::NoMember(fault));
            }
            operators::forget(store, &node, orphan_grace).await?;
            Ok(format!("{node} is forgotten; the next flip names it\n"))
        }
        FleetCommand::Export { dir } => {
            let record = operators::export(store, &dir).await?;
            Ok(format!("{} holds revision {} and its history\n", dir.display(), record.revision))
        }
    }
}

fn in_words(contents: &FleetContents) -> Result<String, OperatorError> {
    let record = &contents.mode.as_ref().ok_or(OperatorError::NoFleet)?.value;
    let mut text = match record.phase {
        Phase::Settled => format!("{}, revision {}\n", record.mode, record.revision),
        Phase::Switching => format!("switching to {}, revision {}\n", record.mode, record.revision),
    };
    if !contents.is_home() {
        text += "the store holds a copy that was made for another etcd: run `ucs-gateway fleet init`\n";
    }
    let rows = contents.members.iter().map(|(node, member)| row(contents, record, node, member));
    let titles = ["member", "state", "lease", "version", "routes"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    for (node, forgotten) in &contents.forgotten {
        text += &format!("{node}: forgotten at {}; the next flip names it\n", forgotten.value.time);
    }
    Ok(text)
}

fn row(contents: &FleetContents, record: &ModeRecord, node: &str, member: &Marked<MemberEntry>) -> [String; 5] {
    let lease = if contents.alive.contains_key(node) { "alive" } else { "none" };
    let table: String = member.value.table.chars().take(SHORT).collect();
    [node.to_owned(), state_of(record, &member.value), lease.to_owned(), member.value.version.clone(), table]
}

/// What a member has said of the record; while switching, that it has said nothing.
fn state_of(record: &ModeRecord, member: &MemberEntry) -> String {
    match &member.ack {
        Some(ack) if record.phase == Phase::Switching && ack.revision != record.revision => "missing".to_owned(),
        Some(ack) => match &ack.cause {
            Some(cause) => format!("{} ({cause})", ack.word.as_str()),
            None => ack.word.as_str().to_owned(),
        },
        None if record.phase == Phase::Switching => "missing".to_owned(),
        None => "joined".to_owned(),
    }
}

fn in_json(contents: &FleetContents) -> Value {
    let record = contents.mode.as_ref().map(|mode| &mode.value);
    let member = |(node, member): (&String, &Marked<MemberEntry>)| {
        json!({
            "node": node,
            "state": record.map(|record| state_of(record, &member.value)),
            "acknowledged": member.value.ack,
            "version": member.value.version,
            "routes": member.value.table,
            "incarnation": member.value.incarnation,
            "alive": contents.alive.get(node),
        })
    };
    let forgotten: Vec<&String> = contents.forgotten.keys().collect();
    json!({
        "record": record,
        "cluster_id": contents.cluster_id.to_string(),
        "is_home": contents.is_home(),
        "members": contents.members.iter().map(member).collect::<Vec<Value>>(),
        "forgotten": forgotten,
    })
}
