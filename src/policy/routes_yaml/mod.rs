//! routes.yaml: text → [`RouteTable`], or every fault at once, each with its place and what to write instead. The one
//! module that knows YAML. It reads no files and decides nothing about requests.
//!
//! A parser with marked events gives the tree and its places; serde_yaml says what scalars mean and, at the end, must
//! have read the same document: a table that two readers understand differently is refused.

mod diagnostic;
mod document;
mod fields;
mod schema;
mod spanned;
mod spelling;

use std::collections::HashMap;

use serde_yaml::Value;

use self::diagnostic::{Faults, Flaw, Place};
use self::document::Draft;
use self::spanned::Node;
use super::analysis;
use super::mode::ModeSet;
use super::table::{Answer, Pattern, Route, RouteMethod, RouteTable, RouteTableParts, TableFault, Unmatched};

pub use self::diagnostic::Fault;
pub use self::schema::json_schema;

/// The longest file that is read, in bytes.
pub const SIZE_LIMIT: usize = 4 << 20;

/// Some editors put it in front of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

const START: Place = Place { line: 1, column: 1 };

/// Reads a whole table. `file` is the name that faults carry; nothing is opened.
///
/// # Errors
///
/// Every fault that was found, in the order of the file. Faults of single values, of routes among each other, and of
/// reachability come in that order of stages: a later stage is looked at when the earlier ones are clean.
pub fn parse(text: &str, file: &str) -> Result<RouteTable, Vec<Fault>> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut faults = Faults::of(file);
    let root = match tree(text) {
        Ok(root) => root,
        Err((at, flaw)) => return Err(vec![faults.fault(at, flaw)]),
    };
    let draft = document::read(&root, &mut faults);
    find_duplicates(&draft, &mut faults);
    check_answers(&draft, &mut faults);
    faults.verdict()?;
    compare_readings(text, &root, &mut faults);
    faults.verdict()?;
    compile(draft, faults)
}

fn tree(text: &str) -> Result<Node, (Place, Flaw)> {
    if text.len() > SIZE_LIMIT {
        let message = format!("the file has {} bytes, more than {SIZE_LIMIT}", text.len());
        return Err((START, Flaw::new("", message, "write templates and regexes in place of many single paths")));
    }
    spanned::read(text)
}

/// Two routes with the same method and the same path, whatever their parameters are called.
fn find_duplicates(draft: &Draft, faults: &mut Faults) {
    let mut seen: HashMap<(&str, String), &Route> = HashMap::new();
    for drafted in &draft.routes {
        let Some(route) = &drafted.route else { continue };
        let path = match &route.pattern {
            Pattern::Template(template) => spelling::without_names(template),
            Pattern::Regex(regex) => regex.to_string(),
        };
        let method = method_text(&route.method);
        if let Some(first) = seen.get(&(method, path.clone())) {
            let written = pattern_text(&route.pattern);
            let message =
                format!("{method} {written} stands twice, first in line {}, as \"{}\"", first.line, first.operation);
            faults.add(drafted.path_at, Flaw::new(written, message, "remove one of the two"));
        } else {
            seen.insert((method, path), route);
        }
    }
}

/// Exactly one `set_mode`, a POST that is open in both modes; at most one `status`, a GET.
fn check_answers(draft: &Draft, faults: &mut Faults) {
    let mut first_lines: HashMap<&str, usize> = HashMap::new();
    for drafted in &draft.routes {
        let (name, method) = match drafted.answer {
            None => continue,
            Some(Answer::SetMode) => ("set_mode", "POST"),
            Some(Answer::Status) => ("status", "GET"),
        };
        if let Some(line) = first_lines.get(name) {
            let message = format!("a second route with answer: {name}; the first is in line {line}");
            faults.add(drafted.at, Flaw::new(name, message, "keep one of them"));
        }
        first_lines.entry(name).or_insert(drafted.at.line);
        let Some(route) = &drafted.route else { continue };
        if method_text(&route.method) != method {
            let message = format!("a route with answer: {name} takes {}", method_text(&route.method));
            faults.add(drafted.method_at, Flaw::new(method_text(&route.method), message, format!("write {method}")));
        }
        if name == "set_mode" && route.modes != ModeSet::Both {
            let message = "the set_mode route is not open in both modes, so one of them could not be left";
            faults.add(drafted.modes_at, Flaw::new("", message, "write modes: [maintenance, production]"));
        }
    }
    if draft.has_routes && !first_lines.contains_key("set_mode") {
        let instead = "add POST /server/mode with class: server and answer: set_mode";
        faults.add(START, Flaw::new("", "no route has answer: set_mode", instead));
    }
}

/// serde_yaml must have read what the tree holds.
fn compare_readings(text: &str, root: &Node, faults: &mut Faults) {
    match serde_yaml::from_str::<Value>(text) {
        Ok(value) if value == root.to_value() => {}
        Ok(_) => {
            let message = "two YAML readers understand this file differently";
            faults.add(START, Flaw::new("", message, "write plain block style: key: value, one a line"));
        }
        Err(error) => {
            let place = error.location().map_or(START, |at| Place { line: at.line(), column: at.column() });
            faults.add(place, Flaw::new("", format!("this is not YAML: {error}"), ""));
        }
    }
}

fn compile(draft: Draft, mut faults: Faults) -> Result<RouteTable, Vec<Fault>> {
    let Draft { base_path, classes, unmatched, answers, routes: drafted, .. } = draft;
    let path_places: Vec<Place> = drafted.iter().map(|route| route.path_at).collect();
    let routes = drafted.into_iter().filter_map(|drafted| drafted.route).collect();
    let unmatched = unmatched.unwrap_or(Unmatched::NotFound);
    let parts = RouteTableParts { base_path, classes, routes, unmatched, answers };
    let table = match RouteTable::compile(parts) {
        Ok(table) => table,
        Err(refused) => {
            for TableFault { route, message } in refused {
                let place = route.and_then(|index| path_places.get(index as usize)).copied().unwrap_or(START);
                faults.add(place, Flaw::new("", message, ""));
            }
            faults.verdict()?;
            return Err(vec![faults.fault(START, Flaw::new("", "the table cannot be compiled", ""))]);
        }
    };
    for dead in analysis::unreachable(&table) {
        let place = path_places.get(dead.route as usize).copied().unwrap_or(START);
        faults.add(place, unreachable(&table, &dead));
    }
    faults.verdict()?;
    Ok(table)
}

fn unreachable(table: &RouteTable, dead: &analysis::Unreachable) -> Flaw {
    let route = &table.routes[dead.route as usize];
    let (method, path) = (method_text(&route.method), pattern_text(&route.pattern));
    let named = |&index: &u32| {
        let earlier = &table.routes[index as usize];
        format!("\"{}\" (line {})", earlier.operation, earlier.line)
    };
    let earlier: Vec<String> = dead.shadowed_by.iter().map(named).collect();
    if earlier.is_empty() {
        let message = format!("{method} {path} can never match: no path that the gateway lets in looks like this");
        return Flaw::new(path, message, "a path begins with / and has no empty segment; see docs/routes.md");
    }
    let message = format!(
        "{method} {path} can never match: {} comes first and takes every such request, for example {}",
        earlier.join(" and "),
        dead.example_path.as_deref().unwrap_or("any")
    );
    Flaw::new(path, message, "move it above, or remove it")
}

fn method_text(method: &RouteMethod) -> &str {
    match method {
        RouteMethod::Any => "ANY",
        RouteMethod::Only(only) => only,
    }
}

fn pattern_text(pattern: &Pattern) -> &str {
    match pattern {
        Pattern::Template(text) | Pattern::Regex(text) => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
