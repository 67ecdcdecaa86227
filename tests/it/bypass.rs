//! A bypass: who may pass the mode with one request, when not, and that neither the field nor the credential reaches UCS.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::tool::run;
use crate::support::{Connection, Gateway, Reply, Scripted, TempDir, Ucs, eventually, http, request};

const PROFILE: &str = "GET /profiles/1";

/// A gateway with two principals: one that may bypass, one that may see and set the mode.
struct Rig {
    gateway: Gateway,
    tester: String,
    operator: String,
    _dir: TempDir,
}

impl Rig {
    fn new(upstream: SocketAddr, extra: &[&str]) -> Rig {
        Rig::start(|flags| Gateway::bare(upstream, &[flags, extra].concat()))
    }

    /// `start` gets the flags that name the principals.
    fn start(start: impl FnOnce(&[&str]) -> Gateway) -> Rig {
        let dir = TempDir::new();
        let (tester, its_lines) = principal("tester", "mode:bypass");
        let (operator, more_lines) = principal("operator", "mode:read,mode:set");
        let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{its_lines}{more_lines}"));
        let gateway = start(&["--access", access.to_str().unwrap()]);
        Rig { gateway, tester, operator, _dir: dir }
    }

    fn admin(&self, line: &str, body: Option<&Value>) -> Reply {
        let credential = format!("Bearer {}", self.operator);
        let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        request(self.gateway.admin, line, &headers, body.as_bytes())
    }

    #[track_caller]
    fn set(&self, change: &Value) {
        let reply = self.admin("PUT /mode", Some(change));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// With the field, and this token.
    fn bypass(&self, line: &str, token: &str) -> Reply {
        let credential = format!("Bearer {token}");
        let headers = [("UCS-Gateway-Bypass", "1"), ("Authorization", &*credential)];
        request(self.gateway.data, line, &headers, b"")
    }
}

/// The token and the lines of access.yaml.
fn principal(name: &str, permissions: &str) -> (String, String) {
    let made = run(&["token", "new", "--name", name, "--permissions", permissions]).stdout;
    let token = made.lines().nth(1).unwrap().trim_start_matches("# ").to_owned();
    (token, made.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect())
}

#[test]
fn a_principal_with_the_permission_passes_and_all_others_are_refused() {
    let upstream = Scripted::ok();
    let rig = Rig::new(upstream.address, &[]);
    rig.set(&json!({"mode": "maintenance"}));
    assert_eq!(request(rig.gateway.data, PROFILE, &[], b"").refusal(), Some("mode"));
    let without = request(rig.gateway.data, PROFILE, &[("UCS-Gateway-Bypass", "1")], b"");
    assert_eq!((without.status, without.refusal()), (401, Some("unauthorized")));
    let wrong = rig.bypass(PROFILE, "wrong");
    assert_eq!((wrong.status, wrong.refusal()), (401, Some("unauthorized")));
    let lacking = rig.bypass(PROFILE, &rig.operator);
    assert_eq!((lacking.status, lacking.refusal()), (403, Some("forbidden")));
    assert!(lacking.text().contains("mode:bypass"), "{}", lacking.text());
    let credential = format!("Bearer {}", rig.tester);
    for field in ["0", "true", ""] {
        let headers = [("UCS-Gateway-Bypass", field), ("Authorization", &*credential)];
        assert_eq!(request(rig.gateway.data, PROFILE, &headers, b"").refusal(), Some("mode"), "{field:?}");
    }
    assert_eq!(upstream.connections(), 0, "UCS has heard of none");
    let passed = rig.bypass(PROFILE, &rig.tester);
    assert_eq!((passed.status, passed.refusal()), (200, None), "{}", passed.text());
    // It is counted and in the history, once for the operation under this record; the mode stays as it is.
    assert_eq!(rig.bypass(PROFILE, &rig.tester).status, 200);
    let metrics = rig.admin("GET /metrics", None).text();
    assert!(metrics.contains("\nucs_gateway_bypassed_total 2\n"), "{metrics}");
    let bypassed = || {
        let history = rig.admin("GET /mode/history", None).json();
        let entries = history["entries"].as_array().unwrap().clone();
        entries.into_iter().filter(|entry| entry["kind"] == "bypassed").collect::<Vec<_>>()
    };
    eventually("it is in the history", || !bypassed().is_empty());
    let revision = rig.admin("GET /mode", None).json()["revision"].clone();
    let wanted = json!({"principal": "tester", "operation": "Query Customer Profile", "mode": "maintenance",
        "revision": revision});
    assert_eq!(bypassed().len(), 1);
    assert_eq!(bypassed()[0]["bypass"], wanted);
    assert_eq!(request(rig.gateway.data, PROFILE, &[], b"").refusal(), Some("mode"));
}

#[test]
fn neither_the_field_nor_the_credential_reaches_ucs() {
    let upstream = Scripted::ok();
    let rig = Rig::new(upstream.address, &[]);
    // In production the mode admits the request, and still the credential is not for UCS.
    assert_eq!(rig.bypass(PROFILE, &rig.tester).status, 200);
    rig.set(&json!({"mode": "maintenance"}));
    assert_eq!(rig.bypass(PROFILE, &rig.tester).status, 200);
    assert_eq!(rig.bypass("GET /server/status", &rig.tester).status, 200);
    let credential = format!("Bearer {}", rig.tester);
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let parent = format!("00-{trace}-{span}-01");
    let login = [("UCS-Gateway-Bypass", "1"), ("Proxy-Authorization", &*credential), ("Authorization", "Basic dWNz")];
    let traced = [&login[..], &[("traceparent", &*parent)]].concat();
    assert_eq!(request(rig.gateway.data, PROFILE, &traced, b"").status, 200);
    let ids = format!(r#""trace_id":"{trace}","span_id":"{span}""#);
    eventually("the log names its trace", || rig.gateway.log().contains(&ids));
    let disguised = [("UCS_Gateway_Bypass", "1"), ("Authorization", "Basic dWNz")];
    assert_eq!(request(rig.gateway.data, PROFILE, &disguised, b"").refusal(), Some("mode"));
    let seen = upstream.received_text().to_ascii_lowercase();
    assert!(!seen.contains("bypass") && !seen.contains(&rig.tester.to_ascii_lowercase()), "{seen}");
    assert_eq!(seen.matches("authorization: basic dwnz").count(), 1, "UCS's own login goes on: {seen}");
}

#[test]
fn no_flip_and_no_close_is_passed_and_the_next_flip_waits_for_a_bypass() {
    let ucs = Ucs::usual();
    let rig = Rig::new(ucs.address, &["--orphan-grace", "1ms"]);
    rig.set(&json!({"mode": "maintenance"}));
    ucs.control().set_holding(true);
    let credential = format!("Bearer {}", rig.tester);
    let headers = [("UCS-Gateway-Bypass", "1"), ("Authorization", &*credential)];
    let mut held = Connection::open(rig.gateway.data);
    held.send(http::compose(rig.gateway.data, PROFILE, &headers, b""));
    ucs.in_flight_reaches(1);
    rig.set(&json!({"mode": "production"}));
    let back = json!({"mode": "maintenance", "wait": false});
    assert_eq!(rig.admin("PUT /mode", Some(&back)).status, 202, "it waits for what was let past the mode");
    let switching = rig.bypass(PROFILE, &rig.tester);
    assert_eq!((switching.status, switching.refusal()), (503, Some("switching")));
    ucs.control().set_holding(false);
    assert_eq!(held.read_reply().status, 404, "UCS's own response: it has no such profile");
    eventually("the flip settles", || rig.admin("GET /mode", None).json()["phase"] == "settled");
    assert_eq!(rig.admin("GET /mode", None).json()["report"]["waited_for"][0]["count"], 1);
    assert_eq!(rig.admin("PUT /local", Some(&json!({"closed": true}))).status, 200);
    assert_eq!(rig.bypass(PROFILE, &rig.tester).refusal(), Some("local_close"));
}

#[test]
fn where_ucs_enforces_the_mode_itself_a_bypass_is_a_conflict() {
    let ucs = Ucs::usual();
    let rig = Rig::start(|flags| Gateway::start(ucs.address, flags));
    eventually("UCS's mode is known", || rig.admin("GET /mode", None).json()["upstream"]["state"] == "in_step");
    rig.set(&json!({"mode": "maintenance"}));
    let conflict = rig.bypass(PROFILE, &rig.tester);
    assert_eq!((conflict.status, conflict.refusal()), (409, Some("upstream_enforces")), "{}", conflict.text());
    // Who may not bypass does not learn it.
    assert_eq!(rig.bypass(PROFILE, &rig.operator).status, 403);
}
