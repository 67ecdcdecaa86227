//! A member's word of itself in the store, under its lease: what operators see of it at another member. Nothing is decided by
//! it. At rest nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control::FleetLink;
use crate::gate::{Gate, Published};
use crate::policy::fleet::Closed;
use crate::policy::mode::{OperationCount, Phase};

/// The time between two looks at the requests in flight.
const EVERY: Duration = Duration::from_secs(3);

/// The same while a flip is under way, as others wait for this member.
const SWITCHING: Duration = Duration::from_millis(500);

/// After a change: a flip that is over by then is told once.
const SETTLING: Duration = Duration::from_millis(100);

/// Tells it for as long as the gateway runs.
pub(super) async fn tell(link: FleetLink, gate: Arc<Gate>) {
    let (mut published, mut routes) = (gate.watch(), link.routes.clone());
    let mut last = Value::Null;
    // Before it has joined, the name may be that of another process.
    if published.wait_for(|published| published.record.is_some()).await.is_err() {
        return;
    }
    loop {
        let now = published.borrow_and_update().clone();
        if now.closed == Some(Closed::Leaving) {
            return;
        }
        let word = word_of(&gate, &now, &routes.borrow_and_update());
        if word != last {
            let mut told = word.clone();
            told["time"] = json!(Timestamp::now());
            link.store.set_alive(&link.node, told.to_string().into_bytes());
            last = word;
        }
        let switching = now.record.as_ref().is_some_and(|record| record.phase == Phase::Switching);
        tokio::time::sleep(SWITCHING).await;
        if !switching {
            tokio::select! {
                _ = published.changed() => {}
                _ = routes.changed() => {}
                () = tokio::time::sleep(EVERY) => continue,
            }
            tokio::time::sleep(SETTLING).await;
        }
    }
}

fn word_of(gate: &Gate, published: &Published, routes: &str) -> Value {
    let record = published.record.as_deref();
    let mut in_flight: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for (_, counts) in gate.counts_of_all_tables() {
        if counts.in_flight > 0 {
            *in_flight.entry(counts.class).or_default() += counts.in_flight;
        }
    }
    let from = record.and_then(|record| record.from);
    let running = from.map(|from| gate.running(Some(from))).unwrap_or_default();
    let running = running.into_iter().filter(|counts| counts.in_flight > 0);
    let waits_for = running.map(|counts| OperationCount::new(&*counts.operation, &*counts.class, counts.in_flight));
    json!({
        "revision": record.map(|record| record.revision),
        "mode": record.map(|record| record.mode),
        "phase": record.map(|record| record.phase),
        "closed": closed(published),
        "in_flight": in_flight,
        "waits_for": OperationCount::bounded(waits_for.collect()),
        "upstream": published.upstream,
        "routes": routes,
    })
}

fn closed(published: &Published) -> Option<&'static str> {
    let of_member = published.closed.map(Closed::as_str);
    of_member.or(published.local.as_ref().map(|_| "local_close"))
}
