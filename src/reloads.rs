//! Reads the files of the running gateway again: the route table, through control, and each [`ReloadedFile`]. It
//! knows the fault of each. It interprets no content.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control_handle::{ControlHandle, ReloadError, ReloadWhen, Reloaded};
use crate::files::ReloadedFile;

/// The name of the route table among the files.
pub(crate) const ROUTES: &str = "routes";

/// Everything that is read again.
#[derive(Debug)]
pub(crate) struct Reloads {
    control_handle: ControlHandle,
    files: Vec<Arc<ReloadedFile>>,
    /// The reason why the last reading of the route table was not put in force.
    routes_fault: Mutex<Option<String>>,
}

/// The end of a reload of everything.
#[derive(Debug)]
pub(crate) struct ReloadEnd {
    pub(crate) routes: Result<Reloaded, ReloadError>,
    /// The files that were not put in force, by name, each with its faults.
    pub(crate) faults: Vec<(&'static str, String)>,
}

impl Reloads {
    pub(crate) fn new(control_handle: ControlHandle, files: Vec<Arc<ReloadedFile>>) -> Reloads {
        Reloads { control_handle, files, routes_fault: Mutex::default() }
    }

    /// Reads everything again. A faulty file holds back no other.
    pub(crate) async fn reload_all(&self, when: ReloadWhen) -> ReloadEnd {
        let mut faults = Vec::new();
        for file in &self.files {
            faults.extend(file.reload().await.err().map(|fault| (file.name(), fault)));
        }
        ReloadEnd { routes: self.reload_routes(when).await, faults }
    }

    /// Reads the file of this name again. The outcome is in the log.
    pub(crate) async fn reload_one(&self, name: &str) {
        if name == ROUTES {
            drop(self.reload_routes(ReloadWhen::AfterFlip).await);
        }
        for file in self.files.iter().filter(|file| file.name() == name) {
            drop(file.reload().await);
        }
    }

    /// Every name, with the reason why its last reading was not put in force.
    pub(crate) fn faults(&self) -> Vec<(&'static str, Option<String>)> {
        let routes = (ROUTES, self.lock_routes_fault().clone());
        let files = self.files.iter().map(|file| (file.name(), file.fault()));
        std::iter::once(routes).chain(files).collect()
    }

    async fn reload_routes(&self, when: ReloadWhen) -> Result<Reloaded, ReloadError> {
        let reloaded = self.control_handle.reload(when).await;
        match &reloaded {
            Ok(Reloaded { generation, changed, .. }) => {
                *self.lock_routes_fault() = None;
                tracing::info!(generation, changed, "route table reloaded");
            }
            Err(error) => {
                if let ReloadError::Faults(faults) = error {
                    *self.lock_routes_fault() = Some(faults.clone());
                }
                tracing::error!(%error, "reload failed; the route table stays in force");
            }
        }
        reloaded
    }

    fn lock_routes_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.routes_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
