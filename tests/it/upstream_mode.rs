//! UCS's own mode: set by flips, watched between them, followed or set back when it moves by itself, and left alone where
//! UCS has none.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use crate::support::{
    Connection, Gateway, PATIENCE, Reply, Scripted, TempDir, Ucs, admin, eventually, nobody_listens, request,
};

/// Reads UCS's status often, so that no test waits for it.
const QUICK: &[&str] = &["--upstream-poll", "100ms", "--orphan-grace", "50ms"];

fn start(upstream: SocketAddr, extra: &[&str]) -> Gateway {
    Gateway::start(upstream, &[QUICK, extra].concat())
}

fn flip(gateway: &Gateway, mode: &str) -> Reply {
    admin::set_mode(gateway, &json!({"mode": mode}))
}

/// The mode, phase and who put it there.
fn shown(gateway: &Gateway) -> (String, String, String) {
    let record = admin::mode(gateway);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&record["mode"]), text(&record["phase"]), text(&record["actor"]["kind"]))
}

/// Waits until the gateway has read UCS's status again, from beginning to end.
fn polled_again(ucs: &Ucs) {
    let polls = || ucs.asked("GET", "/server/status").iter().filter(|exchange| exchange.ended.is_some()).count();
    let before = polls();
    eventually("three more polls", || polls() >= before + 3);
}

#[test]
fn ucs_follows_every_flip_before_it_is_acknowledged() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &[]);
    for mode in ["maintenance", "production", "maintenance"] {
        let reply = flip(&gateway, mode);
        assert_eq!((reply.status, ucs.control().mode().as_str()), (200, mode), "{}", reply.text());
    }
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 3);
    polled_again(&ucs);
    assert_eq!(shown(&gateway), ("maintenance".to_owned(), "settled".to_owned(), "operator".to_owned()));
}

#[test]
fn below_a_base_path_ucs_is_found_there() {
    let dir = TempDir::new();
    let table = include_str!("../../routes.yaml").replacen("base_path: \"\"", "base_path: \"/genesys/1/cs\"", 1);
    let routes = dir.file("routes.yaml", &table);
    let ucs = Ucs::start(StandInOptions { base_path: "/genesys/1/cs".to_owned(), ..StandInOptions::new() });
    let gateway = start(ucs.address, &["--routes", routes.to_str().unwrap()]);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    assert_eq!(ucs.control().mode(), Mode::Maintenance);
    assert_eq!(ucs.asked("POST", "/genesys/1/cs/server/mode").len(), 1);
}

#[test]
fn a_ucs_that_closes_itself_is_followed() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &[]);
    polled_again(&ucs);
    ucs.control().set_mode(Mode::Maintenance);
    eventually("the gateway follows", || {
        shown(&gateway) == ("maintenance".to_owned(), "settled".to_owned(), "upstream".to_owned())
    });
    let record = admin::mode(&gateway);
    assert_eq!((&record["cause"], &record["alarm"]), (&json!("upstream_in_maintenance"), &Value::Null));
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("mode"));
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 0, "it is there already");
    assert_eq!(flip(&gateway, "production").status, 200);
    assert_eq!(ucs.control().mode(), Mode::Production);
}

#[test]
fn a_ucs_that_was_restarted_is_set_back() {
    let ucs = Ucs::start(StandInOptions { initial_mode: Mode::Maintenance, ..StandInOptions::new() });
    let gateway = start(ucs.address, &[]);
    assert_eq!(flip(&gateway, "production").status, 200);
    polled_again(&ucs);
    let revision = admin::mode(&gateway)["revision"].clone();
    ucs.control().restart();
    assert_eq!(ucs.control().mode(), Mode::Maintenance);
    eventually("UCS is set back", || ucs.control().mode() == Mode::Production);
    polled_again(&ucs);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["revision"]), (&json!("production"), &revision));
    assert!(admin::metric(&gateway, "ucs_gateway_upstream_mode_events_total{event=\"set_back\"}") >= 1.0);
}

/// How often the history says that UCS went to production past the gateway.
fn moves_recorded(gateway: &Gateway) -> usize {
    let history = admin::call(gateway, "GET /mode/history?limit=50", None).json();
    let entries = history["entries"].as_array().unwrap();
    entries.iter().filter(|entry| entry["record"]["cause"] == "upstream_moved").count()
}

fn alarm_says_moved(gateway: &Gateway) -> bool {
    admin::mode(gateway)["alarm"].as_str().is_some_and(|alarm| alarm.contains("upstream_moved"))
}

#[test]
fn a_ucs_that_opens_past_the_gateway_is_set_back_with_an_alarm_and_an_entry_until_an_operator_confirms() {
    let (dir, ucs) = (TempDir::new(), Ucs::usual());
    let gateway = Gateway::start_in(dir.path(), ucs.address, QUICK);
    let closed = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "night work"})).json();
    polled_again(&ucs);
    ucs.control().set_mode(Mode::Production);
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("mode"), "closed meanwhile");
    eventually("UCS is set back", || ucs.control().mode() == Mode::Maintenance);
    eventually("an alarm says so", || alarm_says_moved(&gateway));
    polled_again(&ucs);
    let record = admin::mode(&gateway);
    assert_eq!(
        (&record["actor"]["kind"], &record["cause"], &record["reason"], &record["since"]),
        (&json!("upstream"), &json!("upstream_moved"), &json!("night work"), &closed["since"])
    );
    assert_eq!(moves_recorded(&gateway), 1);
    for _ in 0..2 {
        ucs.control().set_mode(Mode::Production);
        eventually("UCS is set back again", || ucs.control().mode() == Mode::Maintenance);
        polled_again(&ucs);
    }
    assert_eq!((moves_recorded(&gateway), &admin::mode(&gateway)["revision"]), (1, &record["revision"]));
    assert_eq!(ucs.asked("GET", "/profiles/1").len(), 0);

    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, QUICK);
    polled_again(&ucs);
    assert!(alarm_says_moved(&gateway), "a restart confirms nothing: {}", admin::mode(&gateway));
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    assert!(!alarm_says_moved(&gateway), "{}", admin::mode(&gateway));
    assert_eq!(shown(&gateway).2, "operator");
    let revision = admin::mode(&gateway)["revision"].clone();
    assert_eq!(flip(&gateway, "maintenance").json()["revision"], revision, "once is enough");

    ucs.control().set_mode(Mode::Production);
    eventually("the next move is an alarm again", || alarm_says_moved(&gateway));
    eventually("UCS is set back", || ucs.control().mode() == Mode::Maintenance);
    assert_eq!((moves_recorded(&gateway), flip(&gateway, "production").status), (2, 200));
    assert_eq!(admin::mode(&gateway)["alarm"], Value::Null, "a flip ends it, too");
    assert_eq!(admin::metric(&gateway, "ucs_gateway_upstream_mode_events_total{event=\"set_back\"}"), 1.0);
}

#[test]
fn a_ucs_that_was_restarted_in_production_is_set_back_without_an_alarm() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &[]);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    let revision = admin::mode(&gateway)["revision"].clone();
    polled_again(&ucs);
    ucs.control().restart();
    eventually("UCS is set back", || ucs.control().mode() == Mode::Maintenance);
    polled_again(&ucs);
    let record = admin::mode(&gateway);
    assert_eq!((&record["alarm"], &record["revision"]), (&Value::Null, &revision));
}

/// A killed gateway had asked for production. UCS carries it out after the next gateway has set it back.
#[test]
fn a_late_call_of_a_killed_gateway_is_no_move_of_ucs() {
    let (dir, says) = (TempDir::new(), Arc::new(Mutex::new(("maintenance".to_owned(), true))));
    let (script, asked) = (Arc::clone(&says), Arc::new(Mutex::new(Vec::<String>::new())));
    let kept = Arc::clone(&asked);
    let upstream = Scripted::start(move |conn| {
        while let Some(received) = conn.read_request() {
            if received.head.starts_with("POST /server/mode ") {
                let wanted: Value = serde_json::from_slice(&received.body).unwrap();
                let wanted = wanted["mode"].as_str().unwrap().to_owned();
                kept.lock().unwrap().push(wanted.clone());
                if script.lock().unwrap().1 {
                    conn.wait_for_the_end();
                    return;
                }
                script.lock().unwrap().0 = wanted;
            }
            let body = format!("{{\"mode\":\"{}\",\"started\":\"a\"}}", script.lock().unwrap().0);
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let gateway = Gateway::start_in(dir.path(), upstream.address, QUICK);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "production"})));
    eventually("UCS is asked", || *asked.lock().unwrap() == ["production"]);
    gateway.kill();
    says.lock().unwrap().1 = false;
    let gateway = Gateway::start_in(dir.path(), upstream.address, QUICK);
    eventually("it is taken back, and UCS agrees", || {
        let record = admin::mode(&gateway);
        (&record["phase"], &record["alarm"]) == (&json!("settled"), &Value::Null)
    });
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), upstream.address, QUICK);
    let polls = || upstream.received_text().matches("GET /server/status ").count();
    let before = polls();
    eventually("UCS is seen in maintenance", || polls() >= before + 3);
    let sets = asked.lock().unwrap().len();
    says.lock().unwrap().0 = "production".to_owned();
    eventually("UCS is set back", || asked.lock().unwrap().len() > sets && says.lock().unwrap().0 == "maintenance");
    let before = polls();
    eventually("UCS is seen in maintenance", || polls() >= before + 3);
    assert_eq!((moves_recorded(&gateway), alarm_says_moved(&gateway)), (0, false), "{}", admin::mode(&gateway));
}

#[test]
fn where_ucs_has_no_mode_the_gateways_alone_counts() {
    let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    let gateway = start(ucs.address, &[]);
    polled_again(&ucs);
    for mode in ["maintenance", "production", "maintenance"] {
        assert_eq!(flip(&gateway, mode).status, 200);
        let status = request(gateway.data, "GET /server/status", &[], b"");
        assert_eq!((status.status, status.json()), (200, json!({"mode": mode})));
    }
    // That it has no mode is concluded from the absence of both calls, at each flip anew.
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 3);
    assert_eq!(admin::mode(&gateway)["alarm"], Value::Null);
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("mode"));
}

#[test]
fn a_login_is_sent_with_the_gateways_own_calls_only() {
    let dir = TempDir::new();
    let file = dir.secret("ucs", "ada:secret\n");
    let login = Some(("ada".to_owned(), "secret".to_owned()));
    let ucs = Ucs::start(StandInOptions { login, initial_mode: Mode::Maintenance, ..StandInOptions::new() });
    let gateway = start(ucs.address, &["--upstream-credentials", file.to_str().unwrap()]);
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance", "the first start could read it");
    eventually("the probe can ask", || admin::mode(&gateway)["schema"] == "defined");
    assert_eq!(flip(&gateway, "production").status, 200);
    assert_eq!(ucs.control().mode(), Mode::Production);
    let client = request(gateway.data, "GET /profiles/1", &[], b"");
    assert_eq!((client.status, client.refusal()), (401, None), "a client brings its own: {client:?}");
}

#[test]
fn without_the_login_that_ucs_wants_the_gateway_can_only_close() {
    let login = Some(("ada".to_owned(), "secret".to_owned()));
    let ucs = Ucs::start(StandInOptions { login, initial_mode: Mode::Maintenance, ..StandInOptions::new() });
    let gateway = start(ucs.address, &[]);
    polled_again(&ucs);
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["schema"]), (&json!("production"), &json!("unknown")));
    assert!(record["alarm"].as_str().unwrap().contains("--upstream-credentials"), "{record}");
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    let refused = flip(&gateway, "production");
    assert_eq!(refused.status, 502, "what the mode of UCS is cannot be seen");
    assert!(refused.json()["detail"].as_str().unwrap().contains("--upstream-credentials"), "{}", refused.text());
    assert!(admin::metric(&gateway, "ucs_gateway_upstream_mode_events_total{event=\"poll_error\"}") >= 1.0);
}

#[test]
fn credentials_that_cannot_be_read_stop_the_start() {
    let dir = TempDir::new();
    let bad = dir.secret("ucs", "no colon\n");
    let missing = dir.path().join("missing");
    for file in [&bad, &missing] {
        let ucs = Ucs::usual();
        let state = TempDir::new();
        let file = file.to_str().unwrap();
        let ended = Gateway::try_start_in(state.path(), ucs.address, &["--upstream-credentials", file]);
        let (status, log) = ended.err().expect("it does not start");
        assert_eq!(status.code(), Some(2), "{log:?}");
        assert!(log.join("\n").contains(file), "{log:?}");
        assert!(!log.join("\n").contains("no colon"), "a credential must not be shown: {log:?}");
    }
}

/// A UCS that switches to production until it is released, and the flip that waits for it. For production a UCS is waited
/// for longest.
fn switching() -> (Ucs, Gateway, Connection) {
    let ucs = Ucs::start(StandInOptions { initial_mode: Mode::Maintenance, ..StandInOptions::new() });
    let gateway = start(ucs.address, &[]);
    ucs.control().set_holding_switches(true);
    let mut flipping = Connection::open(gateway.admin);
    admin::begin(&mut flipping, &gateway, "PUT /mode", Some(&json!({"mode": "production"})));
    eventually("UCS switches", || ucs.control().is_switching());
    (ucs, gateway, flipping)
}

#[test]
fn a_ucs_that_takes_its_time_is_waited_for() {
    let (ucs, _gateway, mut flipping) = switching();
    assert!(flipping.is_silent_for(Duration::from_millis(600)), "it did not wait");
    ucs.control().set_holding_switches(false);
    let reply = flipping.read_reply();
    assert_eq!((reply.status, ucs.control().mode()), (200, Mode::Production), "{}", reply.text());
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 1, "it is not asked twice");
}

#[test]
fn a_status_that_comes_late_does_not_hold_requests_up() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &[]);
    polled_again(&ucs);
    ucs.control().set_failing(Some(503));
    polled_again(&ucs);
    assert_eq!(shown(&gateway).0, "production", "an error tells nothing of the mode");
    ucs.control().set_failing(None);
    ucs.control().set_mode(Mode::Maintenance);
    eventually("it is followed all the same", || shown(&gateway).0 == "maintenance");
}

/// How a scripted UCS takes Set Server Mode.
#[derive(Clone, Copy)]
enum Takes {
    /// Refuses with this status.
    No(u16),
    /// Does it, and breaks off instead of answering.
    Silently,
    /// Does nothing, and breaks off.
    Never,
}

/// A UCS in maintenance with a status, a schema, and this way of taking Set Server Mode. Also the modes it was asked for.
fn scripted(takes: Takes) -> (Scripted, Arc<Mutex<Vec<String>>>) {
    let mode = Arc::new(Mutex::new("maintenance".to_owned()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let upstream = Scripted::start(move |conn| {
        while let Some(received) = conn.read_request() {
            if !received.head.starts_with("POST /server/mode ") {
                let body = format!("{{\"mode\":\"{}\",\"started\":\"a\"}}", mode.lock().unwrap());
                conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
                continue;
            }
            let wanted: Value = serde_json::from_slice(&received.body).unwrap();
            let wanted = wanted["mode"].as_str().unwrap().to_owned();
            kept.lock().unwrap().push(wanted.clone());
            match takes {
                Takes::No(status) => conn.write(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")),
                Takes::Silently => {
                    *mode.lock().unwrap() = wanted;
                    return;
                }
                Takes::Never => return,
            }
        }
    });
    (upstream, asked)
}

/// To production; maintenance would settle all the same, as the gate lets nothing pass that UCS should refuse.
fn refused_by_ucs(gateway: &Gateway, upstream: &Scripted) {
    let operator = flip(gateway, "production");
    assert_eq!((operator.status, &operator.json()["reason"]), (502, &json!("upstream_refused")), "{}", operator.text());
    assert_eq!(operator.json()["record"]["mode"], "maintenance");
    let credential = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*credential)];
    let client = request(gateway.data, "POST /server/mode", &headers, br#"{"mode":"production"}"#);
    assert_eq!((client.status, client.refusal()), (502, Some("upstream_refused")), "{client:?}");
    let record = admin::mode(gateway);
    assert_eq!((&record["mode"], &record["phase"]), (&json!("maintenance"), &json!("settled")), "{record}");
    let keys = request(gateway.data, "POST /metadata/identification-keys", &[], b"{}");
    assert_eq!(keys.refusal(), None, "maintenance is open again");
    assert!(upstream.received_text().contains("POST /metadata/identification-keys "));
}

#[test]
fn a_refusal_of_ucs_takes_the_flip_back() {
    for status in [400, 401, 403, 405, 500, 501] {
        let (upstream, asked) = scripted(Takes::No(status));
        let gateway = start(upstream.address, &[]);
        refused_by_ucs(&gateway, &upstream);
        let flips = asked.lock().unwrap().iter().filter(|mode| *mode == "production").count();
        assert_eq!(flips, 2, "status {status}");
    }
}

/// Otherwise the old mode would be in force at the gateway alone until the next usual look at UCS.
#[test]
fn after_a_failed_flip_ucs_is_set_back_without_waiting_for_the_next_look() {
    let (upstream, _asked) = scripted(Takes::No(500));
    let gateway = Gateway::start(upstream.address, &["--upstream-poll", "10m"]);
    let reply = flip(&gateway, "production");
    assert_eq!((reply.status, &reply.json()["reason"]), (502, &json!("upstream_refused")), "{}", reply.text());
    eventually("UCS is back", || admin::mode(&gateway)["alarm"] == Value::Null);
}

#[test]
fn after_an_unknown_outcome_the_status_decides() {
    let (upstream, asked) = scripted(Takes::Silently);
    let gateway = start(upstream.address, &[]);
    let reply = flip(&gateway, "production");
    assert_eq!((reply.status, asked.lock().unwrap().len()), (200, 1), "{}", reply.text());

    let (upstream, _) = scripted(Takes::Never);
    let gateway = start(upstream.address, &[]);
    refused_by_ucs(&gateway, &upstream);
}

#[test]
fn a_ucs_that_was_never_there_does_not_hold_a_flip_up() {
    let address = nobody_listens();
    let gateway = start(address, &[]);
    assert_eq!(flip(&gateway, "maintenance").status, 200);
    let unreachable = request(gateway.data, "GET /metadata/identification-keys", &[], b"");
    assert_eq!((unreachable.status, unreachable.refusal()), (502, Some("upstream_unreachable")));
    let late = Ucs::start_at(address, StandInOptions::new());
    eventually("the one that comes is set to the gateway's mode", || late.control().mode() == Mode::Maintenance);
}

#[test]
fn off_never_touches_it() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &["--upstream-mode", "off", "--schema-probe", "off"]);
    for mode in ["maintenance", "production"] {
        assert_eq!(flip(&gateway, mode).status, 200);
    }
    ucs.control().set_mode(Mode::Maintenance);
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 503);
    let asked: Vec<String> = ucs.record().iter().map(|exchange| exchange.path.clone()).collect();
    assert_eq!(asked, ["/profiles/1"], "not one call of its own");
    assert_eq!(shown(&gateway).0, "production");
}

#[test]
fn the_first_start_takes_the_mode_of_ucs() {
    for mode in [Mode::Production, Mode::Maintenance] {
        let ucs = Ucs::start(StandInOptions { initial_mode: mode, ..StandInOptions::new() });
        let gateway = start(ucs.address, &[]);
        assert_eq!(shown(&gateway).0, mode.as_str());
        polled_again(&ucs);
        assert_eq!((shown(&gateway).0.as_str(), ucs.control().mode()), (mode.as_str(), mode));
    }
}

#[test]
fn a_given_initial_mode_is_carried_to_ucs() {
    let ucs = Ucs::usual();
    let gateway = start(ucs.address, &["--initial-mode", "maintenance"]);
    assert_eq!(shown(&gateway).0, "maintenance");
    eventually("UCS is set to it", || ucs.control().mode() == Mode::Maintenance);
}

#[test]
fn a_later_start_keeps_its_own_mode_and_sets_ucs_back() {
    let dir = TempDir::new();
    let ucs = Ucs::usual();
    let first = Gateway::start_in(dir.path(), ucs.address, QUICK);
    assert_eq!(flip(&first, "maintenance").status, 200);
    assert!(first.terminate(PATIENCE).success());
    ucs.control().set_mode(Mode::Production);
    let second = Gateway::start_in(dir.path(), ucs.address, &[QUICK, &["--initial-mode", "production"]].concat());
    assert_eq!(shown(&second).0, "maintenance");
    eventually("UCS is set back", || ucs.control().mode() == Mode::Maintenance);
}

#[test]
fn requests_of_both_modes_go_on_while_ucs_switches() {
    let (ucs, gateway, mut flipping) = switching();
    let read = request(gateway.data, "GET /metadata/identification-keys", &[], b"");
    assert_eq!((read.status, read.refusal()), (503, None), "the gateway lets it pass, and UCS refuses it: {read:?}");
    let profile = request(gateway.data, "GET /profiles/1", &[], b"");
    assert_eq!(profile.refusal(), Some("switching"));
    ucs.control().set_holding_switches(false);
    assert_eq!(flipping.read_reply().status, 200);
}
