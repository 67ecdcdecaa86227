//! Diagnostics of a file: an issue with its file, line and column. It is independent of the format.

use std::fmt;

use crate::policy::table::Issue;

/// One issue in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostic {
    /// The file's name as given by the caller.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// The problem and its correction.
    pub(crate) issue: Issue,
    /// Other lines that the problem is about, and their part in it.
    pub(crate) also: Vec<(usize, String)>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.issue)
    }
}

/// The start of a value in the text: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub line: usize,
    pub column: usize,
}

impl Span {
    pub(crate) const START: Span = Span { line: 1, column: 1 };
}

/// The diagnostics of one file so far.
pub(crate) struct Diagnostics<'f> {
    file: &'f str,
    list: Vec<Diagnostic>,
}

impl<'f> Diagnostics<'f> {
    pub(crate) fn of(file: &'f str) -> Diagnostics<'f> {
        Diagnostics { file, list: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: Span, issue: Issue) {
        self.add_about(at, issue, Vec::new());
    }

    /// Adds an issue that is about other lines too.
    pub(crate) fn add_about(&mut self, at: Span, issue: Issue, also: Vec<(usize, String)>) {
        self.list.push(Diagnostic { file: self.file.to_owned(), line: at.line, column: at.column, issue, also });
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// `Ok` when there are none, else all of them.
    pub(crate) fn verdict(&mut self) -> Result<(), Vec<Diagnostic>> {
        if self.list.is_empty() { Ok(()) } else { Err(self.take()) }
    }

    /// All of them, in the order of the file.
    pub(crate) fn take(&mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        std::mem::take(&mut self.list)
    }
}

/// The heading of a file's faults and the faults themselves, each on a line.
pub(crate) fn list_of(file: &std::path::Path, faults: &[Diagnostic]) -> String {
    let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
    let lines: String = faults.iter().map(|fault| format!("\n{fault}")).collect();
    format!("{} has {count} and is not used{lines}", file.display())
}
