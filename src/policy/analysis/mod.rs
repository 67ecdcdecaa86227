//! Analysis of whole tables: routes that can never match, routes that overlap, and the differences of two tables, each
//! with an example path. It searches the compiled automata, so the results are exact and not sampled.
//!
//! When there are too many distinct regions of paths, the search is cut short, and `Findings` says so.

mod diff;
mod explorer;
mod findings;
mod paths;
mod route_methods;
mod warnings;

use std::collections::{BTreeSet, HashSet};

use self::explorer::explore;
use self::route_methods::RouteMethods;
use crate::policy::table::{OTHER_METHOD, RouteIndex, RouteTable};

pub(crate) use self::diff::{Difference, SettingDifference, Verdict, diff, setting_differences};
pub(crate) use self::findings::CutShort;
pub(crate) use self::findings::Findings;
pub(crate) use self::warnings::{Doubt, warnings};

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
    /// A method that both take.
    pub(crate) method: String,
    /// A path (with base path) that both take.
    pub(crate) example_path: String,
}

/// The routes that can never match because earlier ones, alone or together, take all of their requests.
pub fn unreachable(table: &RouteTable) -> Findings<Unreachable> {
    let own = RouteMethods::of(table);
    let mut reached = vec![false; table.routes.len()];
    let mut shadows = vec![(BTreeSet::new(), None); table.routes.len()];
    let searched = explore(&[table], &mut |path, routes| {
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
    if let Err(cut_short) = searched {
        // A route that was not reached may still be.
        return Findings { list: Vec::new(), cut_short: Some(cut_short) };
    }
    let list = (0..)
        .zip(reached.into_iter().zip(shadows))
        .filter(|(_, (reached, _))| !reached)
        .map(|(route, (_, (by, example_path)))| Unreachable {
            route,
            shadowed_by: by.into_iter().collect(),
            example_path,
        })
        .collect();
    Findings { list, cut_short: None }
}

/// Every pair of an earlier and a later route of different class or modes that share a method and a path.
pub(crate) fn overlaps(table: &RouteTable) -> Findings<Overlap> {
    let own = RouteMethods::of(table);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let searched = explore(&[table], &mut |path, routes| {
        for (at, first) in routes[0].iter().enumerate() {
            for second in &routes[0][at + 1..] {
                let (a, b) = (&table.routes[*first as usize], &table.routes[*second as usize]);
                let differ = a.class != b.class || a.modes != b.modes;
                if differ
                    && let Some(method) = own.shared_method(table, *first, *second)
                    && seen.insert((*first, *second))
                {
                    let (method, example_path) = (method.to_owned(), path.to_owned());
                    found.push(Overlap { first: *first, second: *second, method, example_path });
                }
            }
        }
    });
    found.sort_by_key(|overlap| (overlap.first, overlap.second));
    Findings { list: found, cut_short: searched.err() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
