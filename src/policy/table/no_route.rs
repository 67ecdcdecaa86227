//! Why no route takes a request: its path is unknown, its path takes other methods, or its method is unknown. Pure.

use super::RouteTable;
use super::methods::{OTHER_METHOD, takes};
use crate::policy::path::CanonicalPath;

/// The reason why no route takes a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoute {
    /// RFC 9110, 15.5.5.
    #[error("no route matches")]
    Path,
    /// The path takes these methods, as a value of `Allow` (RFC 9110, 15.5.6).
    #[error("the routes of this path take other methods: {allow}")]
    Method { allow: String },
    /// RFC 9110, 15.6.2.
    #[error("no route takes this method")]
    UnknownMethod,
}

impl NoRoute {
    /// The machine-readable reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            NoRoute::Path => "unmatched",
            NoRoute::Method { .. } => "method_not_allowed",
            NoRoute::UnknownMethod => "method_not_implemented",
        }
    }
}

impl RouteTable {
    /// Why no route takes this request. It allocates, so only refused requests use it.
    pub(crate) fn no_route(&self, method: &str, path: &CanonicalPath<'_>) -> NoRoute {
        if self.methods().column(method) == OTHER_METHOD {
            return NoRoute::UnknownMethod;
        }
        match self.allow(path) {
            Some(allow) => NoRoute::Method { allow },
            None => NoRoute::Path,
        }
    }

    /// The methods that this path takes, as a value of `Allow`; `None` if no route takes the path.
    pub(crate) fn allow(&self, path: &CanonicalPath<'_>) -> Option<String> {
        let taken: Vec<&str> = self.methods().known().filter(|method| self.classify(method, path).is_some()).collect();
        (!taken.is_empty()).then(|| taken.join(", "))
    }

    /// The methods that the routes take on some path, as a value of `Allow`.
    pub(crate) fn allow_anywhere(&self) -> String {
        let columns: Vec<_> = self.routes.iter().map(|route| self.methods().column_of(&route.method)).collect();
        let is_taken = |method: &&str| columns.iter().any(|own| takes(*own, self.methods().column(method)));
        self.methods().known().filter(is_taken).collect::<Vec<_>>().join(", ")
    }
}
