//! One wrong look closes nothing: a missing schema counts only when UCS is known to be up, and says so twice.

use serde_json::json;

use super::script::Ucs;
use super::{QUICK, is_settled};
use crate::support::{Gateway, TempDir, admin, eventually};

const PROBE: &str = "GET /metadata/profiles";

fn knows(gateway: &Gateway, expected: &str) {
    eventually(&format!("the schema is known to be {expected}"), || admin::mode(gateway)["schema"] == expected);
}

#[test]
fn a_ucs_that_answers_the_same_to_everything_while_it_starts_closes_nothing() {
    for all in [(404, ""), (200, "[]"), (200, "{}")] {
        let ucs = Ucs::start("production");
        let gateway = Gateway::start(ucs.upstream.address, &QUICK);
        knows(&gateway, "defined");
        ucs.polled_again();
        let revision = admin::mode(&gateway)["revision"].clone();
        ucs.with(|says| says.all = Some(all));
        // More than a UCS without a status would be given.
        ucs.asked_again(PROBE, 15);
        knows(&gateway, "unknown");
        is_settled(&gateway, "production");
        ucs.with(|says| says.all = None);
        knows(&gateway, "defined");
        assert_eq!(admin::mode(&gateway)["revision"], revision, "{all:?}");
    }
}

#[test]
fn one_wrong_look_closes_nothing_and_two_do() {
    for wrong in [(404, ""), (200, "[]"), (200, "{}")] {
        let ucs = Ucs::start("production");
        let gateway = Gateway::start(ucs.upstream.address, &QUICK);
        knows(&gateway, "defined");
        let right = ucs.with(|says| says.schema[0]);
        for _ in 0..3 {
            ucs.with(|says| says.schema = vec![right, wrong]);
            ucs.asked_again(PROBE, 3);
            knows(&gateway, "defined");
            is_settled(&gateway, "production");
        }
        ucs.with(|says| says.schema = vec![wrong]);
        eventually("it is closed", || admin::mode(&gateway)["mode"] == "maintenance");
        assert_eq!(admin::mode(&gateway)["cause"], "no_profile_schema", "{wrong:?}");
    }
}

fn table(dir: &TempDir, base_path: &str) -> String {
    let text =
        include_str!("../../../routes.yaml").replacen("base_path: \"\"", &format!("base_path: {base_path:?}"), 1);
    dir.file("routes.yaml", &text).to_str().unwrap().to_owned()
}

fn reload(gateway: &Gateway) {
    let reloaded = admin::call(gateway, "POST /routes/reload", None);
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
}

#[test]
fn a_slip_in_the_base_path_of_a_reload_closes_nothing() {
    let dir = TempDir::new();
    let routes = table(&dir, "");
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--routes", &routes]].concat());
    knows(&gateway, "defined");
    ucs.polled_again();
    // Of this path nothing but the status answers.
    table(&dir, "/slip");
    reload(&gateway);
    knows(&gateway, "unknown");
    ucs.asked_again("GET /slip/metadata/profiles", 15);
    is_settled(&gateway, "production");
    assert_eq!(admin::mode(&gateway)["schema"], "unknown");
    table(&dir, "");
    reload(&gateway);
    knows(&gateway, "defined");
}

#[test]
fn a_probe_that_spans_a_reload_says_nothing_of_the_new_path() {
    let dir = TempDir::new();
    let routes = table(&dir, "");
    let ucs = Ucs::start("production");
    let gateway = Gateway::start(ucs.upstream.address, &[&QUICK[..], &["--routes", &routes]].concat());
    knows(&gateway, "defined");
    ucs.with(|says| says.hangs_at = Some("GET /metadata/profiles"));
    ucs.asked_again(PROBE, 1);
    table(&dir, "/slip");
    reload(&gateway);
    ucs.with(|says| says.hangs_at = None);
    ucs.asked_again("GET /slip/metadata/profiles", 15);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["schema"]), (&json!("production"), &json!("unknown")), "{record}");
    let remembered = std::fs::read_to_string(gateway.state_dir().join("schema-path-answered")).unwrap();
    assert_eq!(remembered, "/metadata/profiles");
}
