//! A problem with a piece of text: the offending part, the problem and the correction. It knows neither file nor line.

/// One problem with a piece of text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}{instead}", if instead.is_empty() { "" } else { ": " })]
pub(crate) struct Issue {
    /// The offending text; empty when something is missing.
    pub(crate) offending: String,
    /// The problem.
    pub(crate) message: String,
    /// The correction; may be empty.
    pub(crate) instead: String,
}

impl Issue {
    pub(crate) fn new(offending: &str, message: impl Into<String>, instead: impl Into<String>) -> Issue {
        Issue { offending: offending.to_owned(), message: message.into(), instead: instead.into() }
    }
}
