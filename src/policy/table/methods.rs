//! The methods of one table as small numbers, and the rule by which a route takes a method.

use std::sync::Arc;

use super::route::RouteMethod;

/// The methods of one table, each with its column.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    /// Methods beyond the well-known ones, in the order of their columns.
    extra: Vec<Arc<str>>,
}

/// The column of a method that no route names.
pub(crate) const OTHER_METHOD: usize = 0;
/// The methods that every table knows, in the order of their columns.
const WELL_KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
const GET: usize = 1;
const HEAD: usize = 5;
const OPTIONS: usize = 6;
const FIRST_EXTRA: usize = 8;

impl Methods {
    /// The methods that `routes` name.
    pub(crate) fn of<'a>(routes: impl Iterator<Item = &'a RouteMethod>) -> Methods {
        let mut methods = Methods::default();
        for method in routes {
            if let RouteMethod::Only(name) = method
                && methods.column(name) == OTHER_METHOD
            {
                methods.extra.push(name.clone());
            }
        }
        methods
    }

    /// The methods that are not well-known.
    pub(crate) fn extra(&self) -> impl Iterator<Item = &str> {
        self.extra.iter().map(|name| &**name)
    }

    /// All methods that have a column of their own.
    pub(crate) fn known(&self) -> impl Iterator<Item = &str> {
        WELL_KNOWN.into_iter().chain(self.extra())
    }

    pub(crate) fn count(&self) -> usize {
        FIRST_EXTRA + self.extra.len()
    }

    #[inline]
    pub(crate) fn column(&self, method: &str) -> usize {
        match method {
            "GET" => GET,
            "POST" => 2,
            "PUT" => 3,
            "DELETE" => 4,
            "HEAD" => HEAD,
            "OPTIONS" => OPTIONS,
            "PATCH" => 7,
            _ => self.extra.iter().position(|name| **name == *method).map_or(OTHER_METHOD, |at| FIRST_EXTRA + at),
        }
    }

    /// The column of a route's own method; `None` takes all.
    pub(crate) fn column_of(&self, method: &RouteMethod) -> Option<usize> {
        match method {
            RouteMethod::Any => None,
            RouteMethod::Only(name) => Some(self.column(name)),
        }
    }
}

/// Whether a route of method `own` takes a request of method `requested`.
#[inline]
pub(crate) fn takes(own: Option<usize>, requested: usize) -> bool {
    match own {
        None => true,
        Some(own) => own == requested || requested == OPTIONS || (requested == HEAD && own == GET),
    }
}
