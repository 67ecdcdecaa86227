//! The commands as people type them: what they print, what they leave alone, and how they end (0 done, 1 failed, 2 wrong
//! usage or settings).

use crate::support::Gateway;
use crate::support::tool::{Run, run};

/// `demo`, and the commands that it and the README print.
mod demo;
/// Variables, files and addresses as people write them.
mod environment;
/// `mode …` against a running gateway.
mod mode;
/// `check` and `diff` where the search is hard.
mod proofs;
/// `serve`: how it starts, refuses to start, and stops.
mod serve;
/// `check`, `explain`, `diff`, `schema`: what is said about tables.
mod tables;
/// `token …`.
mod token;
/// Flags, variables, help, completions, and what is typed wrongly.
mod usage;

/// `mode …` of this gateway, by its token file.
fn mode(gateway: &Gateway, arguments: &[&str]) -> Run {
    let (address, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    run(&[&["mode", "--admin", &address, "--state-dir", state], arguments].concat())
}
