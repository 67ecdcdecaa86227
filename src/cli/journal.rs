//! `journal verify`: whether the history of a state directory is complete and unchanged. It needs no gateway, and changes
//! nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{FAILED, fail, print};
use super::times::Reader;
use crate::config::default_state_dir;
use crate::control::store::verify::{self, Verdict};

/// The arguments of `journal`.
#[derive(Args, Debug)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Verify the chain of a journal, and the record beside it
    Verify(VerifyArgs),
}

#[derive(Args, Debug)]
struct VerifyArgs {
    /// State directory, or journal file [default: --state-dir]
    #[arg(value_name = "DIR|FILE")]
    path: Option<PathBuf>,
    /// State directory [default: $STATE_DIRECTORY, else ./ucs-gateway.state]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 1 if the journal has a fault, or cannot be read.
pub(crate) fn run(args: &JournalArgs) -> ExitCode {
    let JournalCommand::Verify(args) = &args.command;
    let named = args.path.clone().or_else(|| args.state_dir.clone());
    let path = verify::journal_of(&named.unwrap_or_else(default_state_dir));
    let verdict = match verify::verify(&path) {
        Ok(verdict) => verdict,
        Err(error) => {
            let next = "name the gateway's state directory, and run as its user";
            return fail(FAILED, format!("cannot read {}: {error}; {next}", path.display()));
        }
    };
    let path = path.display().to_string();
    let code = if verdict.fault.is_none() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
    if args.json {
        return print(&format!("{:#}\n", document(&path, &verdict)), code);
    }
    match &verdict.fault {
        None => print(&in_words(&path, &verdict), code),
        Some(fault) => {
            let sound = verdict.lines;
            fail(FAILED, format!("{path}: {fault}\n{sound} lines before that are sound; keep a copy of the directory"))
        }
    }
}

fn in_words(path: &str, verdict: &Verdict) -> String {
    let Verdict { lines, head, newest, continues, has_record, is_ahead, fault: _ } = verdict;
    let newest = newest.map(|time| Reader::here().time_and_distance(&time.to_string()));
    let noun = if *lines == 1 { "line" } else { "lines" };
    let mut text = format!("{path}: {lines} {noun}, complete and unchanged\n");
    if let (Some(newest), Some(head)) = (newest, head) {
        text.push_str(&format!("  newest    {newest}\n  head      {head}\n"));
    }
    if let Some(continues) = continues {
        text.push_str(&format!("  note      an earlier journal was lost; its last line was {continues}\n"));
    }
    if *is_ahead {
        text.push_str("  note      the newest line is not in force: its save was interrupted, or is under way\n");
    }
    if !has_record {
        text.push_str("  note      there is no mode.json beside it, so missing lines at its end would not show\n");
    }
    text
}

fn document(path: &str, verdict: &Verdict) -> serde_json::Value {
    json!({
        "path": path,
        "sound": verdict.fault.is_none(),
        "fault": verdict.fault,
        "lines": verdict.lines,
        "newest": verdict.newest,
        "head": verdict.head,
        "continues": verdict.continues,
        "has_record": verdict.has_record,
        "is_ahead": verdict.is_ahead,
    })
}
