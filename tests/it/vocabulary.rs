//! The shortest use of each word in `support`, to be copied from.

use serde_json::json;

use crate::support::{Gateway, PATIENCE, Scripted, Ucs, admin, request};

#[test]
fn a_request_goes_through_to_the_stand_in_and_back() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let reply = request(gateway.data, "GET /metadata/identification-keys", &[], b"");
    assert_eq!((reply.status, reply.refusal()), (200, None), "{reply:?}");
    assert_eq!(ucs.asked("GET", "/metadata/identification-keys").len(), 1, "{:?}", ucs.record());
}

#[test]
fn a_scripted_upstream_sees_the_bytes() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let reply = request(gateway.data, "GET /profiles/1?x=y", &[], b"");
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    assert!(upstream.received_text().starts_with("GET /profiles/1?x=y HTTP/1.1\r\n"), "{}", upstream.received_text());
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_operator_flips_and_counts() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let flipped = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "test"}));
    assert_eq!(flipped.status, 200, "{}", flipped.text());
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance");
    let refused = request(gateway.data, "GET /profiles/1", &[], b"");
    assert_eq!((refused.status, refused.refusal()), (503, Some("mode")));
    let series = "ucs_gateway_requests_total{class=\"profile\",outcome=\"refused_mode\"}";
    crate::support::eventually("the refusal is counted", || admin::metric(&gateway, series) == 1.0);
}

#[test]
fn it_ends_when_asked_to() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    assert!(gateway.terminate(PATIENCE).success());
}
