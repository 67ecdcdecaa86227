//! The boundary between control and whatever keeps the record: load it, and save its successor by compare-and-set.
//! It decides nothing about modes.

mod contract;
pub mod file;
pub(crate) mod journal;

use std::sync::{Arc, Mutex, PoisonError};

use crate::control::store::file::StateDir;
use crate::policy::mode::ModeRecord;

pub(crate) use contract::{Fact, Loaded, StoreError};

/// Where the record is kept.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// In a directory of this machine. Behind a lock because file I/O runs on blocking threads; control waits for each
    /// call before it makes the next, so nobody ever waits for the lock.
    File(Arc<Mutex<StateDir>>),
}

impl Store {
    /// A store in an open directory.
    pub fn file(dir: StateDir) -> Store {
        Store::File(Arc::new(Mutex::new(dir)))
    }

    /// Reads the record and what else is remembered. Once, at start: it takes the clean-shutdown mark away.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        self.on_dir(StateDir::load).await
    }

    /// Saves `record` if the store still holds `expected_revision` (0: nothing), durably, and returns it with its
    /// journal head. After an error the old record is what a restart will find, as far as the disk lets it.
    pub async fn save(&self, expected_revision: u64, record: &ModeRecord) -> Result<ModeRecord, StoreError> {
        let record = record.clone();
        self.on_dir(move |dir| dir.save(expected_revision, &record)).await
    }

    /// Remembers a fact over restarts.
    pub async fn remember(&self, fact: Fact) -> Result<(), StoreError> {
        self.on_dir(move |dir| dir.remember(fact)).await
    }

    /// Leaves the mark of an orderly stop.
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
