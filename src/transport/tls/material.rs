//! The configuration of one side, with the files that it is made of: read as one snapshot, checked, and put in force together.
//! A snapshot that cannot be used leaves the one in force. It watches no file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use super::error::TlsError;
use super::files::Content;

/// Makes a configuration of a snapshot, whose files are in the order of the paths.
type Make<C> = dyn Fn(&[Content]) -> Result<Made<C>, TlsError> + Send + Sync;

/// A configuration.
pub(super) struct Made<C> {
    pub(super) config: Arc<C>,
    /// When its own certificate ends, in seconds since 1970, if it has one.
    pub(super) end: Option<i64>,
}

/// A configuration that can be made again.
pub(crate) struct Material<C> {
    paths: Vec<PathBuf>,
    make: Box<Make<C>>,
    current: ArcSwap<(Made<C>, Fingerprint)>,
}

type Fingerprint = [u8; 32];

impl<C> fmt::Debug for Material<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<C: Send + Sync + 'static> Material<C> {
    /// Reads the files for the first time; blocking.
    pub(super) fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Content]) -> Result<Made<C>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Material<C>>, TlsError> {
        let contents = read(&paths)?;
        let current = ArcSwap::from_pointee((make(&contents)?, fingerprint(&contents)));
        Ok(Arc::new(Material { paths, make: Box::new(make), current }))
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<C> {
        Arc::clone(&self.current.load().0.config)
    }

    /// When its own certificate ends, in seconds since 1970, if it has one.
    pub(crate) fn end(&self) -> Option<i64> {
        self.current.load().0.end
    }

    /// Reads the files again, blocking, and returns a function that puts them in force and returns whether they are new. A
    /// certificate that has expired replaces no other; only at the start it is better than none.
    pub(crate) fn read_again(self: &Arc<Self>) -> Result<impl FnOnce() -> bool + Send + use<C>, TlsError> {
        let contents = read(&self.paths)?;
        let made = (self.make)(&contents)?;
        let (found, material) = (fingerprint(&contents), Arc::clone(self));
        let is_new = material.current.load().1 != found;
        if is_new && made.end.is_some_and(|end| end <= jiff::Timestamp::now().as_second()) {
            return Err(TlsError::Expired);
        }
        Ok(move || {
            if is_new {
                material.current.store(Arc::new((made, found)));
            }
            is_new
        })
    }
}

/// The files, in the order of the paths; blocking.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Content>, TlsError> {
    paths.iter().map(|path| Content::read(path)).collect()
}

fn fingerprint(contents: &[Content]) -> Fingerprint {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update(content.bytes().len().to_be_bytes());
        hash.update(content.bytes());
    }
    hash.finalize().into()
}
