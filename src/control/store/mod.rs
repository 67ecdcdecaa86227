//! The store of the mode record: load it, and save its successor by compare-and-set. It contains no policy of modes.

mod contract;
pub mod file;
pub(crate) mod journal;

use std::sync::{Arc, Mutex, PoisonError};

use crate::control::store::file::StateDir;
use crate::policy::mode::ModeRecord;

pub(crate) use contract::{Fact, Loaded, StoreError};

/// The place of the record.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// A directory of this machine. Behind a lock because file I/O runs on blocking threads; control waits for each call
    /// before it makes the next, so the lock is never contended.
    File(Arc<Mutex<StateDir>>),
}

impl Store {
    /// A store in an open directory.
    pub fn file(dir: StateDir) -> Store {
        Store::File(Arc::new(Mutex::new(dir)))
    }

    /// Reads the record and the facts. Once, at start: it removes the clean-shutdown marker.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        self.on_dir(StateDir::load).await
    }

    /// Saves `record` durably if the store still holds `expected_revision` (0: nothing), and returns it with its journal
    /// head. After an error a restart finds the old record, as far as the disk permits.
    pub async fn save(&self, expected_revision: u64, record: &ModeRecord) -> Result<ModeRecord, StoreError> {
        let record = record.clone();
        self.on_dir(move |dir| dir.save(expected_revision, &record)).await
    }

    /// Saves a fact for the next start.
    pub async fn remember(&self, fact: Fact) -> Result<(), StoreError> {
        self.on_dir(move |dir| dir.remember(fact)).await
    }

    /// Writes the clean-shutdown marker.
    pub async fn mark_clean_shutdown(&self) -> Result<(), StoreError> {
        self.on_dir(|dir| dir.mark_clean_shutdown()).await
    }

    async fn on_dir<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut StateDir) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Store::File(dir) = self;
        let dir = Arc::clone(dir);
        let work = move || work(&mut dir.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.map_err(StoreError::Thread)?
    }
}
