//! The result of a search, and whether it is complete. It searches nothing.

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings<T> {
    /// The findings, each of them proven.
    pub list: Vec<T>,
    /// The reason why there may be more of them.
    pub(crate) cut_short: Option<CutShort>,
}

/// The search ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the routes and regexes divide the paths into more regions than the search can visit; write path templates in place \
     of regexes, and fewer repetitions such as {{14}}, or compare and check parts of the table by themselves"
)]
pub(crate) struct CutShort;
