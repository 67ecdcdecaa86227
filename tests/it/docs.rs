//! The pages for people against the code: reasons of refusals, outcomes, the width of lines, and words that are no longer
//! used. Flags and defaults are compared in `cli::usage`, metrics in `admin::probes`, the admin API in `admin::contract`,
//! named tests in `architecture`.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use crate::architecture::sources_below;
use crate::support::{Gateway, Ucs, admin};

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const ROUTES: &str = include_str!("../../docs/routes.md");
const ADMIN: &str = include_str!("../../docs/admin-api.md");

/// The longest line of a page, tables and code blocks apart.
const WIDEST: usize = 120;

/// The pages besides those of `docs/`.
const PAGES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "tests/README.md",
    "deploy/README.md",
    "benches/README.md",
];

/// Private words that have given way to those of the field: the word, what to write instead, and the rooms of `src/` that
/// still hold it. A room leaves the list with its last use.
const BANNED_IN_SOURCES: &[(&str, &str, &[&str])] = &[
    ("desk", "control handle", &[]),
    ("deskinbox", "command receiver", &[]),
    ("crew", "workers", &[]),
    ("tablelease", "table reference", &[]),
    ("whomever", "any client", &[]),
    ("let go", "closed", &[]),
    ("mend", "repair", &[]),
    ("front door", "listener", &[]),
    ("clerk", "mailbox", &["control"]),
    ("turnstile", "in-flight counter", &["gate"]),
    ("tally", "count", &["admin", "control", "gate", "telemetry"]),
    ("tallies", "counts", &["admin", "control", "gate"]),
    ("seat", "worker gate", &["gate", "launch", "proxy"]),
    ("lanes?", "shard", &["gate"]),
    ("bulkhead", "class limits", &["config", "launch", "proxy"]),
    ("ghosts?", "orphaned requests", &["control"]),
    ("setbacks?", "flip failure", &["control"]),
    ("wish(es)?", "requested change", &["control", "policy"]),
    ("ledger", "recorder", &["launch", "proxy"]),
    ("what is no", "a malformed request", &["proxy"]),
];

/// Words that no page holds.
const BANNED_IN_PAGES: &[(&str, &str)] = &[
    ("whoever", "the client, the operator"),
    ("whomever", "any client"),
    ("nobody", "no client, no operator"),
    ("somebody", "an operator, a user"),
    ("anybody", "any client"),
    ("desk", "control handle"),
    ("clerk", "mailbox"),
    ("turnstile", "in-flight counter"),
    ("tall(y|ies)", "count"),
    ("seat", "worker gate"),
    ("bulkhead", "class limits"),
    ("ghosts?", "orphaned requests"),
    ("setbacks?", "flip failure"),
    ("wish(es)?", "requested change"),
    ("mend(ed)?", "repair, correct"),
    ("let go", "closed"),
    ("what is no", "a malformed request"),
    ("for want of", "because there is no"),
];

#[test]
fn the_reasons_of_the_data_port_are_those_of_the_code() {
    // Every word that a function named `…reason` returns, but for those of the admin port.
    let function =
        Regex::new(r"(?sm)^( *)(?:pub(?:\([a-z]+\))? )?fn [a-z_]*reason\([^)]*\) -> &'static str \{").unwrap();
    let word = Regex::new("\"([a-z0-9_]+)\"").unwrap();
    let mut said = BTreeSet::new();
    for (path, text) in sources_below("src").into_iter().filter(|(path, _)| !path.starts_with("admin")) {
        for found in function.captures_iter(&text) {
            let body = &text[found.get(0).unwrap().end()..];
            let body = &body[..body.find(&format!("\n{}}}\n", &found[1])).expect("the function ends")];
            let words: Vec<_> = word.captures_iter(body).map(|found| found[1].to_owned()).collect();
            let is_table = path == "http1/error.rs";
            assert!(!words.is_empty() || is_table, "no word was found in a function of {path}");
            said.extend(words);
        }
    }
    // Those of malformed messages stand in a table.
    let row = Regex::new("(?m)^    [A-Z][A-Za-z0-9]+: \"([a-z0-9_]+)\",").unwrap();
    let errors = include_str!("../../src/http1/error.rs");
    said.extend(row.captures_iter(errors).map(|found| found[1].to_owned()));
    assert!(said.len() > 60, "only {} reasons were found", said.len());
    let documented: BTreeSet<_> =
        rows(ROUTES, "| status | reason |").iter().flat_map(|cells| quoted(cells[1])).collect();
    assert_eq!(documented, said, "docs/routes.md, Reasons (left) and the code");
    for row in rows(ROUTES, "| reason | when |") {
        let known = |reason: &String| reason == "upstream" || said.contains(reason);
        assert!(quoted(row[0]).iter().all(known), "{row:?}");
    }
}

#[test]
fn the_reasons_of_the_admin_port_are_those_of_the_code() {
    let problem = Regex::new(r#"StatusCode::[A-Z_]+,\s*"([a-z_]+)""#).unwrap();
    let admin: String = sources_below("src/admin")
        .into_iter()
        .filter(|(path, _)| !path.contains("test"))
        .map(|(_, text)| text)
        .collect();
    let mut said: BTreeSet<_> = problem.captures_iter(&admin).map(|found| found[1].to_owned()).collect();
    assert!(said.len() > 15, "only {} reasons were found", said.len());
    let failures = failures_of_a_change();
    said.extend(failures);
    let documented: BTreeSet<_> =
        rows(ADMIN, "| status | reason |").iter().flat_map(|cells| quoted(cells[1])).collect();
    assert_eq!(documented, said, "docs/admin-api.md, Reasons (left) and the code");
}

#[test]
fn the_outcomes_of_requests_and_flips_are_those_of_the_code() {
    let metrics = include_str!("../../src/telemetry/metrics.rs");
    let outcomes = metrics.split("pub enum Outcome {").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let outcome = Regex::new("[A-Za-z0-9]+ = \"([a-z0-9_]+)\"").unwrap();
    let said: BTreeSet<_> = outcome.captures_iter(outcomes).map(|found| found[1].to_owned()).collect();
    assert!(said.len() > 15, "only {} outcomes were found", said.len());
    assert_eq!(values_of("ucs_gateway_requests_total"), said);
    let mut flips: BTreeSet<_> = failures_of_a_change().into_iter().collect();
    flips.insert("settled".to_owned());
    assert_eq!(values_of("ucs_gateway_flips_total"), flips);
    // Each of them is counted from the start.
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let metrics = admin::call(&gateway, "GET /metrics", None).text();
    for outcome in flips {
        let series = format!("\nucs_gateway_flips_total{{outcome=\"{outcome}\"}} 0\n");
        assert!(metrics.contains(&series), "{outcome} is not counted:\n{metrics}");
    }
}

/// The values of the label of a metric, by the documentation.
fn values_of(metric: &str) -> BTreeSet<String> {
    let rows = rows(OPERATIONS, "| metric | what |");
    let row = rows.iter().find(|cells| cells[0].contains(metric)).unwrap_or_else(|| panic!("{metric} is not there"));
    quoted(row[1]).into_iter().collect()
}

/// The reasons of a change of the mode that failed, by the code.
fn failures_of_a_change() -> Vec<String> {
    let text = sources_below("src").into_iter().find(|(path, _)| path == "control_handle.rs").unwrap().1;
    let failure = Regex::new("ChangeError::[A-Za-z]+(?:\\(_\\)| \\{ \\.\\. \\})? => \"([a-z_]+)\"").unwrap();
    let failures: Vec<_> = failure.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    assert_eq!(failures.len(), 10, "{failures:?}");
    failures
}

#[test]
fn no_line_of_a_page_is_too_wide() {
    let mut wide = Vec::new();
    for (page, text) in pages() {
        let mut in_code = false;
        for (at, line) in text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            let is_free = in_code || line.trim_start().starts_with('|');
            if !is_free && line.chars().count() > WIDEST {
                wide.push(format!("{page}:{}: {} columns", at + 1, line.chars().count()));
            }
        }
    }
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

#[test]
fn private_words_do_not_come_back() {
    let sources = sources_below("src");
    let sources = sources.into_iter().filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/"));
    let sources: Vec<(String, String)> = sources.collect();
    let mut found = Vec::new();
    for (word, instead, rooms) in BANNED_IN_SOURCES {
        let is_free = |path: &str| rooms.contains(&path.split(['/', '.']).next().unwrap_or_default());
        let word = whole_word(word);
        for (path, text) in sources.iter().filter(|(path, _)| !is_free(path)) {
            found.extend(uses(&word, instead, &format!("src/{path}"), text));
        }
    }
    for (word, instead) in BANNED_IN_PAGES {
        let word = whole_word(word);
        found.extend(pages().iter().flat_map(|(path, text)| uses(&word, instead, path, text)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn whole_word(word: &str) -> Regex {
    Regex::new(&format!(r"(?i)\b{word}\b")).unwrap()
}

/// Every use of a word, with its place and the word to write.
fn uses(word: &Regex, instead: &str, path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| word.is_match(line));
    lines.map(|(at, line)| format!("{path}:{}: write \"{instead}\": {}", at + 1, line.trim())).collect()
}

/// Path and text of every page.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let docs = docs.map(|name| format!("docs/{}", name.to_str().unwrap())).filter(|path| path.ends_with(".md"));
    let paths: Vec<String> = PAGES.map(str::to_owned).into_iter().chain(docs).collect();
    assert!(paths.len() > PAGES.len(), "docs/ was found");
    let read = |path: String| std::fs::read_to_string(root.join(&path)).map(|text| (path, text)).unwrap();
    paths.into_iter().map(read).collect()
}

/// The cells of each row of the table that begins with `head`.
fn rows<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let table = page.split_once(head).unwrap_or_else(|| panic!("no table {head}")).1;
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> =
        lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>()).collect();
    assert!(!rows.is_empty(), "the table {head} is empty");
    rows
}

/// The words in backticks of a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
