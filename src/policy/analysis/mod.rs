//! Analysis of whole tables: routes that can never match, routes that overlap, and the differences of two tables, each
//! with an example path. It searches the compiled automata, so the results are exact and not sampled.
//!
//! When the regexes are too large for a joint automaton, or there are too many distinct regions of paths, the search is
//! cut short: then no route is reported as unreachable, and overlaps and differences may be missing.

mod explorer;
mod paths;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use self::explorer::explore;
use crate::policy::mode::ModeSet;
use crate::policy::table::{Methods, OTHER_METHOD, Route, RouteAnswer, RouteIndex, RouteTable, Unmatched, takes};

/// A route that can never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    pub(crate) route: RouteIndex,
    /// The earlier routes that together take all of its requests, ascending. Empty when no path matches the route.
    pub(crate) shadowed_by: Vec<RouteIndex>,
    /// A path (with base path) that matches the route; `None` when there is none.
    pub(crate) example_path: Option<String>,
}

/// Two routes of different class or modes that share a method and a path. Intended when the first is the special case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The earlier route, which wins.
    pub(crate) first: RouteIndex,
    /// The later route.
    pub(crate) second: RouteIndex,
    /// A path (with base path) that both take.
    pub(crate) example_path: String,
}

/// The handling of one request by a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A route takes it.
    Route {
        /// See [`Route::operation`].
        operation: Arc<str>,
        class: Arc<str>,
        /// See [`Route::modes`].
        modes: ModeSet,
        /// See [`Route::answer`].
        answer: Option<RouteAnswer>,
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
    pub(crate) method: String,
    /// The path, with base path.
    pub(crate) example_path: String,
    /// The verdict of the old table.
    pub(crate) old: Verdict,
    /// The verdict of the new table.
    pub(crate) new: Verdict,
}

/// The routes that can never match because earlier ones, alone or together, take all of their requests.
pub fn unreachable(table: &RouteTable) -> Vec<Unreachable> {
    let own = RouteMethods::of(table);
    let mut reached = vec![false; table.routes.len()];
    let mut shadows = vec![(BTreeSet::new(), None); table.routes.len()];
    let complete = explore(&[table], &mut |path, routes| {
        for route in &routes[0] {
            // The route's own method decides: a route that takes it first also takes HEAD and OPTIONS first.
            let requested = own.columns[*route as usize].unwrap_or(OTHER_METHOD);
            match own.winner(&routes[0], requested) {
                Some(winner) if winner != *route => {
                    let (by, example) = &mut shadows[*route as usize];
                    by.insert(winner);
                    example.get_or_insert_with(|| path.to_owned());
                }
                _ => reached[*route as usize] = true,
            }
        }
    });
    if !complete {
        return Vec::new();
    }
    (0..)
        .zip(reached.into_iter().zip(shadows))
        .filter(|(_, (reached, _))| !reached)
        .map(|(route, (_, (by, example_path)))| Unreachable {
            route,
            shadowed_by: by.into_iter().collect(),
            example_path,
        })
        .collect()
}

/// Every pair of an earlier and a later route of different class or modes that share a method and a path.
pub(crate) fn overlaps(table: &RouteTable) -> Vec<Overlap> {
    let own = RouteMethods::of(table);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    explore(&[table], &mut |path, routes| {
        for (at, first) in routes[0].iter().enumerate() {
            for second in &routes[0][at + 1..] {
                let (a, b) = (&table.routes[*first as usize], &table.routes[*second as usize]);
                let differ = a.class != b.class || a.modes != b.modes;
                if differ && own.share_a_method(*first, *second) && seen.insert((*first, *second)) {
                    found.push(Overlap { first: *first, second: *second, example_path: path.to_owned() });
                }
            }
        }
    });
    found.sort_by_key(|overlap| (overlap.first, overlap.second));
    found
}

/// The requests that `new` handles differently from `old`: one example for each pair of an old and a new route.
pub(crate) fn diff(old: &RouteTable, new: &RouteTable) -> Vec<Difference> {
    let (old_methods, new_methods) = (RouteMethods::of(old), RouteMethods::of(new));
    let mut methods: Vec<&str> = vec!["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    methods.extend(old_methods.methods.extra().chain(new_methods.methods.extra()));
    methods.push("OTHER");
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    explore(&[old, new], &mut |path, routes| {
        for method in &methods {
            let old_winner = old_methods.winner(&routes[0], old_methods.methods.column(method));
            let new_winner = new_methods.winner(&routes[1], new_methods.methods.column(method));
            if !seen.insert((old_winner, new_winner)) {
                continue;
            }
            let (before, after) = (verdict(old, old_winner), verdict(new, new_winner));
            if before != after {
                let (method, example_path) = ((*method).to_owned(), path.to_owned());
                found.push(Difference { method, example_path, old: before, new: after });
            }
        }
    });
    found
}

fn verdict(table: &RouteTable, route: Option<RouteIndex>) -> Verdict {
    match (route.map(|route| &table.routes[route as usize]), table.unmatched) {
        (Some(Route { operation, class, modes, answer, .. }), _) => Verdict::Route {
            operation: operation.clone(),
            class: table.classes[*class].name.clone(),
            modes: *modes,
            answer: *answer,
        },
        (None, Unmatched::NotFound) => Verdict::NotFound,
        (None, Unmatched::Class(class)) => {
            let class = &table.classes[class];
            Verdict::UnmatchedAs { class: class.name.clone(), modes: class.modes }
        }
    }
}

/// The methods of one table's routes.
struct RouteMethods {
    methods: Methods,
    columns: Vec<Option<usize>>,
}

impl RouteMethods {
    fn of(table: &RouteTable) -> RouteMethods {
        let methods = Methods::of(table.routes.iter().map(|route| &route.method));
        let columns = table.routes.iter().map(|route| methods.column_of(&route.method)).collect();
        RouteMethods { methods, columns }
    }

    /// The first of `routes` (ascending) that takes the method.
    fn winner(&self, routes: &[RouteIndex], requested: usize) -> Option<RouteIndex> {
        routes.iter().copied().find(|route| takes(self.columns[*route as usize], requested))
    }

    /// OPTIONS, which every route takes, counts only where a route names it.
    fn share_a_method(&self, first: RouteIndex, second: RouteIndex) -> bool {
        let (first, second) = (self.columns[first as usize], self.columns[second as usize]);
        let both_take = |requested: usize| takes(first, requested) && takes(second, requested);
        match (first, second) {
            (Some(a), Some(b)) => both_take(a) || both_take(b),
            _ => true,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
