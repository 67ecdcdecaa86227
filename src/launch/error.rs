//! Errors at the start and during the run of the gateway.

use crate::access::AccessSetupError;
use crate::config::SettingsError;
use crate::control::StartError;
use crate::control::store::StoreError;
use crate::control::ucs::credentials::CredentialsError;
use crate::files::NotAFile;
use crate::route_file::TableError;
use crate::transport::{Address, InheritError, TlsError};

/// Why the gateway cannot start or has to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Access(#[from] AccessSetupError),
    #[error(transparent)]
    Control(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot listen on {address}: {source}; --listen chooses another address, and port 0 a free one")]
    Listen { address: Address, source: std::io::Error },
    #[error(
        "cannot listen for the admin API on {address}: {source}; --admin-listen chooses another address, and port 0 a free one"
    )]
    AdminListen { address: Address, source: std::io::Error },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A part of the running gateway ended unexpectedly.
    #[error("{part} {how}")]
    Ended { part: String, how: String },
    /// A thread or a runtime cannot be created.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl LaunchError {
    /// Whether something else stands in the place of a file or of the state directory.
    pub(crate) fn is_about_no_file(&self) -> bool {
        let error = match self {
            LaunchError::Store(error) => error,
            LaunchError::Control(StartError::Load(error) | StartError::FirstSave(error)) => error,
            _ => return false,
        };
        let StoreError::Io { source, .. } = error else { return false };
        NotAFile::is(source) || source.kind() == std::io::ErrorKind::NotADirectory
    }
}
