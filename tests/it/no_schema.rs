//! A UCS without a profile schema: when the gateway believes it, what it then does, and how one gets out of it.

use serde_json::json;
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use crate::support::{Gateway, PATIENCE, Reply, TempDir, Ucs, admin, eventually, request};

/// Looks at UCS's mode often, so that no test waits for it.
const QUICK: &[&str] = &["--upstream-poll", "50ms", "--orphan-grace", "50ms"];

const PROBE: &str = "/metadata/profiles";

fn start(ucs: &Ucs, extra: &[&str]) -> Gateway {
    Gateway::start(ucs.address, &[QUICK, &["--schema-probe-interval", "50ms"], extra].concat())
}

/// The same, but it probes only when there is a reason to.
fn start_with_few_probes(ucs: &Ucs, extra: &[&str]) -> Gateway {
    Gateway::start(ucs.address, &[QUICK, &["--schema-probe-interval", "1h"], extra].concat())
}

fn schema(gateway: &Gateway) -> String {
    admin::mode(gateway)["schema"].as_str().unwrap().to_owned()
}

fn knows(gateway: &Gateway, expected: &str) {
    eventually(&format!("the schema is known to be {expected}"), || schema(gateway) == expected);
}

/// Waits for probes that began after now.
fn probed_again(ucs: &Ucs) {
    let before = ucs.asked("GET", PROBE).len();
    eventually("three more probes", || ucs.asked("GET", PROBE).len() >= before + 3);
}

fn switched_by_itself(gateway: &Gateway) {
    eventually("the gateway goes to maintenance", || {
        let record = admin::mode(gateway);
        record["mode"] == "maintenance" && record["phase"] == "settled"
    });
    let record = admin::mode(gateway);
    assert_eq!((&record["actor"]["kind"], &record["cause"]), (&json!("automatic"), &json!("no_profile_schema")));
}

fn create_profile(gateway: &Gateway) -> Reply {
    request(gateway.data, "POST /profiles", &[("Content-Type", "application/json")], br#"{"FirstName":"Ada"}"#)
}

fn set_server_mode(gateway: &Gateway, mode: &str) -> Reply {
    let credential = format!("Bearer {}", gateway.token());
    let body = format!("{{\"mode\":\"{mode}\"}}");
    request(gateway.data, "POST /server/mode", &[("Authorization", &credential)], body.as_bytes())
}

#[test]
fn a_schema_that_is_there_keeps_production_open() {
    let ucs = Ucs::usual();
    let gateway = start(&ucs, &[]);
    knows(&gateway, "defined");
    let revision = admin::mode(&gateway)["revision"].clone();
    probed_again(&ucs);
    assert_eq!(create_profile(&gateway).status, 201);
    assert_eq!((&admin::mode(&gateway)["revision"], schema(&gateway).as_str()), (&revision, "defined"));
}

#[test]
fn an_empty_list_means_undefined_and_closes_production() {
    let ucs = Ucs::start(StandInOptions { profile_schema: false, empty_schema_list: true, ..StandInOptions::new() });
    ucs.control().change(|options| options.auto_maintenance = false);
    let gateway = start(&ucs, &[]);
    switched_by_itself(&gateway);
    assert_eq!(schema(&gateway), "undefined");
    assert_eq!(ucs.control().mode(), Mode::Maintenance, "UCS is taken along");
    let refused = create_profile(&gateway);
    assert_eq!((refused.status, refused.refusal()), (503, Some("mode")), "{refused:?}");
    assert_eq!(refused.json()["cause"], "no_profile_schema");
    assert_eq!(ucs.asked("POST", "/profiles").len(), 0);
}

#[test]
fn a_schema_that_vanishes_in_production_is_noticed() {
    let ucs = Ucs::usual();
    let gateway = start(&ucs, &[]);
    knows(&gateway, "defined");
    ucs.control().set_profile_schema(false);
    switched_by_itself(&gateway);
    assert_eq!(create_profile(&gateway).refusal(), Some("mode"));
    assert_eq!(admin::metric(&gateway, "ucs_gateway_schema_undefined"), 1.0);
}

#[test]
fn the_404_of_ucs_is_passed_on_and_looked_into_at_once() {
    let ucs = Ucs::usual();
    let gateway = start_with_few_probes(&ucs, &["--upstream-mode", "off"]);
    knows(&gateway, "defined");
    ucs.control().set_profile_schema(false);
    ucs.control().change(|options| options.auto_maintenance = false);
    let first = create_profile(&gateway);
    assert_eq!((first.status, first.refusal()), (404, None), "UCS's own answer: {first:?}");
    switched_by_itself(&gateway);
    let later = create_profile(&gateway);
    assert_eq!((later.status, later.refusal()), (503, Some("mode")), "{later:?}");
}

#[test]
fn a_404_means_undefined_after_a_restart_too() {
    let dir = TempDir::new();
    let ucs = Ucs::usual();
    ucs.control().change(|options| options.auto_maintenance = false);
    let alone = [QUICK, &["--schema-probe-interval", "50ms", "--upstream-mode", "off"]].concat();
    let first = Gateway::start_in(dir.path(), ucs.address, &alone);
    knows(&first, "defined");
    assert!(first.terminate(PATIENCE).success());
    ucs.control().set_profile_schema(false);
    let second = Gateway::start_in(dir.path(), ucs.address, &alone);
    switched_by_itself(&second);
}

#[test]
fn a_404_of_a_path_that_never_answered_means_nothing() {
    let ucs = Ucs::start(StandInOptions { schema_path_known: false, ..StandInOptions::new() });
    let gateway = start(&ucs, &[]);
    let revision = admin::mode(&gateway)["revision"].clone();
    probed_again(&ucs);
    for number in 0..5 {
        let reply = request(gateway.data, &format!("GET /profiles/unknown-{number}"), &[], b"");
        assert_eq!((reply.status, reply.refusal()), (404, None), "{reply:?}");
    }
    probed_again(&ucs);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["schema"]), (&json!("production"), &json!("unknown")));
    assert_eq!(record["revision"], revision);
    assert_eq!(create_profile(&gateway).status, 201);
}

#[test]
fn a_404_counts_once_ucs_refused_to_create_a_profile() {
    let options = StandInOptions { schema_path_known: false, profile_schema: false, ..StandInOptions::new() };
    let ucs = Ucs::start(options);
    ucs.control().change(|options| options.auto_maintenance = false);
    let gateway = start(&ucs, &[]);
    probed_again(&ucs);
    assert_eq!((admin::mode(&gateway)["mode"].as_str(), schema(&gateway).as_str()), (Some("production"), "unknown"));
    assert_eq!(create_profile(&gateway).status, 404);
    switched_by_itself(&gateway);
}

#[test]
fn a_404_counts_once_ucs_has_closed_itself() {
    let ucs = Ucs::start(StandInOptions { profile_schema: false, ..StandInOptions::new() });
    let gateway = start(&ucs, &[]);
    probed_again(&ucs);
    assert_eq!((admin::mode(&gateway)["mode"].as_str(), schema(&gateway).as_str()), (Some("production"), "unknown"));
    // As documented: the operation gets 404, and UCS goes to maintenance.
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 404);
    eventually("UCS closed itself", || ucs.control().mode() == Mode::Maintenance);
    eventually("the gateway is in maintenance", || admin::mode(&gateway)["mode"] == "maintenance");
    knows(&gateway, "undefined");
    assert_eq!(ucs.asked("GET", "/profiles/1").len(), 1);
}

#[test]
fn a_clients_404_alone_never_flips() {
    let ucs = Ucs::usual();
    let gateway = start_with_few_probes(&ucs, &[]);
    knows(&gateway, "defined");
    // The probe after the start and those after doubts are all there are.
    let probes = ucs.asked("GET", PROBE).len();
    let revision = admin::mode(&gateway)["revision"].clone();
    for number in 0..20 {
        let reply = request(gateway.data, &format!("GET /profiles/unknown-{number}"), &[], b"");
        assert_eq!((reply.status, reply.refusal()), (404, None), "{reply:?}");
    }
    eventually("the doubt is looked into", || ucs.asked("GET", PROBE).len() > probes);
    assert!(ucs.asked("GET", PROBE).len() <= probes + 2, "at most once a second");
    let record = admin::mode(&gateway);
    assert_eq!((&record["revision"], &record["schema"]), (&revision, &json!("defined")));
}

#[test]
fn failures_of_the_probe_change_nothing() {
    let ucs = Ucs::usual();
    let gateway = start(&ucs, &["--upstream-mode", "off"]);
    knows(&gateway, "defined");
    let revision = admin::mode(&gateway)["revision"].clone();
    for status in [500, 503, 401, 400] {
        ucs.control().set_failing(Some(status));
        probed_again(&ucs);
        knows(&gateway, "unknown");
        let record = admin::mode(&gateway);
        assert_eq!((&record["mode"], &record["revision"]), (&json!("production"), &revision), "{status}");
    }
    ucs.control().set_failing(None);
    knows(&gateway, "defined");
}

#[test]
fn production_is_not_to_be_had_until_the_schema_is_back() {
    let ucs = Ucs::start(StandInOptions { profile_schema: false, empty_schema_list: true, ..StandInOptions::new() });
    let gateway = start(&ucs, &[]);
    switched_by_itself(&gateway);
    let revision = admin::mode(&gateway)["revision"].clone();

    let client = set_server_mode(&gateway, "production");
    assert_eq!((client.status, client.refusal()), (404, Some("no_profile_schema")), "{client:?}");
    let operator = admin::set_mode(&gateway, &json!({"mode": "production"}));
    assert_eq!((operator.status, &operator.json()["reason"]), (409, &json!("no_profile_schema")));
    for reply in [&client, &operator] {
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("profile schema"), "{detail}");
    }
    assert!(operator.json()["detail"].as_str().unwrap().contains("force"), "how to go on: {}", operator.text());
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["revision"]), (&json!("maintenance"), &revision));

    ucs.control().set_profile_schema(true);
    let back = set_server_mode(&gateway, "production");
    assert_eq!(back.status, 200, "the change itself looks again: {back:?}");
    assert_eq!(create_profile(&gateway).status, 201);
}

/// UCS keeps nobody in production, but a disk that takes no record does.
#[test]
fn while_production_cannot_be_left_what_needs_a_schema_is_404() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    ucs.control().change(|options| options.auto_maintenance = false);
    let flags = [QUICK, &["--schema-probe-interval", "1h"]].concat();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    knows(&gateway, "defined");
    gateway.limit_files(Some(std::fs::metadata(dir.path().join("journal.jsonl")).unwrap().len() + 100));
    ucs.control().set_profile_schema(false);
    assert_eq!(create_profile(&gateway).refusal(), None, "UCS's own 404, which is looked into");
    let tried = "ucs_gateway_flips_total{outcome=\"not_durable\"}";
    eventually("production cannot be left", || admin::metric(&gateway, tried) >= 1.0);
    knows(&gateway, "undefined");
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["phase"]), (&json!("production"), &json!("settled")), "{record}");
    for line in ["POST /profiles", "GET /profiles/1", "POST /profiles/import"] {
        let refused = request(gateway.data, line, &[], b"");
        assert_eq!((refused.status, refused.refusal()), (404, Some("no_profile_schema")), "{line} {refused:?}");
        let body = refused.json();
        assert_eq!((&body["title"], &body["mode"]), (&json!("No profile schema"), &json!("production")), "{body}");
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("({line}) needs a profile schema, and none is defined at UCS")), "{detail}");
    }
    assert_eq!(request(gateway.data, "GET /services/1", &[], b"").refusal(), None, "this needs none");
    assert_eq!(ucs.asked("POST", "/profiles").len(), 1, "UCS saw none of these");
    assert!(admin::metric(&gateway, tried) < 3.0, "it is tried again with the next probe, not all the time");
}

#[test]
fn force_opens_production_until_the_schema_has_been_seen() {
    let ucs = Ucs::start(StandInOptions { profile_schema: false, empty_schema_list: true, ..StandInOptions::new() });
    ucs.control().change(|options| options.auto_maintenance = false);
    let gateway = start(&ucs, &[]);
    switched_by_itself(&gateway);
    let forced = admin::set_mode(&gateway, &json!({"mode": "production", "force": true}));
    assert_eq!(forced.status, 200, "{}", forced.text());
    knows(&gateway, "undefined");
    probed_again(&ucs);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["force"]), (&json!("production"), &json!(true)), "force holds it back");

    let passed = create_profile(&gateway);
    assert_eq!(
        (passed.status, passed.refusal()),
        (404, None),
        "whoever forces knows better, so UCS decides: {passed:?}"
    );

    ucs.control().set_profile_schema(true);
    eventually("force ends with the first schema", || admin::mode(&gateway)["force"] == false);
    assert_eq!(create_profile(&gateway).status, 201);
    ucs.control().set_profile_schema(false);
    switched_by_itself(&gateway);
}

#[test]
fn without_a_probe_nothing_is_known_and_nothing_done() {
    let ucs = Ucs::start(StandInOptions { profile_schema: false, empty_schema_list: true, ..StandInOptions::new() });
    ucs.control().change(|options| options.auto_maintenance = false);
    let gateway = start(&ucs, &["--schema-probe", "off"]);
    for _ in 0..3 {
        let reply = create_profile(&gateway);
        assert_eq!((reply.status, reply.refusal()), (404, None), "{reply:?}");
    }
    let flipped = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(flipped.status, 200);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production"})).status, 200);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["schema"]), (&json!("production"), &json!("unknown")));
    assert_eq!(ucs.asked("GET", PROBE).len(), 0);
}

#[test]
fn another_path_can_be_probed_below_the_base_path() {
    let dir = TempDir::new();
    let table = include_str!("../../routes.yaml").replacen("base_path: \"\"", "base_path: \"/cv\"", 1);
    let routes = dir.file("routes.yaml", &table);
    let ucs = Ucs::start(StandInOptions { base_path: "/cv".to_owned(), ..StandInOptions::new() });
    let probe = ["--routes", routes.to_str().unwrap(), "--schema-probe", "/metadata/business-attributes"];
    let gateway = start(&ucs, &probe);
    knows(&gateway, "defined");
    assert!(!ucs.asked("GET", "/cv/metadata/business-attributes").is_empty());
}
