//! `check [FILE]`: every fault of a route table, and the overlaps that deserve a second look. It changes nothing.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{MISCONFIGURED, fail, print};
use crate::policy::analysis;
use crate::policy::table::RouteTable;
use crate::route_file;

/// The arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Route table
    #[arg(value_name = "FILE", default_value = "routes.yaml")]
    pub(crate) file: PathBuf,
}

/// Exit code 2 if the table has faults.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match route_file::load(&args.file) {
        Err(error) => fail(MISCONFIGURED, error),
        Ok((table, _)) => {
            print(&summary(&args.file.display().to_string(), &table));
            ExitCode::SUCCESS
        }
    }
}

fn summary(file: &str, table: &RouteTable) -> String {
    let mut text = format!("{file}: {} routes, no faults\n", table.routes.len());
    for (index, class) in table.classes.iter().enumerate() {
        let routes = table.routes.iter().filter(|route| route.class == index).count();
        let _ = writeln!(text, "  {routes:4} {}", class.name);
    }
    for overlap in analysis::overlaps(table) {
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
