//! Why a credential is rejected, and why access cannot be set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::policy::strict_yaml::{Diagnostic, list_of};

/// Why a credential was rejected. No variant reveals which part was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// There is no `Authorization` header, and the peer is not a principal by itself.
    #[error("a credential is required: send \"Authorization: Bearer TOKEN\" or Basic user and password")]
    Missing,
    #[error("the Authorization header is not a well-formed Bearer or Basic credential")]
    Malformed,
    #[error("the credential is not accepted")]
    Unknown,
    #[error("too many failed attempts; try again in {} s", .retry_after.as_secs())]
    Throttled {
        /// The wait until the next attempt, in whole seconds, at least one.
        retry_after: Duration,
    },
}

/// Why access could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessSetupError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The file was read and has faults.
    #[error("{}", list_of(path, faults))]
    Faults { path: PathBuf, faults: Vec<Diagnostic> },
    #[error("admin token {}: {detail}", path.display())]
    TokenFile { path: PathBuf, detail: String },
    /// The token cannot be read or written. Another start may succeed.
    #[error("admin token {}: {source}", path.display())]
    TokenIo { path: PathBuf, source: std::io::Error },
}
