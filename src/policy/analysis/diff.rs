//! The differences of two tables: requests that they handle differently, and settings of the whole table. It compares
//! behaviour: a route that moved, or was written in another way, is no difference.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::explorer::explore;
use super::findings::Findings;
use super::route_methods::RouteMethods;
use crate::policy::explain::modes_in_words;
use crate::policy::mode::ModeSet;
use crate::policy::table::{Pattern, Route, RouteAnswer, RouteIndex, RouteTable, Unmatched, without_names};

/// The handling of one request by a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Route {
        /// See [`Route::operation`].
        operation: Arc<str>,
        /// See [`Route::id`].
        id: Option<Arc<str>>,
        class: Arc<str>,
        /// See [`Route::modes`].
        modes: ModeSet,
        /// See [`Route::answer`].
        answer: Option<RouteAnswer>,
        /// See [`Route::needs_profile_schema`].
        needs_profile_schema: bool,
        /// See [`Route::is_create_with_schema`].
        creates_with_schema: bool,
    },
    /// No route takes it, and it is refused with 404.
    NotFound,
    /// No route takes it, and it is gated as a class.
    UnmatchedAs {
        class: Arc<str>,
        /// The modes that admit the class.
        modes: ModeSet,
    },
}

/// A request that two tables handle differently. It stands for all requests that match the same two routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The method; `OTHER` stands for any that neither table names.
    pub method: String,
    /// The path, with base path; the pattern of both routes where the search gave no example.
    pub example_path: String,
    /// The verdict of the old table.
    pub old: Verdict,
    /// The verdict of the new table.
    pub new: Verdict,
}

/// A setting of the whole table that differs, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingDifference {
    /// As written in the file, e.g. `base_path` or `answers: mode`.
    pub setting: String,
    pub old: String,
    pub new: String,
}

/// The requests that `new` handles differently from `old`: one example for each pair of an old and a new route.
pub(crate) fn diff(old: &RouteTable, new: &RouteTable) -> Findings<Difference> {
    let (old_methods, new_methods) = (RouteMethods::of(old), RouteMethods::of(new));
    let mut methods: Vec<&str> = vec!["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    methods.extend(old_methods.methods.extra().chain(new_methods.methods.extra()));
    methods.push("OTHER");
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let searched = explore(&[old, new], &mut |path, routes| {
        for method in &methods {
            let old_winner = old_methods.winner(&routes[0], old_methods.methods.column(method));
            let new_winner = new_methods.winner(&routes[1], new_methods.methods.column(method));
            if seen.insert((old_winner, new_winner)) {
                found.extend(difference(method, path, (old, old_winner), (new, new_winner)));
            }
        }
    });
    if searched.is_ok() || !match_alike(old, new) {
        return Findings { list: found, cut_short: searched.err() };
    }
    // Every request has the same route in both tables, so the routes are compared one by one, without a search.
    for (index, route) in (0..).zip(&old.routes) {
        let pair = (Some(index), Some(index));
        if seen.insert(pair) {
            let pattern = format!("{}{}", old.base_path, route.pattern.as_str());
            found.extend(difference(route.method.as_str(), &pattern, (old, pair.0), (new, pair.1)));
        }
    }
    if seen.insert((None, None)) {
        found.extend(difference("OTHER", "/", (old, None), (new, None)));
    }
    Findings { list: found, cut_short: None }
}

/// The settings of the whole table that differ.
pub(crate) fn setting_differences(old: &RouteTable, new: &RouteTable) -> Vec<SettingDifference> {
    let mut found = Vec::new();
    let mut compare = |setting: String, old: String, new: String| {
        if old != new {
            found.push(SettingDifference { setting, old, new });
        }
    };
    compare("base_path".to_owned(), format!("{:?}", old.base_path), format!("{:?}", new.base_path));
    compare("unmatched".to_owned(), unmatched_in_words(old), unmatched_in_words(new));
    for name in names([old, new], |table| table.classes.iter().map(|class| &class.name).collect()) {
        let modes = |table: &RouteTable| {
            let class = table.classes.iter().find(|class| class.name == name);
            class.map_or("not defined".to_owned(), |class| format!("open in {}", modes_in_words(class.modes)))
        };
        compare(format!("class {name}"), modes(old), modes(new));
    }
    for reason in names([old, new], |table| table.answers.iter().map(|(reason, _)| reason).collect()) {
        let answer = |table: &RouteTable| {
            let answer = table.answers.iter().find(|(of, _)| *of == reason).map(|(_, answer)| answer);
            answer.map_or("a problem document".to_owned(), |answer| {
                let headers = answer.headers.iter().map(|(name, value)| format!(" {name}: {value}"));
                format!("{} {:?}{}", answer.content_type, answer.body, headers.collect::<String>())
            })
        };
        compare(format!("answers: {reason}"), answer(old), answer(new));
    }
    found
}

fn names<'t>(tables: [&'t RouteTable; 2], of: impl Fn(&'t RouteTable) -> Vec<&'t Arc<str>>) -> BTreeSet<Arc<str>> {
    tables.into_iter().flat_map(of).cloned().collect()
}

fn unmatched_in_words(table: &RouteTable) -> String {
    match table.unmatched {
        Unmatched::NotFound => "not_found".to_owned(),
        Unmatched::Class(class) => format!("class {}", table.classes[class].name),
    }
}

/// Whether both tables list the same methods and patterns in the same order.
fn match_alike(old: &RouteTable, new: &RouteTable) -> bool {
    let pattern = |route: &Route| match &route.pattern {
        Pattern::Template(template) => (without_names(template), true),
        Pattern::Regex(regex) => (regex.to_string(), false),
    };
    let alike = |(old, new): (&Route, &Route)| old.method == new.method && pattern(old) == pattern(new);
    old.base_path == new.base_path
        && old.routes.len() == new.routes.len()
        && old.routes.iter().zip(&new.routes).all(alike)
}

fn difference(
    method: &str,
    path: &str,
    (old, old_route): (&RouteTable, Option<RouteIndex>),
    (new, new_route): (&RouteTable, Option<RouteIndex>),
) -> Option<Difference> {
    let (old, new) = (verdict(old, old_route), verdict(new, new_route));
    (old != new).then(|| Difference { method: method.to_owned(), example_path: path.to_owned(), old, new })
}

fn verdict(table: &RouteTable, route: Option<RouteIndex>) -> Verdict {
    match (route.map(|route| &table.routes[route as usize]), table.unmatched) {
        (Some(route), _) => Verdict::Route {
            operation: route.operation.clone(),
            id: route.id.clone(),
            class: table.classes[route.class].name.clone(),
            modes: route.modes,
            answer: route.answer,
            needs_profile_schema: route.needs_profile_schema,
            creates_with_schema: route.is_create_with_schema(),
        },
        (None, Unmatched::NotFound) => Verdict::NotFound,
        (None, Unmatched::Class(class)) => {
            let class = &table.classes[class];
            Verdict::UnmatchedAs { class: class.name.clone(), modes: class.modes }
        }
    }
}
