//! `explain METHOD PATH`: the handling of a request in each mode, by the matcher that serves traffic: that of a file, or,
//! where there is no file, that of the running gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::admin_client::{AdminArgs, AdminClient, CallError};
use super::output::{FAILED, MISCONFIGURED, fail, note, print, runtime};
use crate::policy::explain::explain;
use crate::route_file::{self, TableError};

/// The file that is read without --routes, where it exists.
const DEFAULT_FILE: &str = "routes.yaml";

/// The timeout of the call to a running gateway.
const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of `explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Method of the request, in upper case
    pub(crate) method: String,
    /// Path of the request; a query is ignored
    pub(crate) path: String,
    /// Route table [default: routes.yaml in this folder, or else the table of the running gateway]
    #[arg(long, value_name = "FILE")]
    pub(crate) routes: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(
        "there is no {DEFAULT_FILE} in this folder, and no gateway to ask: {0}; name a table with --routes FILE, or the \
         gateway with --admin"
    )]
    Unreachable(CallError),
    #[error("{0}")]
    Refused(CallError),
    #[error("cannot start: {0}")]
    System(std::io::Error),
    #[error("cannot encode: {0}")]
    Json(#[from] serde_json::Error),
}

/// Prints the explanation, and the table that it is by.
pub(crate) fn run(args: &ExplainArgs) -> ExitCode {
    let upper = args.method.to_ascii_uppercase();
    if upper != args.method {
        note(&format!("methods are case-sensitive: this is about {}, not {upper}", args.method));
    }
    match explanation(args) {
        Ok((explanation, table)) if args.json => {
            if let AskedTable::Gateway(address) = table {
                note(&format!("this is the table in force in the gateway at {address}"));
            }
            print(&format!("{explanation:#}\n"), ExitCode::SUCCESS)
        }
        Ok((explanation, table)) => print(&in_words(&explanation, &table), ExitCode::SUCCESS),
        Err(error @ (ExplainError::Table(_) | ExplainError::Unreachable(_))) => fail(MISCONFIGURED, error),
        Err(error) => fail(FAILED, error),
    }
}

enum AskedTable {
    File(String),
    /// By the address of its admin API.
    Gateway(String),
}

fn explanation(args: &ExplainArgs) -> Result<(Value, AskedTable), ExplainError> {
    let path = args.path.split('?').next().unwrap_or_default();
    let file = match &args.routes {
        Some(file) => Some(file.as_path()),
        None => Some(Path::new(DEFAULT_FILE)).filter(|file| file.exists()),
    };
    let Some(file) = file else {
        return Ok((ask_gateway(args, path)?, AskedTable::Gateway(args.admin.admin.address.to_string())));
    };
    let (table, _) = route_file::load_or_pipe(file)?;
    let explanation = serde_json::to_value(explain(&table, &args.method, path))?;
    Ok((explanation, AskedTable::File(file.display().to_string())))
}

fn ask_gateway(args: &ExplainArgs, path: &str) -> Result<Value, ExplainError> {
    let runtime = runtime().map_err(ExplainError::System)?;
    let target = format!("/explain?method={}&path={}", escaped(&args.method), escaped(path));
    let client = AdminClient::new(&args.admin).map_err(ExplainError::Unreachable)?;
    let asked = runtime.block_on(client.call(Method::GET, &target, None, PATIENCE));
    asked.map_err(|error| match error {
        CallError::Refused(_) => ExplainError::Refused(error),
        error => ExplainError::Unreachable(error),
    })
}

/// Percent-encodes all but unreserved characters.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `explanation` is the document of the admin API.
fn in_words(explanation: &Value, table: &AskedTable) -> String {
    let text = |name: &str| explanation[name].as_str().unwrap_or_default();
    let mut lines = vec![format!("{} {}", text("method"), text("path"))];
    match table {
        AskedTable::File(file) => lines.push(format!("  table        {file}")),
        AskedTable::Gateway(address) => lines.push(format!("  table        in force in the gateway at {address}")),
    }
    if !explanation["canonical_path"].is_null() && explanation["canonical_path"] != explanation["path"] {
        lines.push(format!("  read as      {}", text("canonical_path")));
    }
    match &explanation["route"] {
        Value::Null => lines.push("  taken by     no route".to_owned()),
        route => lines.push(format!("  taken by     {}", route_in_words(route, table))),
    }
    for route in explanation["shadowed"].as_array().into_iter().flatten() {
        lines.push(format!("  not taken by {}: it is listed later", route_in_words(route, table)));
    }
    for (label, phase) in [("production ", "production"), ("maintenance", "maintenance"), ("switching  ", "switching")]
    {
        lines.push(format!("  {label}  {}", outcome_in_words(&explanation[phase])));
    }
    lines.join("\n") + "\n"
}

fn route_in_words(route: &Value, table: &AskedTable) -> String {
    let text = |name: &str| route[name].as_str().unwrap_or_default();
    let id = route["id"].as_str().map(|id| format!(", {id}")).unwrap_or_default();
    let place = match table {
        AskedTable::File(file) => format!("{file}:{}", route["line"]),
        AskedTable::Gateway(_) => format!("line {}", route["line"]),
    };
    let (operation, method, pattern, class) = (text("operation"), text("method"), text("pattern"), text("class"));
    format!("{operation} ({method} {pattern}; class {class}{id}; {place})")
}

fn outcome_in_words(outcome: &Value) -> String {
    let text = |name: &str| outcome[name].as_str().unwrap_or_default();
    let status = outcome["status"].as_u64().map(|status| format!(" with {status}")).unwrap_or_default();
    format!("{}{status}: {}", text("verdict"), text("detail"))
}
