//! Reads the route table beside the loop, with a limit, and keeps the reloads that wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::control::slot::Slot;
use crate::control_handle::{ReloadError, Reloaded};
use crate::files::MOST_READINGS;
use crate::policy::table::RouteTable;

/// The longest time for reading and compiling a table. The file may be on a disk that hangs.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// Reads the table's file. Called on a thread of its own; the error lists all faults, each with its place.
pub(crate) type RouteLoader = Arc<dyn Fn() -> Result<LoadedRoutes, String> + Send + Sync>;

/// A route table without faults.
#[derive(Debug)]
pub(crate) struct LoadedRoutes {
    pub table: RouteTable,
    /// A hash of the text.
    pub fingerprint: String,
}

pub(super) type ReloadReply = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// The reload under way, and those that wait for it or for the end of a flip.
pub(super) struct Reload {
    load: RouteLoader,
    pub fingerprint: Option<String>,
    pub work: Slot<ReloadEnd>,
    pub reply: Option<ReloadReply>,
    /// A table that was read during a flip: it is put in force afterwards.
    pub loaded: Option<Result<Box<LoadedRoutes>, String>>,
    pub waiting: VecDeque<ReloadReply>,
    /// Held by each thread that is reading, perhaps for ever.
    readings: Arc<Semaphore>,
}

/// The end of a part of a reload.
pub(super) enum ReloadEnd {
    Read(Result<Box<LoadedRoutes>, String>),
    Emptied(Reloaded),
}

impl Reload {
    pub(super) fn new(load: RouteLoader, fingerprint: Option<String>) -> Reload {
        Reload {
            load,
            fingerprint,
            work: Slot::empty(),
            reply: None,
            loaded: None,
            waiting: VecDeque::new(),
            readings: Arc::new(Semaphore::new(MOST_READINGS)),
        }
    }

    /// The end of the part under way. Cancel safe.
    pub(super) async fn end(&mut self) -> ReloadEnd {
        self.work.end().await
    }

    /// Reads the file on a thread of its own, which neither a stop nor another reload waits for.
    pub(super) fn begin_reading(&mut self) {
        let Ok(place) = Arc::clone(&self.readings).try_acquire_owned() else {
            let fault = format!("{MOST_READINGS} earlier reloads are still reading the file, which does not end");
            return self.work.begin(std::future::ready(ReloadEnd::Read(Err(fault))));
        };
        let (sender, receiver) = oneshot::channel();
        let load = Arc::clone(&self.load);
        // Without a thread the sender is dropped, which is the end.
        drop(std::thread::Builder::new().name("reload".to_owned()).spawn(move || {
            let loaded = load();
            drop(place);
            // The loop may have given up.
            let _ = sender.send(loaded.map(Box::new));
        }));
        self.work.begin(async move {
            let late = || Err(format!("the file could not be read within {READ_LIMIT:?}"));
            let read = timeout(READ_LIMIT, receiver).await;
            let read =
                read.map_or_else(|_| late(), |read| read.unwrap_or_else(|_| Err("the reading failed".to_owned())));
            ReloadEnd::Read(read)
        });
    }
}
