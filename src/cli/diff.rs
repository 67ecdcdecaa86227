//! `diff OLD NEW`: the requests that two route tables handle differently, with an example of each, and the settings that
//! differ. Exit code 1 says that there is a difference, or that there may be one.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::output::{FAILED, MISCONFIGURED, fail, print};
use crate::policy::analysis::{self, Difference, Findings, SettingDifference, Verdict};
use crate::policy::explain::modes_in_words;
use crate::route_file;

/// The arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Current route table
    pub(crate) old: PathBuf,
    /// Route table to compare it with
    pub(crate) new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints each difference, or a line that there is none.
pub(crate) fn run(args: &DiffArgs) -> ExitCode {
    let (old, new) = match (route_file::load_or_pipe(&args.old), route_file::load_or_pipe(&args.new)) {
        (Ok((old, _)), Ok((new, _))) => (old, new),
        (Err(error), _) | (_, Err(error)) => return fail(MISCONFIGURED, error),
    };
    let settings = analysis::setting_differences(&old, &new);
    let requests = analysis::diff(&old, &new);
    if args.json {
        let is_same = settings.is_empty() && requests.list.is_empty() && requests.cut_short.is_none();
        let code = if is_same { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
        return print(&format!("{:#}\n", as_json(&settings, &requests)), code);
    }
    let mut text = String::new();
    for difference in &settings {
        text += &format!("{}\n  - {}\n  + {}\n", difference.setting, difference.old, difference.new);
    }
    for difference in &requests.list {
        let (old, new) = (in_words(&difference.old, &difference.new), in_words(&difference.new, &difference.old));
        text += &format!("{} {}\n  - {old}\n  + {new}\n", difference.method, difference.example_path);
    }
    match requests.cut_short {
        Some(why) => {
            print(&text, ExitCode::SUCCESS);
            fail(FAILED, format!("not proven: there may be more differences, as the search was cut short: {why}"))
        }
        None if text.is_empty() => print("no difference: both tables handle every request alike\n", ExitCode::SUCCESS),
        None => print(&text, ExitCode::from(FAILED)),
    }
}

fn as_json(settings: &[SettingDifference], requests: &Findings<Difference>) -> Value {
    let settings = settings.iter().map(|found| json!({"setting": found.setting, "old": found.old, "new": found.new}));
    let handled = requests.list.iter().map(|found| {
        let (old, new) = (in_words(&found.old, &found.new), in_words(&found.new, &found.old));
        json!({"method": found.method, "path": found.example_path, "old": old, "new": new})
    });
    json!({
        "settings": settings.collect::<Vec<_>>(),
        "requests": handled.collect::<Vec<_>>(),
        "not_proven": requests.cut_short.map(|why| why.to_string()),
    })
}

/// Each difference from `other` is named.
fn in_words(verdict: &Verdict, other: &Verdict) -> String {
    match verdict {
        Verdict::Route { operation, id, class, modes, answer, needs_profile_schema, creates_with_schema } => {
            let mut words = vec![format!("class {class}"), format!("open in {}", modes_in_words(*modes))];
            words.extend(answer.map(|answer| format!("answer: {}", answer.as_str())));
            if *needs_profile_schema {
                words.push("needs_profile_schema".to_owned());
            }
            if let Verdict::Route { id: other_id, creates_with_schema: other_creates, .. } = other {
                if id != other_id {
                    words.push(id.as_ref().map_or("no id".to_owned(), |id| format!("id {id}")));
                }
                if creates_with_schema != other_creates {
                    let counts = if *creates_with_schema { "counts" } else { "does not count" };
                    words.push(format!("a 404 of UCS {counts} as a sign of a missing profile schema"));
                }
            }
            format!("{operation} ({})", words.join(", "))
        }
        Verdict::NotFound => "404, no route".to_owned(),
        Verdict::UnmatchedAs { class, modes } => {
            format!("no route, gated as class {class} (open in {})", modes_in_words(*modes))
        }
    }
}
