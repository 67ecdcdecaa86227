//! Routes that a table may have, and that are often mistakes: a read that only maintenance admits, and a write that both
//! modes admit. It searches nothing.

use crate::policy::mode::ModeSet;
use crate::policy::table::{Route, RouteIndex, RouteMethod, RouteTable};

/// A route that deserves a second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) route: RouteIndex,
    pub(crate) doubt: Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A read in a class of writes: maintenance alone admits both.
    ReadInMaintenanceOnly,
    /// A method that may change something, in a route that no flip closes.
    WriteInBothModes,
}

/// The routes that deserve a second look, in the order of the file.
pub(crate) fn warnings(table: &RouteTable) -> Vec<Warning> {
    let doubts = (0..).zip(&table.routes).map(|(index, route)| (index, doubt_about(table, route)));
    doubts.filter_map(|(route, doubt)| Some(Warning { route, doubt: doubt? })).collect()
}

fn doubt_about(table: &RouteTable, route: &Route) -> Option<Doubt> {
    let reads = matches!(&route.method, RouteMethod::Only(method) if matches!(&**method, "GET" | "HEAD" | "OPTIONS"));
    let is_of_writes = table.classes[route.class].modes == ModeSet::Maintenance;
    match route.modes {
        ModeSet::Maintenance if reads && is_of_writes => Some(Doubt::ReadInMaintenanceOnly),
        // Set Server Mode must be open in both.
        ModeSet::Both if !reads && route.answer.is_none() => Some(Doubt::WriteInBothModes),
        _ => None,
    }
}
