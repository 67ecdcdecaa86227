//! routes.yaml: text → [`RouteTable`], or all diagnostics at once, each with its line and the correction. `strict_yaml`
//! knows YAML; this module knows the keys. It reads no files and handles no requests.

mod document;
mod schema;
mod spelling;

use std::collections::HashMap;

use self::document::PartialTable;
use crate::policy::analysis::{self, Unreachable};
use crate::policy::mode::ModeSet;
use crate::policy::strict_yaml::{self, Diagnostics, Span};
use crate::policy::table::{
    Issue, Pattern, Route, RouteAnswer, RouteIndex, RouteTable, RouteTableParts, Unmatched, without_names,
};

pub(crate) use crate::policy::strict_yaml::Diagnostic;

pub(crate) use self::schema::JSON_SCHEMA;

/// Parses a whole table. `file` is the name for diagnostics; no file is opened.
///
/// # Errors
///
/// All diagnostics in the order of the file. Issues of single values, of routes among each other, and of reachability come
/// in that order of stages: a later stage runs when the earlier ones are clean.
pub fn parse(text: &str, file: &str) -> Result<RouteTable, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::of(file);
    const KEYS: &str = "write version, routes and the other keys of docs/routes.md";
    let Some(root) = strict_yaml::tree(text, KEYS, &mut diagnostics) else { return Err(diagnostics.take()) };
    let partial = document::read(&root, &mut diagnostics);
    find_duplicates(&partial, &mut diagnostics);
    check_answers(&partial, &mut diagnostics);
    diagnostics.verdict()?;
    strict_yaml::compare_readings(text, &root, &mut diagnostics);
    diagnostics.verdict()?;
    compile(partial, diagnostics)
}

/// Two routes with the same method and the same path, whatever the names of their parameters.
fn find_duplicates(partial: &PartialTable, diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<(&str, String), &Route> = HashMap::new();
    for found in &partial.routes {
        let Some(route) = &found.route else { continue };
        let path = match &route.pattern {
            Pattern::Template(template) => without_names(template),
            Pattern::Regex(regex) => regex.to_string(),
        };
        let (method, written) = (route.method.as_str(), route.pattern.as_str());
        if let Some(first) = seen.get(&(method, path.clone())) {
            let (line, operation) = (first.line, &first.operation);
            let message = format!("duplicate route {method} {written}, first in line {line} as \"{operation}\"");
            let also = vec![(line, "first here".to_owned())];
            diagnostics.add_about(found.path_at, Issue::new(written, message, "remove one of them"), also);
        } else {
            seen.insert((method, path), route);
        }
    }
}

/// Exactly one `set_mode`, a POST that is open in both modes; at most one `status`, a GET.
fn check_answers(partial: &PartialTable, diagnostics: &mut Diagnostics) {
    let mut first_lines: HashMap<&str, usize> = HashMap::new();
    for found in &partial.routes {
        let Some(answer) = found.answer else { continue };
        let name = answer.as_str();
        if let Some(line) = first_lines.get(name) {
            let message = format!("a second route with answer: {name}; the first is in line {line}");
            let also = vec![(*line, "first here".to_owned())];
            diagnostics.add_about(found.at, Issue::new(name, message, "remove one of them"), also);
        }
        first_lines.entry(name).or_insert(found.at.line);
        let Some(route) = &found.route else { continue };
        let (method, wanted) = (route.method.as_str(), if answer == RouteAnswer::SetMode { "POST" } else { "GET" });
        if method != wanted {
            let message = format!("a route with answer: {name} takes {method}");
            diagnostics.add(found.method_at, Issue::new(method, message, format!("write {wanted}")));
        }
        if answer == RouteAnswer::SetMode && route.modes != ModeSet::Both {
            let message = "the set_mode route is not open in both modes, so one of them could not be left";
            diagnostics.add(found.modes_at, Issue::new("", message, "write modes: [maintenance, production]"));
        }
    }
    if partial.has_routes && !first_lines.contains_key("set_mode") {
        let instead = "add POST /server/mode with class: server and answer: set_mode";
        diagnostics.add(Span::START, Issue::new("", "no route has answer: set_mode", instead));
    }
}

fn compile(partial: PartialTable, mut diagnostics: Diagnostics) -> Result<RouteTable, Vec<Diagnostic>> {
    let PartialTable { base_path, classes, unmatched, answers, routes, .. } = partial;
    let path_spans: Vec<Span> = routes.iter().map(|route| route.path_at).collect();
    let span_of = |route: RouteIndex| path_spans.get(route as usize).copied().unwrap_or(Span::START);
    let routes = routes.into_iter().filter_map(|found| found.route).collect();
    let unmatched = unmatched.unwrap_or(Unmatched::NotFound);
    let table = RouteTable::compile(RouteTableParts { base_path, classes, routes, unmatched, answers });
    let table = table.map_err(|errors| {
        let of_file = errors.into_iter().map(|error| (error.route.map_or(Span::START, span_of), error.issue));
        of_file.for_each(|(at, issue)| diagnostics.add(at, issue));
        diagnostics.take()
    })?;
    for unreachable in analysis::unreachable(&table).list {
        let earlier = unreachable.shadowed_by.iter().map(|index| table.routes[*index as usize].line);
        let also = earlier.map(|line| (line, "takes its requests".to_owned())).collect();
        diagnostics.add_about(span_of(unreachable.route), unreachable_issue(&table, &unreachable), also);
    }
    diagnostics.verdict()?;
    Ok(table)
}

fn unreachable_issue(table: &RouteTable, unreachable: &Unreachable) -> Issue {
    let route = &table.routes[unreachable.route as usize];
    let (method, path) = (route.method.as_str(), route.pattern.as_str());
    let named = |&index: &RouteIndex| {
        let earlier = &table.routes[index as usize];
        format!("\"{}\" (line {})", earlier.operation, earlier.line)
    };
    let earlier: Vec<String> = unreachable.shadowed_by.iter().map(named).collect();
    if earlier.is_empty() {
        let message = format!("{method} {path} can never match: it matches no path that the gateway accepts");
        return Issue::new(path, message, "a path begins with / and has no empty segment; see docs/routes.md");
    }
    let takes = if earlier.len() == 1 { "is listed earlier and takes" } else { "are listed earlier and together take" };
    let requested = if method == "ANY" { "GET" } else { method };
    let (earlier, example) = (earlier.join(" and "), unreachable.example_path.as_deref().unwrap_or("any"));
    let message = format!(
        "{method} {path} can never match: {earlier} {takes} all of its requests, for example {requested} {example}"
    );
    Issue::new(path, message, "move it above, or remove it")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
