//! The login for the gateway's own calls to UCS, from a file that can be read again. It is sent by `client`, and never shown.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::files::{self, PutInForce, ReloadedFile};

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UpstreamCredentials {
    /// The user name at UCS.
    pub(crate) user: String,
    /// The password; never shown.
    pub(crate) password: String,
}

/// The credentials in force, shared by all calls.
pub(crate) type SharedCredentials = Arc<ArcSwap<UpstreamCredentials>>;

/// Why a file yields no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Others can read the file, or the group can write it.
    #[error("--upstream-credentials: others have access to {}; run chmod 600", .0.display())]
    Open(PathBuf),
    #[error("--upstream-credentials: {} must hold one line, USER:PASSWORD", .0.display())]
    Malformed(PathBuf),
}

impl UpstreamCredentials {
    /// Reads a file that only its owner, and perhaps its group, can read.
    pub(crate) fn read(path: &Path) -> Result<UpstreamCredentials, CredentialsError> {
        let fault = |source| CredentialsError::Read { path: path.to_owned(), source };
        let file = files::open(path).map_err(fault)?;
        // The group may read it: mounted secrets belong to root and the group of the gateway.
        if file.metadata().map_err(fault)?.permissions().mode() & 0o027 != 0 {
            return Err(CredentialsError::Open(path.to_owned()));
        }
        let text = String::from_utf8(files::read(&file).map_err(fault)?).unwrap_or_default();
        let text = files::trimmed(&text);
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !text.contains(['\r', '\n']) => {
                Ok(UpstreamCredentials { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err(CredentialsError::Malformed(path.to_owned())),
        }
    }

    /// Reads a file now, and again at each reload: the next call uses its contents of then.
    pub(crate) fn reloaded(path: &Path) -> Result<(SharedCredentials, Arc<ReloadedFile>), CredentialsError> {
        let shared: SharedCredentials = Arc::new(ArcSwap::from_pointee(UpstreamCredentials::read(path)?));
        let (path, in_force) = (path.to_owned(), Arc::clone(&shared));
        let file = ReloadedFile::new("upstream_credentials", move || {
            let read = UpstreamCredentials::read(&path).map_err(|error| error.to_string())?;
            let in_force = Arc::clone(&in_force);
            let put: PutInForce = Box::new(move || {
                let is_new = **in_force.load() != read;
                in_force.store(Arc::new(read));
                is_new
            });
            Ok(put)
        });
        Ok((shared, file))
    }
}

impl fmt::Debug for UpstreamCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamCredentials({}, …)", self.user)
    }
}
