//! A reload of the route table: read the file beside the loop, compare, swap between two flips, then wait a while for the
//! requests of the old table.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::slot::Slot;
use crate::control::stats::count_reload;
use crate::control_handle::{ReloadError, ReloadWhen, Reloaded};
use crate::policy::table::RouteTable;

/// The longest time for reading and compiling a table. The file may be on a disk that hangs, or a pipe.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// The longest wait for requests of the old table before a reload reports.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The interval between reads of their count.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Reads the table's file. Called on a thread of its own; the error lists all faults, each with its place.
pub(crate) type RouteLoader = Arc<dyn Fn() -> Result<LoadedRoutes, String> + Send + Sync>;

/// A route table without faults.
#[derive(Debug)]
pub(crate) struct LoadedRoutes {
    pub table: RouteTable,
    /// A hash of the text.
    pub fingerprint: String,
}

type Reply = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// The reload under way, and those that wait for it or for the end of a flip.
pub(super) struct Reload {
    load: RouteLoader,
    fingerprint: Option<String>,
    work: Slot<ReloadEnd>,
    reply: Option<Reply>,
    /// What was read during a flip: it is put in force afterwards.
    loaded: Option<Result<LoadedRoutes, String>>,
    waiting: VecDeque<Reply>,
    /// A thread is reading, perhaps for ever.
    is_reading: Arc<AtomicBool>,
}

/// The end of a part of a reload.
pub(super) enum ReloadEnd {
    Read(Result<LoadedRoutes, String>),
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
            is_reading: Arc::default(),
        }
    }

    /// The end of the part under way. Cancel safe.
    pub(super) async fn end(&mut self) -> ReloadEnd {
        self.work.end().await
    }

    /// Reads the file on a thread of its own, which neither a stop nor another reload waits for.
    fn begin_reading(&mut self) {
        if self.is_reading.swap(true, Ordering::AcqRel) {
            let fault = "an earlier reload is still reading the file, which does not end";
            return self.work.begin(std::future::ready(ReloadEnd::Read(Err(fault.to_owned()))));
        }
        let (sender, receiver) = oneshot::channel();
        let (load, is_reading) = (Arc::clone(&self.load), Arc::clone(&self.is_reading));
        let spawned = std::thread::Builder::new().name("reload".to_owned()).spawn(move || {
            let loaded = load();
            is_reading.store(false, Ordering::Release);
            // The loop may have given up.
            let _ = sender.send(loaded);
        });
        if spawned.is_err() {
            self.is_reading.store(false, Ordering::Release);
        }
        self.work.begin(async move {
            let late = || Err(format!("the file could not be read within {READ_LIMIT:?}"));
            let read = timeout(READ_LIMIT, receiver).await;
            let read =
                read.map_or_else(|_| late(), |read| read.unwrap_or_else(|_| Err("the reading failed".to_owned())));
            ReloadEnd::Read(read)
        });
    }
}

impl Control {
    pub(super) fn request_reload(&mut self, when: ReloadWhen, reply: Reply) {
        if self.state.is_stopping() {
            return drop(reply.send(Err(ReloadError::ShuttingDown)));
        }
        match when {
            ReloadWhen::Now if self.state.step_under_way().is_some() => drop(reply.send(Err(ReloadError::Busy))),
            ReloadWhen::Now | ReloadWhen::AfterFlip => self.reload.waiting.push_back(reply),
        }
    }

    /// Goes on with what waits for the end of a flip, or of another reload.
    pub(super) fn advance_reload(&mut self) {
        if self.state.step_under_way().is_some() {
            return;
        }
        if let Some(loaded) = self.reload.loaded.take() {
            return self.put_table_in_force(loaded);
        }
        if self.reload.reply.is_none()
            && let Some(reply) = self.reload.waiting.pop_front()
        {
            self.reload.reply = Some(reply);
            self.reload.begin_reading();
        }
    }

    pub(super) fn on_reload_ended(&mut self, end: ReloadEnd) {
        match end {
            ReloadEnd::Read(loaded) => self.reload.loaded = Some(loaded),
            ReloadEnd::Emptied(reloaded) => {
                let still_running = self.gate.in_flight_of_old_tables();
                let Reloaded { generation, routes, .. } = reloaded;
                info!(generation, routes, still_running, "route table replaced");
                self.reload_ended(Ok(Reloaded { still_running, ..reloaded }));
            }
        }
    }

    /// A table is never replaced during a flip.
    fn put_table_in_force(&mut self, loaded: Result<LoadedRoutes, String>) {
        let LoadedRoutes { table, fingerprint } = match loaded {
            Ok(loaded) => loaded,
            Err(faults) => {
                warn!(%faults, "route table not replaced");
                return self.reload_ended(Err(ReloadError::Faults(faults)));
            }
        };
        let live = self.gate.table();
        let report = |generation, routes, changed| Reloaded { generation, routes, changed, still_running: 0 };
        if self.reload.fingerprint.as_ref() == Some(&fingerprint) {
            return self.reload_ended(Ok(report(live.generation(), live.table().routes.len(), false)));
        }
        let base_path = live.table().base_path.clone();
        let live = self.gate.replace_table(table);
        if live.table().base_path != base_path {
            self.schema.begin_anew();
            self.publish();
        }
        self.reload.fingerprint = Some(fingerprint);
        let (gate, report) = (Arc::clone(&self.gate), report(live.generation(), live.table().routes.len(), true));
        self.reload.work.begin(async move {
            let emptied = async {
                while gate.in_flight_of_old_tables() > 0 {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            };
            // At the limit the report says how many still run; every flip waits for these.
            let _ = timeout(LONGEST_WAIT, emptied).await;
            ReloadEnd::Emptied(report)
        });
    }

    fn reload_ended(&mut self, ended: Result<Reloaded, ReloadError>) {
        count_reload(&self.stats, &ended);
        if let Some(reply) = self.reload.reply.take() {
            let _ = reply.send(ended);
        }
        self.advance_reload();
    }
}
