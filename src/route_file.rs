//! The text of a file to a route table, for the commands and for `launch`. It keeps nothing.

use std::path::{Path, PathBuf};

use crate::policy::routes_yaml::{self, Diagnostic};
use crate::policy::table::RouteTable;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It was read and has faults: all of them.
    #[error("{} has {} and is not used{}", path.display(), count(faults.len()), list(faults))]
    Faults {
        /// Which file.
        path: PathBuf,
        /// What is wrong, each with its place.
        faults: Vec<Diagnostic>,
    },
}

/// Reads and compiles a table; also returns its text, by which a reload tells whether anything changed.
pub(crate) fn load(path: &Path) -> Result<(RouteTable, String), TableError> {
    let text = std::fs::read_to_string(path).map_err(|source| TableError::Read { path: path.to_owned(), source })?;
    let table = routes_yaml::parse(&text, &path.display().to_string())
        .map_err(|faults| TableError::Faults { path: path.to_owned(), faults })?;
    Ok((table, text))
}

fn list(faults: &[Diagnostic]) -> String {
    faults.iter().map(|fault| format!("\n{fault}")).collect()
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}
