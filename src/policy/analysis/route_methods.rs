//! The methods of the routes of one table: which of the routes that match a path takes a request.

use crate::policy::table::{Methods, RouteIndex, RouteTable, takes};

/// The methods of one table's routes.
pub(super) struct RouteMethods {
    pub methods: Methods,
    pub columns: Vec<Option<usize>>,
}

impl RouteMethods {
    pub(super) fn of(table: &RouteTable) -> RouteMethods {
        let methods = Methods::of(table.routes.iter().map(|route| &route.method));
        let columns = table.routes.iter().map(|route| methods.column_of(&route.method)).collect();
        RouteMethods { methods, columns }
    }

    /// The first of `routes` (ascending) that takes the method.
    pub(super) fn winner(&self, routes: &[RouteIndex], requested: usize) -> Option<RouteIndex> {
        routes.iter().copied().find(|route| takes(self.columns[*route as usize], requested))
    }

    /// OPTIONS, which every route takes, counts only where a route names it.
    pub(super) fn share_a_method(&self, first: RouteIndex, second: RouteIndex) -> bool {
        let (first, second) = (self.columns[first as usize], self.columns[second as usize]);
        let both_take = |requested: usize| takes(first, requested) && takes(second, requested);
        match (first, second) {
            (Some(a), Some(b)) => both_take(a) || both_take(b),
            _ => true,
        }
    }
}
