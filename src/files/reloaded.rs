//! One thing that is read from files and can be read again: principals, the login for UCS, a certificate with its key. The
//! reading has a thread of its own and a limit; after a failure the earlier contents stay in force, and the fault is kept.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The timeout of a reading: the file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Puts the new contents into force; false if it is in force already.
pub(crate) type PutInForce = Box<dyn FnOnce() -> bool + Send>;

/// Reads and checks the files, blocking; the error lists all faults, each with its place, and no secret.
type Read = dyn Fn() -> Result<PutInForce, String> + Send + Sync;

/// The files behind one thing in force.
pub(crate) struct ReloadedFile {
    /// The name in `/readyz`, metrics and logs, for example `access`.
    name: &'static str,
    read: Arc<Read>,
    /// Held while the files are read, also by a reading that hangs: each would hold a thread.
    reading: Arc<tokio::sync::Mutex<()>>,
    fault: Mutex<Option<String>>,
}

impl ReloadedFile {
    /// The first reading, at the start, is the caller's own.
    pub(crate) fn new(
        name: &'static str,
        read: impl Fn() -> Result<PutInForce, String> + Send + Sync + 'static,
    ) -> Arc<ReloadedFile> {
        Arc::new(ReloadedFile { name, read: Arc::new(read), reading: Arc::default(), fault: Mutex::default() })
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
        let (read, turn) = (Arc::clone(&self.read), Arc::clone(&self.reading));
        let reading = async {
            let turn = turn.lock_owned().await;
            tokio::task::spawn_blocking(move || (read(), turn)).await
        };
        // The turn lasts until the result is in force.
        let (read, _turn) = match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok((read, turn))) => (read, Some(turn)),
            Ok(Err(panic)) => (Err(panic.to_string()), None),
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

    fn lock_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReloadedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadedFile").field("name", &self.name).finish_non_exhaustive()
    }
}
