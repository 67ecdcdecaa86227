//! A reload of the route table: the new table is compared, put in force between two flips, and reported when the requests of
//! the old table have ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::route_reader::{LoadedRoutes, ReloadEnd, ReloadReply};
use crate::control::stats::count_reload;
use crate::control_handle::{ReloadError, ReloadWhen, Reloaded};

/// The longest wait for requests of the old table before a reload reports.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The interval between reads of their count.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

impl Control {
    pub(super) fn request_reload(&mut self, when: ReloadWhen, reply: ReloadReply) {
        if self.protocol.is_stopping() {
            return drop(reply.send(Err(ReloadError::ShuttingDown)));
        }
        match when {
            ReloadWhen::Now if self.protocol.is_flipping() => drop(reply.send(Err(ReloadError::Busy))),
            ReloadWhen::Now | ReloadWhen::AfterFlip => self.reload.waiting.push_back(reply),
        }
    }

    /// Begins the work that waited for the end of a flip, or of another reload.
    pub(super) fn advance_reload(&mut self) {
        if self.protocol.is_flipping() {
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
    fn put_table_in_force(&mut self, loaded: Result<Box<LoadedRoutes>, String>) {
        let LoadedRoutes { table, fingerprint } = match loaded {
            Ok(loaded) => *loaded,
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
        self.protocol.fleet().into_iter().for_each(|fleet| fleet.set_routes(fingerprint.clone()));
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
