//! `explain METHOD PATH`: the handling of a request in each mode, by the matcher that serves traffic. It needs no running
//! gateway; for its table in force, use `GET /explain` of the admin API.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{FAILED, MISCONFIGURED, fail, print};
use crate::policy::explain::{Explanation, Handling, RouteView, explain};
use crate::route_file;

/// The arguments of `explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Method of the request, in upper case
    pub(crate) method: String,
    /// Path of the request; a query is ignored
    pub(crate) path: String,
    /// Route table
    #[arg(long, env = "UCS_GATEWAY_ROUTES", value_name = "FILE", default_value = "routes.yaml")]
    pub(crate) routes: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints the explanation.
pub(crate) fn run(args: &ExplainArgs) -> ExitCode {
    let table = match route_file::load(&args.routes) {
        Ok((table, _)) => table,
        Err(error) => return fail(MISCONFIGURED, error),
    };
    let path = args.path.split('?').next().unwrap_or_default();
    let explanation = explain(&table, &args.method, path);
    if !args.json {
        print(&in_words(&explanation, &args.routes.display().to_string()));
        return ExitCode::SUCCESS;
    }
    match serde_json::to_string_pretty(&explanation) {
        Ok(text) => {
            print(&format!("{text}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, error),
    }
}

fn in_words(explanation: &Explanation, file: &str) -> String {
    let mut lines = vec![format!("{} {}", explanation.method, explanation.path)];
    if let Some(canonical) = explanation.canonical_path.as_ref().filter(|path| **path != explanation.path) {
        lines.push(format!("  read as      {canonical}"));
    }
    match &explanation.route {
        Some(route) => lines.push(format!("  taken by     {}", route_in_words(route, file))),
        None => lines.push("  taken by     no route".to_owned()),
    }
    for route in &explanation.shadowed {
        lines.push(format!("  not taken by {}: it is listed later", route_in_words(route, file)));
    }
    lines.push(format!("  production   {}", outcome_in_words(&explanation.production)));
    lines.push(format!("  maintenance  {}", outcome_in_words(&explanation.maintenance)));
    lines.push(format!("  switching    {}\n", outcome_in_words(&explanation.switching)));
    lines.join("\n")
}

fn route_in_words(route: &RouteView, file: &str) -> String {
    let id = route.id.as_ref().map(|id| format!(", {id}")).unwrap_or_default();
    let (operation, method, pattern, class) = (&route.operation, &route.method, &route.pattern, &route.class);
    format!("{operation} ({method} {pattern}; class {class}{id}; {file}:{})", route.line)
}

fn outcome_in_words(outcome: &Handling) -> String {
    let status = outcome.status.map(|status| format!(" with {status}")).unwrap_or_default();
    format!("{}{status}: {}", outcome.verdict, outcome.detail)
}
