//! The commands as people type them: what they print, what they leave alone, and how they end (0 done, 1 failed, 2 wrong
//! usage or settings).

use crate::support::Gateway;
use crate::support::tool::{Run, run};

/// The commit that a build names.
mod build;
/// `certificate new`.
mod certificate;
/// `check`: reports, warnings, `--against`, `--json`.
mod check;
/// `check --upstream`.
mod check_upstream;
/// `demo`, and the commands that it and the README print.
mod demo;
/// Variables, files and addresses as people write them.
mod environment;
/// `mode …` against a running gateway.
mod mode;
/// `check` and `diff` where the search is hard.
mod proofs;
/// `routes reload`.
mod routes;
/// `schema`, against the shipped tables and the reader.
mod schema;
/// `serve`: how it starts, refuses to start, and stops.
mod serve;
/// `check`, `explain`, `diff`: what is said about tables.
mod tables;
/// `mode set` in a real terminal: the drain bar and Ctrl-C.
mod terminal;
/// `token …`.
mod token;
/// Flags, variables, help, completions, and what is typed wrongly.
mod usage;

/// `mode …` of this gateway, by its token file.
pub(crate) fn mode(gateway: &Gateway, arguments: &[&str]) -> Run {
    let own = mode_arguments(gateway);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    run(&[&own, arguments].concat())
}

/// `mode` with the address of this gateway and its token file.
fn mode_arguments(gateway: &Gateway) -> Vec<String> {
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    ["mode", "--admin", &address, "--state-dir", state].map(str::to_owned).to_vec()
}
