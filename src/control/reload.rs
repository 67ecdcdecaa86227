//! A reload of the route table: read, compare, swap, wait a while for what the old table had admitted.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::control::Control;
use crate::control_handle::{ReloadError, Reloaded};
use crate::policy::table::RouteTable;

/// How long a reload waits for requests of the old table before it reports.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(1);

/// Reads the table's file. Called on a blocking thread; the error is all faults, each with its place.
pub(crate) type RouteLoader = Arc<dyn Fn() -> Result<LoadedRoutes, String> + Send + Sync>;

/// A table that was read and has no fault.
#[derive(Debug)]
pub(crate) struct LoadedRoutes {
    /// The table.
    pub table: RouteTable,
    /// Equal for equal content: a hash of the text.
    pub fingerprint: String,
}

impl Control {
    pub(super) async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let load = Arc::clone(&self.load_routes);
        let loaded = self.clerk.serve(tokio::task::spawn_blocking(move || load())).await;
        let loaded = loaded.unwrap_or_else(|panic| Err(panic.to_string()));
        let LoadedRoutes { table, fingerprint } = loaded.map_err(|faults| {
            warn!(%faults, "the route table was not replaced");
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
                tokio::time::sleep(LOOK).await;
            }
        };
        // At the limit the report says how many still run; a flip waits for these whatever they are.
        let _ = self.clerk.serve(tokio::time::timeout(LONGEST_WAIT, emptied)).await;
        let (generation, routes) = (live.generation(), live.table().routes.len());
        let still_running = self.gate.in_flight_of_old_tables();
        info!(generation, routes, still_running, "the route table was replaced");
        Ok(Reloaded { generation, routes, changed: true, still_running })
    }
}
