//! `check [FILE]`: every fault of a route table, the overlaps that deserve a second look, and, with `--upstream`, whether a UCS
//! fits. It changes nothing.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::check_upstream::{self, Finding, Grade, UpstreamCheckArgs};
use super::output::{FAILED, MISCONFIGURED, fail, print};
use crate::policy::analysis::{self, Overlap};
use crate::policy::table::RouteTable;
use crate::route_file;
use crate::transport::UpstreamUrl;

/// The arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Route table
    #[arg(value_name = "FILE", default_value = "routes.yaml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) upstream: UpstreamCheckArgs,
}

/// Exit code 2 if the table has faults, 1 if it may have some or UCS does not fit.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let table = match route_file::load(&args.file) {
        Ok((table, _)) => table,
        Err(error) => return fail(MISCONFIGURED, error),
    };
    let overlaps = analysis::overlaps(&table);
    let verdict = if overlaps.cut_short.is_none() { "no faults" } else { "no fault found" };
    let heading = format!("{}: {} routes, {verdict}\n", args.file.display(), table.routes.len());
    let printed = print(&(heading + &summary(&table, &overlaps.list)), ExitCode::SUCCESS);
    let fits = match &args.upstream.upstream {
        Some(url) => ask_upstream(url, args, &table),
        None => printed,
    };
    let Some(why) = overlaps.cut_short else { return fits };
    let unknown =
        "not proven: there may be routes that can never match, and more overlaps, as the search was cut short";
    fail(FAILED, format!("{unknown}: {why}"))
}

fn ask_upstream(url: &UpstreamUrl, args: &CheckArgs, table: &RouteTable) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, error),
    };
    let findings = match runtime.block_on(check_upstream::findings(url, &args.upstream, table)) {
        Ok(findings) => findings,
        Err(error) => return fail(MISCONFIGURED, error),
    };
    let lines: String = findings.iter().map(Finding::line).collect();
    let has_fault = findings.iter().any(|finding| finding.grade == Grade::Fault);
    let code = if has_fault { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
    print(&format!("UCS at {} with this table:\n{lines}", url.authority), code)
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
