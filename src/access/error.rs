//! Why a credential is rejected, and why access cannot be set up.

use std::path::PathBuf;
use std::time::Duration;

/// Why a credential was not accepted. None of these says which part was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is no `Authorization` header, and the peer is nobody by itself.
    #[error("a credential is required: send \"Authorization: Bearer TOKEN\" or Basic user and password")]
    Missing,
    /// The header is neither Bearer nor Basic, or is not well formed.
    #[error("the Authorization header is not a well-formed Bearer or Basic credential")]
    Malformed,
    /// Nobody has this credential.
    #[error("the credential is not accepted")]
    Unknown,
    /// Too many failed attempts by anybody.
    #[error("too many failed attempts; try again in {} s", .retry_after.as_secs())]
    Throttled {
        /// When to try again, in whole seconds, at least one.
        retry_after: Duration,
    },
}

/// Why access could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessSetupError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The file was read and has faults.
    #[error("{}{}", path.display(), faults.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
    Faults {
        /// Which file.
        path: PathBuf,
        /// All that is wrong, each with its place.
        faults: Vec<String>,
    },
    /// The token file is not to be used as it is.
    #[error("admin token {}: {detail}", path.display())]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The disk did not give the token, or did not take it. Another start may work.
    #[error("admin token {}: {source}", path.display())]
    TokenIo {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}
