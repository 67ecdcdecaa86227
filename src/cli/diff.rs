//! `diff OLD NEW`: the requests that two route tables handle differently, with an example of each.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{MISCONFIGURED, fail, print};
use crate::policy::analysis::{self, Verdict};
use crate::policy::explain;
use crate::route_file;

/// The arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Current route table
    pub(crate) old: PathBuf,
    /// Route table to compare it with
    pub(crate) new: PathBuf,
}

/// Prints each difference, or a line that there is none.
pub(crate) fn run(args: &DiffArgs) -> ExitCode {
    let (old, new) = match (route_file::load(&args.old), route_file::load(&args.new)) {
        (Ok((old, _)), Ok((new, _))) => (old, new),
        (Err(error), _) | (_, Err(error)) => return fail(MISCONFIGURED, error),
    };
    let differences = analysis::diff(&old, &new);
    if differences.is_empty() {
        print("no difference: both tables handle every request alike\n");
    }
    for difference in differences {
        let (old, new) = (in_words(&difference.old), in_words(&difference.new));
        print(&format!("{} {}\n  - {old}\n  + {new}\n", difference.method, difference.example_path));
    }
    ExitCode::SUCCESS
}

fn in_words(verdict: &Verdict) -> String {
    let modes = |set| {
        let names: Vec<&str> = explain::modes(set).into_iter().map(|mode| mode.as_str()).collect();
        names.join(" and ")
    };
    match verdict {
        Verdict::Route { operation, class, modes: set, .. } => {
            format!("{operation} (class {class}, open in {})", modes(*set))
        }
        Verdict::NotFound => "404, no route".to_owned(),
        Verdict::UnmatchedAs { class, modes: set } => {
            format!("no route, gated as class {class} (open in {})", modes(*set))
        }
    }
}
