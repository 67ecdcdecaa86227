//! What machines ask: probes, metrics, and the page that people open.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{bearer, plain};
use crate::support::tls::{Authority, tunnel, words};
use crate::support::{Connection, Gateway, PATIENCE, Ucs, Upload, admin, eventually};

/// How the gateway says that it is ready, without a credential and by any name.
fn readiness(gateway: &Gateway) -> (u16, serde_json::Value) {
    let reply = plain(gateway, "GET /readyz", &[("Host", "pod-17.example")]);
    (reply.status, reply.json())
}

#[test]
fn every_mode_is_ready_and_so_is_a_flip() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let (status, document) = readiness(&gateway);
    assert_eq!((status, &document["mode"], &document["ready"]), (200, &json!("production"), &json!(true)));
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    let (status, document) = readiness(&gateway);
    assert_eq!((status, &document["phase"]), (200, &json!("switching")));
    assert_eq!(upload.finish().status, 201);
    assert_eq!(asker.read_reply().status, 200);
    let (status, document) = readiness(&gateway);
    assert_eq!((status, &document["mode"], &document["phase"]), (200, &json!("maintenance"), &json!("settled")));
    assert_eq!(document["revision"], admin::mode(&gateway)["revision"]);
    assert_eq!(plain(&gateway, "GET /livez", &[]).status, 200);
}

#[test]
fn who_stops_is_alive_and_not_ready() {
    let ucs = Ucs::usual();
    let mut gateway = Gateway::bare(ucs.address, &[]);
    let upload = Upload::begin(&gateway, &ucs);
    gateway.signal("TERM");
    eventually("it is not ready any more", || readiness(&gateway).0 == 503);
    let (_, document) = readiness(&gateway);
    assert_eq!((&document["reason"], &document["ready"]), (&json!("shutting_down"), &json!(false)));
    assert_eq!(plain(&gateway, "GET /livez", &[]).status, 200);
    assert_eq!(admin::mode(&gateway)["in_flight"]["production"], 1, "what runs can still be looked at");
    assert_eq!(upload.finish().status, 201);
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
}

#[test]
fn what_a_client_chooses_is_no_label() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let lines = || admin::call(&gateway, "GET /metrics", None).text();
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let ask = |turn: usize| {
        let marks = [("Host", format!("sesame{turn}.example")), ("X-Request-Id", format!("sesame-{turn}"))];
        let headers: Vec<(&str, &str)> = marks.iter().map(|(name, value)| (*name, &**value)).collect();
        for line in ["GET /profiles/sesame", "GET /sesame", "SESAME /profiles/1", "GET /%2e%2e/sesame"] {
            crate::support::request(gateway.data, &format!("{line}{turn}"), &headers, b"");
        }
    };
    let counted = |text: &str| {
        let counts = text.lines().filter(|line| line.starts_with("ucs_gateway_requests_total{"));
        counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    ask(0);
    // A request is counted just after its answer is out.
    eventually("the first requests are counted", || counted(&lines()) >= 4.0);
    let before = lines();
    (1..50).for_each(ask);
    let after = lines();
    assert!(!after.to_lowercase().contains("sesame"), "{after}");
    assert_eq!(series(&after), series(&before), "their number does not grow with what clients send");
}

#[test]
fn metrics_want_a_credential_unless_opened() {
    let ucs = Ucs::usual();
    let closed = Gateway::bare(ucs.address, &[]);
    assert_eq!(plain(&closed, "GET /metrics", &[]).status, 401);
    let reply = plain(&closed, "GET /metrics", &[("Authorization", &bearer(&closed.token()))]);
    assert_eq!(reply.status, 200);
    let open = Gateway::bare(ucs.address, &["--metrics-open"]);
    let reply = plain(&open, "GET /metrics", &[]);
    assert_eq!(reply.status, 200);
    let kind = reply.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(reply.text().ends_with("# EOF\n"), "OpenMetrics ends so");
    assert_eq!(plain(&open, "GET /mode", &[]).status, 401, "the flag opens nothing else");
}

#[test]
fn every_metric_of_the_documentation_is_there_and_none_beside() {
    let ucs = Ucs::usual();
    let authority = Authority::new("one");
    let flags = authority.issue("server").flags("--tls");
    let gateway = Gateway::bare(ucs.address, &[&words(&flags)[..], &["--metrics-open"]].concat());
    // Some are printed only when there is something to say.
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "2h"})).status, 200);
    let later = json!({"mode": "production", "at": "2999-01-01T00:00:00Z"});
    assert_eq!(admin::set_mode(&gateway, &later).status, 202);
    let mut nameless = Connection::open(tunnel(gateway.data, authority.client(None)));
    nameless.send("GET /profiles HTTP/1.1\r\n\r\n");
    assert_eq!(nameless.read_reply().status, 400);
    let text = || plain(&gateway, "GET /metrics", &[]).text();
    eventually("the fault is counted", || text().contains("ucs_gateway_wire_faults_total{"));
    let text = text();
    let printed: BTreeMap<_, _> = text.lines().filter_map(series).collect();
    let page = include_str!("../../../docs/operations.md");
    let table = page.split("| metric | what |").nth(1).unwrap().split("\n\n").next().unwrap();
    // Those of a fleet are printed by its members: see fleet::view.
    let is_own = |(name, _): &(String, Vec<String>)| !name.starts_with("ucs_gateway_fleet_");
    let named: BTreeMap<_, _> = table.split('`').filter_map(series).filter(is_own).collect();
    assert_eq!(named, printed);
    let metric = regex::Regex::new("ucs_gateway_[a-z_]+").unwrap();
    for name in metric.find_iter(page).map(|found| found.as_str()).filter(|name| !name.contains("_fleet_")) {
        assert!(printed.contains_key(name), "{name} is not printed");
    }
    assert!(!text.contains("path="), "no metric is labelled by a path");
}

/// Name and names of labels of a line such as `a_total{b="c"} 1`, or of the documentation's `a_total{b}`. The parts of a
/// histogram count as one.
fn series(line: &str) -> Option<(String, Vec<String>)> {
    let word = line.split(' ').next().filter(|word| word.starts_with("ucs_gateway_"))?;
    let (name, labels) = word.split_once('{').unwrap_or((word, "}"));
    let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split('=').next());
    let labels = labels.filter(|label| !label.is_empty() && *label != "le").map(str::to_owned).collect();
    Some((parts.unwrap_or(name).to_owned(), labels))
}

#[test]
fn the_page_comes_without_a_credential_and_lets_nothing_else_in() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let reply = plain(&gateway, "GET /", &[]);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = reply.header("content-security-policy").unwrap();
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe-"), "{policy}");
    let text = reply.text();
    for (tag, rule) in [("script", "script-src"), ("style", "style-src")] {
        let inline = text.split(&format!("<{tag}>")).nth(1).unwrap().split(&format!("</{tag}>")).next().unwrap();
        let hash = STANDARD.encode(Sha256::digest(inline));
        assert!(policy.contains(&format!("{rule} 'sha256-{hash}'")), "the only {tag} that may run: {policy}");
    }
    assert!(!text.contains(&gateway.token()), "the page holds no token");
    for foreign in ["src=\"http", "href=\"http", "src=\"//", "@import", "onclick="] {
        assert!(!text.contains(foreign), "{foreign}");
    }
}
