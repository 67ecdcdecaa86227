//! `check [FILE]`: every fault of a route table, and the overlaps that deserve a second look. It changes nothing.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{FAILED, MISCONFIGURED, fail, print};
use crate::policy::analysis::{self, Overlap};
use crate::policy::table::RouteTable;
use crate::route_file;

/// The arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Route table
    #[arg(value_name = "FILE", default_value = "routes.yaml")]
    pub(crate) file: PathBuf,
}

/// Exit code 2 if the table has faults, 1 if it may have some.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let table = match route_file::load(&args.file) {
        Ok((table, _)) => table,
        Err(error) => return fail(MISCONFIGURED, error),
    };
    let overlaps = analysis::overlaps(&table);
    let verdict = if overlaps.cut_short.is_none() { "no faults" } else { "no fault found" };
    let heading = format!("{}: {} routes, {verdict}\n", args.file.display(), table.routes.len());
    let printed = print(&(heading + &summary(&table, &overlaps.list)), ExitCode::SUCCESS);
    let Some(why) = overlaps.cut_short else { return printed };
    let unknown =
        "not proven: there may be routes that can never match, and more overlaps, as the search was cut short";
    fail(FAILED, format!("{unknown}: {why}"))
}

fn summary(table: &RouteTable, overlaps: &[Overlap]) -> String {
    let mut text = String::new();
    for (index, class) in table.classes.iter().enumerate() {
        let routes = table.routes.iter().filter(|route| route.class == index).count();
        let _ = writeln!(text, "  {routes:4} {}", class.name);
    }
    for overlap in overlaps {
        let (first, second) = (&table.routes[overlap.first as usize], &table.routes[overlap.second as usize]);
        let _ = writeln!(
            text,
            "note: \"{}\" (line {}) precedes \"{}\" (line {}) and matches some of its requests as {}, for example {}",
            first.operation,
            first.line,
            second.operation,
            second.line,
            table.classes[first.class].name,
            overlap.example_path
        );
    }
    text
}
