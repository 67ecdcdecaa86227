//! What operators see of a fleet: `GET /fleet`, `fleet list`, metrics.

use serde_json::json;

use crate::support::{Gateway, Ucs, admin};

#[test]
fn a_gateway_alone_is_in_no_fleet() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let reply = admin::call(&gateway, "GET /fleet", None);
    assert_eq!((reply.status, &reply.json()["reason"]), (404, &json!("no_fleet")));
    assert!(!admin::call(&gateway, "GET /metrics", None).text().contains("ucs_gateway_fleet_"));
}
