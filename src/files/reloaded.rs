//! One thing that is read from files and can be read again: principals, the login for UCS, a certificate with its key. The
//! reading has a thread of its own and a limit; after a failure the earlier contents stay in force, and the fault is kept.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

/// The timeout of a reading: the file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The readings of one file that may hang at once, each on a thread. A file that took the place of one that hangs can be
/// read beside them.
pub(crate) const MOST_READINGS: usize = 4;

/// Puts the new contents into force; false if it is in force already.
pub(crate) type PutInForce = Box<dyn FnOnce() -> bool + Send>;

/// Reads and checks the files, blocking; the error lists all faults, each with its place, and no secret.
type Read = dyn Fn() -> Result<PutInForce, String> + Send + Sync;

/// The files behind one thing in force.
pub(crate) struct ReloadedFile {
    /// The name in `/readyz`, metrics and logs, for example `access`.
    name: &'static str,
    read: Arc<Read>,
    /// Held from a reading until its result is in force, or was given up.
    turn: tokio::sync::Mutex<()>,
    /// Held by each reading to its end.
    readings: Arc<Semaphore>,
    fault: Mutex<Option<String>>,
}

impl ReloadedFile {
    /// The first reading, at the start, is the caller's own.
    pub(crate) fn new(
        name: &'static str,
        read: impl Fn() -> Result<PutInForce, String> + Send + Sync + 'static,
    ) -> Arc<ReloadedFile> {
        let (turn, readings) = (tokio::sync::Mutex::default(), Arc::new(Semaphore::new(MOST_READINGS)));
        Arc::new(ReloadedFile { name, read: Arc::new(read), turn, readings, fault: Mutex::default() })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The reason why the last reading was not put in force.
    pub(crate) fn fault(&self) -> Option<String> {
        self.lock_fault().clone()
    }

    /// Reads the files again and puts them in force, or says why the earlier contents stay.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let reading = async {
            let turn = self.turn.lock().await;
            (self.read().await, turn)
        };
        // The turn lasts until the result is in force.
        let (read, _turn) = match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok((read, turn)) => (read, Some(turn)),
            Err(_) => (Err(format!("the file could not be read within {READ_TIMEOUT:?}")), None),
        };
        *self.lock_fault() = read.as_ref().err().cloned();
        let file = self.name;
        let put_in_force =
            read.inspect_err(|fault| tracing::error!(file, %fault, "reload failed; what was read before stays"))?;
        if put_in_force() {
            tracing::info!(file, "reloaded");
        }
        Ok(())
    }

    async fn read(&self) -> Result<PutInForce, String> {
        let place = Arc::clone(&self.readings).try_acquire_owned();
        let place = place.map_err(|_| format!("{MOST_READINGS} earlier readings of the file have not ended"))?;
        let read = Arc::clone(&self.read);
        let reading = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(place);
            read
        });
        reading.await.unwrap_or_else(|panic| Err(panic.to_string()))
    }

    fn lock_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReloadedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadedFile").field("name", &self.name).finish_non_exhaustive()
    }
}
