//! Why the gateway does not start, or does not go on.

use std::path::PathBuf;

use crate::access::AccessSetupError;
use crate::admin::AdminBindError;
use crate::config::SettingsError;
use crate::control::StartError;
use crate::control::store::StoreError;
use crate::route_file::TableError;

/// Why the gateway does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The route table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Who may do what.
    #[error(transparent)]
    Access(#[from] AccessSetupError),
    /// The state directory or the record.
    #[error(transparent)]
    Control(#[from] StartError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The admin address.
    #[error(transparent)]
    AdminListen(#[from] AdminBindError),
    /// A file that was named.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Settings that contradict each other.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A part of the running gateway ended unasked.
    #[error("{part} {how}")]
    Ended {
        /// Which part.
        part: String,
        /// What it did.
        how: String,
    },
    /// The system refused a thread or a runtime.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}
