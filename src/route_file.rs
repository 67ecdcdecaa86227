//! The text of a file to a route table, for the commands and for `launch`. It keeps nothing.

use std::path::{Path, PathBuf};

use crate::files;
use crate::policy::routes_yaml::{self, Diagnostic};
use crate::policy::strict_yaml::list_of;
use crate::policy::table::RouteTable;

/// Why a file yields no table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}", list_of(path, faults))]
    Faults { path: PathBuf, faults: Vec<Diagnostic> },
}

/// Reads and compiles a table. It also returns the text, so that a reload can detect a change.
pub(crate) fn load(path: &Path) -> Result<(RouteTable, String), TableError> {
    compiled(path, read(path)?)
}

/// The same for a command, whose user may have it read a pipe.
pub(crate) fn load_or_pipe(path: &Path) -> Result<(RouteTable, String), TableError> {
    compiled(path, read_or_pipe(path)?)
}

fn compiled(path: &Path, text: String) -> Result<(RouteTable, String), TableError> {
    let table = compile(path, &text).map_err(|faults| TableError::Faults { path: path.to_owned(), faults })?;
    Ok((table, text))
}

fn read(path: &Path) -> Result<String, TableError> {
    files::read_text(path).map_err(|source| TableError::Read { path: path.to_owned(), source })
}

/// Reads the text of a table for a command.
pub(crate) fn read_or_pipe(path: &Path) -> Result<String, TableError> {
    files::read_text_or_pipe(path).map_err(|source| TableError::Read { path: path.to_owned(), source })
}

/// Compiles the text of a table.
pub(crate) fn compile(path: &Path, text: &str) -> Result<RouteTable, Vec<Diagnostic>> {
    routes_yaml::parse(text, &path.display().to_string())
}
