//! `GET /traffic`, and the data of the event `traffic`: the requests that ended lately, and the operations in flight with the
//! age of the oldest request.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::forecast::counted;
use super::response::{self, AdminResponse};
use super::state::AdminState;
use super::traffic::{EVERY, Sample};
use crate::gate::Gate;

/// The most operations that are named as running.
const NAMED: usize = 50;

/// The samples of the last minutes, and the requests in flight now.
pub(super) fn show(state: &AdminState) -> AdminResponse {
    let document = json!({
        "seconds": EVERY.as_secs(),
        "samples": state.traffic.samples(),
        "running": running(&state.parts.gate),
    });
    response::json(StatusCode::OK, &document)
}

pub(super) fn event(sample: &Sample, gate: &Gate) -> Value {
    json!({"at": sample.at, "classes": sample.classes, "running": running(gate)})
}

/// The operations in flight, the most frequent first, with the milliseconds since their oldest request began.
fn running(gate: &Gate) -> Vec<Value> {
    let oldest = gate.oldest_running();
    let mut running = gate.running(None);
    running.sort_by_key(|counts| std::cmp::Reverse(counts.in_flight));
    running.truncate(NAMED);
    let with_age = running.iter().map(|counts| {
        let mut document = counted(counts);
        let age = oldest.get(&counts.operation).map(|since| since.elapsed().as_millis());
        document["oldest_ms"] = json!(age.and_then(|age| u64::try_from(age).ok()).unwrap_or(0));
        document
    });
    with_age.collect()
}
