//! The route table: compiled once, read by every request, never modified. It reads no YAML; `routes_yaml` does.
//!
//! # How a request finds its route
//!
//! These are the rules of docs/routes.md. `tests::classify_equals_a_naive_search` applies them one route at a time and
//! compares.
//!
//! 1. The path is canonical ([`CanonicalPath`]) and stands without its query.
//! 2. It must lie below `RouteTable::base_path`, which ends at a segment boundary: `/cs` is a prefix of `/cs/a` and of
//!    `/cs`, not of `/csa`. The rules below are about the rest.
//! 3. One trailing slash on the path is ignored. An empty rest equals `/`.
//! 4. A template matches segment by segment: `{name}` matches any one non-empty segment, all other text itself, by case.
//! 5. A regex matches when it spans the whole rest, with or without the trailing slash.
//! 6. A route takes its own method. `ANY` takes all, `GET` also takes HEAD, and every route takes OPTIONS.
//! 7. Of the routes that match path and method the first listed one wins, whatever its kind.
//!
//! # How this is fast
//!
//! The cost does not depend on the number of routes: there is no backtracking, and no route is tried after another.
//! `template` parses patterns; `segments` turns all templates into one deterministic automaton over segments; `matcher`
//! packs it, with one ahead-of-time DFA for all regexes beside it. What multiplies beyond a limit is rejected when the
//! table is compiled.

mod issue;
mod matcher;
mod methods;
mod no_route;
mod route;
mod segments;
mod template;

use std::sync::Arc;

use self::matcher::Matcher;
use crate::policy::path::CanonicalPath;

pub(crate) use self::issue::Issue;
pub(in crate::policy) use self::matcher::RegexAutomaton;
pub(in crate::policy) use self::methods::{Methods, OTHER_METHOD, takes};
pub(crate) use self::no_route::NoRoute;
pub(crate) use self::route::RouteIndex;
pub(crate) use self::route::{AnswerTemplate, RouteAnswer};
pub use self::route::{Class, Pattern, Route, RouteMethod, Unmatched};
pub(in crate::policy) use self::segments::SegmentAutomaton;
pub(in crate::policy) use self::template::{Segment, parse_base_path, parse_regex, parse_template, without_names};

/// The contents of one file, before they are compiled. The fields are those of [`RouteTable`].
#[derive(Clone, Debug)]
pub struct RouteTableParts {
    /// See `RouteTable::base_path`.
    pub base_path: Arc<str>,
    /// See `RouteTable::classes`.
    pub classes: Vec<Class>,
    /// See `RouteTable::routes`.
    pub routes: Vec<Route>,
    /// See `RouteTable::unmatched`.
    pub unmatched: Unmatched,
    /// See `RouteTable::answers`.
    pub answers: Vec<(Arc<str>, AnswerTemplate)>,
}

/// The reason why a table was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{issue}")]
pub struct CompileError {
    /// The route with the error; `None` when it concerns the table.
    pub(crate) route: Option<RouteIndex>,
    /// The problem and its correction.
    pub(crate) issue: Issue,
}

/// The contents of one file, checked and compiled.
#[derive(Debug)]
pub struct RouteTable {
    /// Prefix of every path, without a trailing slash; empty for none.
    pub(crate) base_path: Arc<str>,
    /// Classes in the order of the file.
    pub(crate) classes: Vec<Class>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// The handling of requests that match no route.
    pub(crate) unmatched: Unmatched,
    /// Bodies by reason (`mode`, `no_profile_schema`, `unmatched`, …), in place of problem documents.
    pub(crate) answers: Vec<(Arc<str>, AnswerTemplate)>,
    matcher: Matcher,
}

impl RouteTable {
    /// Compiles the patterns. Reports every invalid pattern, or else that all together are too large.
    pub fn compile(parts: RouteTableParts) -> Result<RouteTable, Vec<CompileError>> {
        let mut errors = Vec::new();
        note(&mut errors, None, parse_base_path(&parts.base_path));
        check_classes(&parts, &mut errors);
        let patterns = Patterns::read(&parts.routes, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let segments = note(&mut errors, None, SegmentAutomaton::build(&patterns.templates));
        let regexes = note(&mut errors, None, patterns.regexes());
        let (Some(segments), Some(regexes)) = (segments, regexes) else { return Err(errors) };
        let methods: Vec<&RouteMethod> = parts.routes.iter().map(|route| &route.method).collect();
        let matcher = Matcher::new(&segments, regexes, &methods);
        let RouteTableParts { base_path, classes, routes, unmatched, answers } = parts;
        Ok(RouteTable { base_path, classes, routes, unmatched, answers, matcher })
    }

    /// The first listed route that takes `method` on `path`; `None` when no route does.
    #[inline]
    pub fn classify(&self, method: &str, path: &CanonicalPath<'_>) -> Option<RouteIndex> {
        self.matcher.find(method, self.below_base(path)?)
    }

    /// Every route that takes `method` on `path`, in the order of the file; `RouteTable::classify` is the first.
    pub(crate) fn matches(&self, method: &str, path: &CanonicalPath<'_>) -> Vec<RouteIndex> {
        self.below_base(path).map(|rest| self.matcher.find_all(method, rest)).unwrap_or_default()
    }

    /// The methods that can occur in a route of this table.
    fn methods(&self) -> &Methods {
        self.matcher.methods()
    }

    /// The compiled regexes; `None` when no route is a regex.
    pub(in crate::policy) fn regexes(&self) -> Option<&RegexAutomaton> {
        self.matcher.regexes()
    }

    #[inline]
    fn below_base<'p>(&self, path: &'p CanonicalPath<'_>) -> Option<&'p [u8]> {
        let rest = path.as_bytes().strip_prefix(self.base_path.as_bytes())?;
        matches!(rest.first(), None | Some(b'/')).then_some(rest)
    }
}

/// The patterns of all routes, parsed but not compiled.
#[derive(Debug, Default)]
pub(in crate::policy) struct Patterns {
    pub(crate) templates: Vec<(RouteIndex, Vec<Segment>)>,
    pub(crate) regex_routes: Vec<RouteIndex>,
    /// Whole-path patterns, in the order of `regex_routes`.
    pub(crate) regexes: Vec<String>,
}

impl Patterns {
    /// Parses the pattern of every route; the invalid ones go to `errors`.
    pub(crate) fn read(routes: &[Route], errors: &mut Vec<CompileError>) -> Patterns {
        let mut patterns = Patterns::default();
        for (index, route) in (0..).zip(routes) {
            match &route.pattern {
                Pattern::Template(template) => {
                    let segments = note(errors, Some(index), parse_template(template));
                    patterns.templates.extend(segments.map(|segments| (index, segments)));
                }
                Pattern::Regex(regex) => {
                    if let Some(pattern) = note(errors, Some(index), parse_regex(regex)) {
                        patterns.regex_routes.push(index);
                        patterns.regexes.push(pattern);
                    }
                }
            }
        }
        patterns
    }

    fn regexes(&self) -> Result<Option<RegexAutomaton>, Issue> {
        let build = || RegexAutomaton::build(self.regex_routes.clone(), &self.regexes);
        (!self.regexes.is_empty()).then(build).transpose()
    }
}

fn note<T>(errors: &mut Vec<CompileError>, route: Option<RouteIndex>, result: Result<T, Issue>) -> Option<T> {
    result.map_err(|issue| errors.push(CompileError { route, issue })).ok()
}

fn check_classes(parts: &RouteTableParts, errors: &mut Vec<CompileError>) {
    let count = parts.classes.len();
    let of_routes = (0..).zip(&parts.routes).map(|(index, route)| (Some(index), route.class));
    let of_unmatched = match parts.unmatched {
        Unmatched::Class(class) => Some((None, class)),
        Unmatched::NotFound => None,
    };
    for (route, class) in of_routes.chain(of_unmatched).filter(|(_, class)| *class >= count) {
        let issue = Issue::new("", format!("class number {class} does not exist; there are {count}"), "");
        errors.push(CompileError { route, issue });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
