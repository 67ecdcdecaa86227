//! STUB.
use crate::policy::routes::{Pattern, RouteIndex, RouteTable, fits};

/// A route that can never match.
pub struct Unreachable {
    /// The route.
    pub route: RouteIndex,
    /// What takes its requests.
    pub shadowed_by: Vec<RouteIndex>,
    /// For example.
    pub example_path: String,
}

/// Stub: templates, pairwise.
pub fn unreachable(table: &RouteTable) -> Vec<Unreachable> {
    let mut found = Vec::new();
    for (later, route) in table.routes.iter().enumerate() {
        for (earlier, other) in table.routes[..later].iter().enumerate() {
            if let (Pattern::Template(a), Pattern::Template(b)) = (&other.pattern, &route.pattern)
                && fits(a, b)
                && (other.method == crate::policy::routes::RouteMethod::Any || other.method == route.method)
            {
                let example_path = b.to_string();
                found.push(Unreachable {
                    route: later as RouteIndex,
                    shadowed_by: vec![earlier as RouteIndex],
                    example_path,
                });
            }
        }
    }
    found
}
