//! `GET /fleet`: the members of the fleet, as the store holds them now; and the rehearsal of a change by all of them. It reads
//! nothing by itself: [`FleetReader`] asks the tasks that do.

use hyper::StatusCode;
use tokio::sync::oneshot;

use super::response::{self, AdminResponse, Problem};
use super::state::{AdminState, FleetReader};
use crate::fleet_view::{MemberState, RehearsalView};
use crate::policy::mode::ModeChange;
use crate::telemetry::FleetSample;

/// The fleet, by a read that began after the call came.
pub(super) async fn show(state: &AdminState) -> Result<AdminResponse, Problem> {
    let Some(reader) = &state.parts.fleet else {
        let detail = "this gateway is not in a fleet: its mode record is in its state directory (--store file)";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_fleet", detail));
    };
    let (sender, reply) = oneshot::channel();
    let asked = reader.read.send(sender).await.is_ok();
    let fresh = if asked { reply.await.ok().flatten() } else { None };
    match fresh {
        Some(view) => Ok(response::json(StatusCode::OK, &*view)),
        None => {
            let detail = "the store of the fleet has not been read since this gateway started";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).retry_after(5))
        }
    }
}

/// How a change would go at every member. It takes as long as their drains would.
pub(super) async fn rehearse(
    state: &AdminState,
    reader: &FleetReader,
    change: ModeChange,
) -> Result<RehearsalView, Problem> {
    let drain_timeout = change.drain_timeout.or(Some(state.parts.drain_timeout));
    let (sender, reply) = oneshot::channel();
    let asked = reader.rehearse.send((ModeChange { drain_timeout, ..change }, sender)).await.is_ok();
    let view = if asked { reply.await.ok().flatten() } else { None };
    view.ok_or_else(|| {
        let detail = "the store of the fleet does not respond; nothing was changed";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).retry_after(5)
    })
}

/// The last known fleet for a scrape of the metrics.
pub(super) fn sample(reader: &FleetReader) -> Option<FleetSample> {
    let latest = reader.latest.borrow();
    let view = latest.as_ref()?;
    Some(FleetSample {
        members: MemberState::ALL.map(|state| (state.as_str(), view.count(state) as u64)).to_vec(),
        is_store_reachable: view.store_reachable,
        read_at: view.read_at.as_second().cast_unsigned(),
        routes_differ: view.routes_differ,
        is_home: view.is_home,
    })
}
