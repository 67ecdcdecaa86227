//! The two stores of control: the record store (load the mode record, and save its successor by compare-and-set), and the
//! local state, which stays on this machine whatever keeps the record. They contain no policy of modes.

mod contract;
pub mod etcd;
pub mod file;
pub(crate) mod journal;
pub mod local;
pub(crate) mod verify;

use std::sync::{Arc, Mutex, PoisonError};

use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::policy::mode::ModeRecord;

pub use contract::Token;
pub(crate) use contract::{Fact, LoadedLocal, LoadedRecord, Saved, StoreError};

/// The record store in files. Behind a lock because file I/O runs on blocking threads; control waits for each save before it
/// begins the next, so the lock is never contended.
#[derive(Clone, Debug)]
pub(crate) struct RecordStore(Arc<Mutex<RecordFile>>);

impl RecordStore {
    /// A record store in an open state directory.
    pub(crate) fn file(files: RecordFile) -> RecordStore {
        RecordStore(Arc::new(Mutex::new(files)))
    }

    /// Reads the record. Once, at start.
    pub(crate) async fn load(&self) -> Result<LoadedRecord, StoreError> {
        blocking(&self.0, RecordFile::load).await
    }

    /// Saves `record` durably if the store still holds the state that `token` marks, and returns it with its journal head and
    /// its own token. After an error a restart finds the old record, as far as the disk permits.
    pub(crate) async fn save(self, token: Token, record: ModeRecord) -> Result<Saved<ModeRecord>, StoreError> {
        blocking(&self.0, move |files| files.save(token, &record)).await
    }
}

/// The local state of this gateway.
#[derive(Clone, Debug)]
pub(crate) struct LocalState(Arc<Mutex<LocalDir>>);

impl LocalState {
    pub(crate) fn new(dir: LocalDir) -> LocalState {
        LocalState(Arc::new(Mutex::new(dir)))
    }

    /// Reads the facts. Once, at start: it removes the clean-shutdown marker.
    pub(crate) async fn load(&self) -> Result<LoadedLocal, StoreError> {
        blocking(&self.0, LocalDir::load).await
    }

    /// Saves a fact for the next start.
    pub(crate) async fn remember(&self, fact: Fact) -> Result<(), StoreError> {
        blocking(&self.0, move |dir| dir.remember(&fact)).await
    }

    /// Writes the clean-shutdown marker.
    pub(crate) async fn mark_clean_shutdown(&self) -> Result<(), StoreError> {
        blocking(&self.0, LocalDir::mark_clean_shutdown).await
    }
}

async fn blocking<S: Send + 'static, T: Send + 'static>(
    store: &Arc<Mutex<S>>,
    work: impl FnOnce(&mut S) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = Arc::clone(store);
    let work = move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::task::spawn_blocking(work).await.map_err(StoreError::Thread)?
}
