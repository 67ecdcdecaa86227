//! A reload of the route table: read, compare, swap, then wait a while for the requests of the old table.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::control::Control;
use crate::control_handle::{ReloadError, Reloaded};
use crate::policy::table::RouteTable;

/// The longest wait for requests of the old table before a reload reports.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The interval between reads of their count.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Reads the table's file. Called on a blocking thread; the error lists all faults, each with its place.
pub(crate) type RouteLoader = Arc<dyn Fn() -> Result<LoadedRoutes, String> + Send + Sync>;

/// A route table without faults.
#[derive(Debug)]
pub(crate) struct LoadedRoutes {
    pub table: RouteTable,
    /// A hash of the text.
    pub fingerprint: String,
}

impl Control {
    pub(super) async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let load = Arc::clone(&self.load_routes);
        let loaded = self.clerk.serve(tokio::task::spawn_blocking(move || load())).await;
        let loaded = loaded.unwrap_or_else(|panic| Err(panic.to_string()));
        let LoadedRoutes { table, fingerprint } = loaded.map_err(|faults| {
            warn!(%faults, "route table not replaced");
            ReloadError::Faults(faults)
        })?;
        if self.routes_fingerprint.as_ref() == Some(&fingerprint) {
            let live = self.gate.table();
            let routes = live.table().routes.len();
            return Ok(Reloaded { generation: live.generation(), routes, changed: false, still_running: 0 });
        }
        let base_path = self.gate.table().table().base_path.clone();
        let live = self.gate.replace_table(table);
        if live.table().base_path != base_path {
            self.schema.begin_anew();
            self.publish();
        }
        self.routes_fingerprint = Some(fingerprint);
        let gate = Arc::clone(&self.gate);
        let emptied = async {
            while gate.in_flight_of_old_tables() > 0 {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        // At the limit the report says how many still run; every flip waits for these.
        let _ = self.clerk.serve(tokio::time::timeout(LONGEST_WAIT, emptied)).await;
        let (generation, routes) = (live.generation(), live.table().routes.len());
        let still_running = self.gate.in_flight_of_old_tables();
        info!(generation, routes, still_running, "route table replaced");
        Ok(Reloaded { generation, routes, changed: true, still_running })
    }
}
