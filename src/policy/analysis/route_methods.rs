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

    /// A method that both routes take. OPTIONS, which every route takes, counts only where a route names it.
    pub(super) fn shared_method<'t>(
        &self,
        table: &'t RouteTable,
        first: RouteIndex,
        second: RouteIndex,
    ) -> Option<&'t str> {
        let column = |route: RouteIndex| self.columns[route as usize];
        let both_take = |requested: usize| takes(column(first), requested) && takes(column(second), requested);
        let named = [first, second].into_iter().filter(|route| column(*route).is_some());
        let mut named = named.peekable();
        if named.peek().is_none() {
            return Some("GET");
        }
        let shared = named.find(|route| column(*route).is_some_and(both_take));
        shared.map(|route| table.routes[route as usize].method.as_str())
    }
}
