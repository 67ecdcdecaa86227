//! What the gateway promises when its surroundings misbehave: a UCS that refuses, hangs, is gone, lies or starts anew, and
//! what takes a flip back. The same promises as elsewhere, under worse luck.

use serde_json::{Value, json};

use crate::support::{Gateway, Reply, admin, eventually};

/// Flips, their deadlines and their ends.
mod flips;
/// Which looks at UCS may close production.
mod schema;
/// A UCS whose every answer a test may change.
pub(crate) mod script;
/// Who leads when both, or one of them, start anew.
mod starts;
/// What UCS says to Set Server Mode and of its own mode.
mod ucs_mode;

/// Looks at UCS often, so that no test waits for it.
const QUICK: [&str; 6] = ["--upstream-poll", "100ms", "--orphan-grace", "50ms", "--schema-probe-interval", "100ms"];

fn flip(gateway: &Gateway, mode: &str) -> Reply {
    admin::set_mode(gateway, &json!({"mode": mode}))
}

/// The mode is in force and nothing is under way.
#[track_caller]
fn is_settled(gateway: &Gateway, mode: &str) {
    let record = admin::mode(gateway);
    assert_eq!((&record["mode"], &record["phase"]), (&json!(mode), &json!("settled")), "{record}");
}

fn alarm(gateway: &Gateway) -> String {
    admin::mode(gateway)["alarm"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn alarm_ends(gateway: &Gateway) {
    eventually("the alarm ends", || admin::mode(gateway)["alarm"].is_null());
}

/// UCS did not do it, so the gateway did not either.
#[track_caller]
fn refused_with(reply: &Reply, status: u16, reason: &str) -> Value {
    assert_eq!((reply.status, &reply.json()["reason"]), (status, &json!(reason)), "{}", reply.text());
    reply.json()
}
