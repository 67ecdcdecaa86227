//! The flip as operators and clients live through it. UCS has no mode of its own here, so that the gateway alone
//! refuses; the gateway sends nothing of its own, so that UCS's record holds what clients sent and nothing else.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::{Connection, Gateway, PATIENCE, Reply, Scripted, TempDir, Ucs, admin, eventually, http, request};

/// What `--orphan-grace` is, where a test waits for it.
const GRACE: Duration = Duration::from_millis(400);

/// Long enough to see that something waits; never waited for by a test that depends on it to pass.
const A_WHILE: Duration = Duration::from_millis(150);

fn ucs() -> Ucs {
    Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() })
}

fn gateway(ucs: &Ucs) -> Gateway {
    Gateway::bare(ucs.address, &["--orphan-grace", "400ms"])
}

/// A Create Customer Profile whose body lacks its last byte: in flight at UCS until [`finish_upload`].
fn begin_upload(gateway: &Gateway, ucs: &Ucs) -> Connection {
    let before = ucs.in_flight();
    let mut client = Connection::open(gateway.data);
    client.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 22\r\n\r\n{\"FirstName\": \"Grace\"");
    ucs.in_flight_reaches(before + 1);
    client
}

fn finish_upload(client: &mut Connection) -> Reply {
    client.send("}");
    client.read_reply()
}

/// A request that UCS has received and holds until it is released.
fn begin_held(gateway: &Gateway, ucs: &Ucs, line: &str, body: &str) -> Connection {
    ucs.control().set_holding(true);
    let before = ucs.in_flight();
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, line, &[], body.as_bytes()));
    ucs.in_flight_reaches(before + 1);
    client
}

/// `PUT /mode` that has begun: its answer comes on the connection.
fn begin_flip(gateway: &Gateway, change: &Value) -> Connection {
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, gateway, "PUT /mode", Some(change));
    eventually("the flip began", || admin::mode(gateway)["phase"] == "switching");
    asker
}

fn creates(count: u64) -> Value {
    json!([{"operation": "Create Customer Profile", "class": "profile", "count": count}])
}

#[track_caller]
fn no_client_is_connected(gateway: &Gateway) {
    eventually("no client is connected", || admin::metric(gateway, "ucs_gateway_client_connections_open") == 0.0);
}

/// What a client of production sees: UCS's own answer.
#[track_caller]
fn production_works(gateway: &Gateway) {
    let reply = request(gateway.data, "POST /profiles", &[], b"{\"FirstName\": \"Ada\"}");
    assert_eq!((reply.status, reply.refusal()), (201, None), "{}", reply.text());
}

#[test]
fn a_drained_flip_waits_for_what_runs_and_names_it() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));

    for (line, body) in [("GET /profiles/1", ""), ("POST /metadata/identification-keys", "{}")] {
        let refused = request(gateway.data, line, &[], body.as_bytes());
        assert_eq!((refused.status, refused.refusal()), (503, Some("switching")), "{line}: {}", refused.text());
    }
    let open = request(gateway.data, "GET /metadata/identification-keys", &[], b"");
    assert_eq!((open.status, open.refusal()), (200, None), "{}", open.text());
    assert!(asker.is_silent_for(A_WHILE), "it settled while an operation of production ran");

    assert_eq!(finish_upload(&mut client).status, 201, "what was admitted is served to its end");
    let settled = asker.read_reply();
    assert_eq!(settled.status, 200, "{}", settled.text());
    let settled = settled.json();
    assert_eq!((&settled["mode"], &settled["phase"]), (&json!("maintenance"), &json!("settled")));
    assert_eq!(settled["drain"], "complete");
    assert_eq!(settled["report"]["waited_for"], creates(1));
    assert_eq!(settled["report"]["abandoned"], json!([]));
    assert!(settled["report"]["drain_ms"].as_u64().unwrap() >= A_WHILE.as_millis() as u64, "{settled}");
}

#[test]
fn at_the_deadline_the_old_mode_returns_and_the_answer_names_what_runs() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    let before = admin::mode(&gateway)["revision"].as_u64().unwrap();
    let reply = admin::set_mode(&gateway, &json!({"mode": "maintenance", "drain_timeout": "100ms"}));
    assert_eq!(reply.status, 504, "{}", reply.text());
    let answer = reply.json();
    assert_eq!((&answer["reason"], &answer["report"]["still_running"]), (&json!("drain_timeout"), &creates(1)));
    assert_eq!(
        (&answer["record"]["mode"], &answer["record"]["cause"]),
        (&json!("production"), &json!("drain_timeout"))
    );
    assert!(answer["record"]["revision"].as_u64().unwrap() > before);
    production_works(&gateway);
    assert_eq!(finish_upload(&mut client).status, 201, "a flip that fails harms nobody");
}

#[test]
fn a_cut_aborts_what_runs_waits_the_grace_and_names_it() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_held(&gateway, &ucs, "POST /profiles", "{\"FirstName\": \"Grace\"}");
    let change = json!({"mode": "maintenance", "drain_timeout": "100ms", "on_timeout": "cut"});
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&change));
    let cut = client.read_reply();
    assert_eq!((cut.status, cut.refusal()), (503, Some("cut")), "{}", cut.text());
    let settled = asker.read_reply();
    assert_eq!(settled.status, 200, "{}", settled.text());
    let settled = settled.json();
    assert_eq!((&settled["drain"], &settled["mode"]), (&json!("assumed"), &json!("maintenance")));
    assert_eq!(admin::mode(&gateway)["abandoned"], creates(1));
    assert_eq!((&settled["report"]["abandoned"], &settled["report"]["still_running"]), (&creates(1), &creates(1)));
    assert!(settled["report"]["drain_ms"].as_u64().unwrap() >= 100 + GRACE.as_millis() as u64, "{settled}");
}

#[test]
fn a_cut_reaches_a_client_that_does_not_read() {
    let upstream = Scripted::start(|conn| {
        if conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30));
            while conn.try_write([b'x'; 64 * 1024]) {}
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--orphan-grace", "100ms"]);
    let mut client = Connection::open(gateway.data).with_small_receive_buffer();
    client.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    let change = json!({"mode": "maintenance", "drain_timeout": "300ms", "on_timeout": "cut"});
    let settled = admin::set_mode(&gateway, &change);
    assert_eq!(settled.status, 200, "{}", settled.text());
    let running = json!([{"operation": "Query Customer Profile", "class": "profile", "count": 1}]);
    assert_eq!(settled.json()["report"]["abandoned"], running);
    // Not read to its end: what the system holds for a small window would take minutes.
    no_client_is_connected(&gateway);
    client.reset();
}

#[test]
fn a_cut_ends_an_upload_whose_answer_has_begun() {
    const ENDLESS: u64 = 1 << 40;
    let (sender, ended) = std::sync::mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        if conn.read_head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
            conn.read_pattern(ENDLESS);
            let _ = sender.send(());
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--orphan-grace", "100ms", "--max-body", &ENDLESS.to_string()]);
    let mut client = Connection::open(gateway.data);
    client.send(format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: {ENDLESS}\r\n\r\n"));
    assert_eq!(client.read_head().status, 200);
    let uploading = std::thread::spawn(move || client.write_pattern(ENDLESS, PATIENCE, |_| {}));
    let change = json!({"mode": "maintenance", "drain_timeout": "200ms", "on_timeout": "cut"});
    assert_eq!(admin::set_mode(&gateway, &change).status, 200);
    ended.recv_timeout(PATIENCE).expect("UCS gets no more of it");
    assert!(uploading.join().unwrap() < ENDLESS);
}

const IN_FLIGHT: &str = "ucs_gateway_in_flight{set=\"production\"}";

#[test]
fn a_cut_reaches_every_stage_of_an_exchange() {
    let (closed, ended) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        let Some(head) = conn.read_head() else { return };
        if head.contains("/profiles/answered") {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin");
        }
        // Says no more, until the gateway closes.
        while conn.read_exact(1).is_some() {}
        let _ = closed.send(());
    });
    let gateway = Gateway::bare(upstream.address, &["--orphan-grace", "0s"]);
    let begin = |line: &str, sent: &str| {
        let mut client = Connection::open(gateway.data);
        let length = if line.starts_with("GET ") { "0" } else { "10" };
        client.send(http::compose(gateway.data, line, &[("Content-Length", length)], b""));
        client.send(sent);
        client
    };
    let (awaited, uploading) = (begin("GET /profiles/1", ""), begin("PUT /profiles/1", "half"));
    let mut downloading = begin("GET /profiles/answered", "");
    let (gone, mut left) = (begin("PUT /profiles/1", "0123456789"), begin("PUT /profiles/answered", "0123456789"));
    assert_eq!((downloading.read_head().status, left.read_head().status), (200, 200));
    eventually("all are with UCS", || upstream.connections() == 5 && admin::metric(&gateway, IN_FLIGHT) == 5.0);
    eventually("its body too", || upstream.received_text().matches("0123456789").count() == 2);
    gone.reset();
    left.reset();
    eventually("two have gone", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 3.0);
    let change = json!({"mode": "maintenance", "drain_timeout": "100ms", "on_timeout": "cut"});
    let settled = admin::set_mode(&gateway, &change);
    assert_eq!((settled.status, &settled.json()["drain"]), (200, &json!("assumed")), "{}", settled.text());
    assert_eq!(admin::metric(&gateway, IN_FLIGHT), 0.0);
    for _ in 0..5 {
        ended.recv_timeout(PATIENCE).expect("its connection to UCS is closed");
    }
    for mut client in [awaited, uploading] {
        assert_eq!(client.read_reply().refusal(), Some("cut"));
    }
    assert_eq!(downloading.read_to_end(), b"begin", "its connection breaks");
}

#[test]
fn a_cut_keeps_what_waits_for_a_connection_from_ucs() {
    let upstream = Scripted::start(|conn| while conn.read_request().is_some() {});
    let flags = ["--orphan-grace", "0s", "--workers", "1", "--upstream-connections", "1"];
    let gateway = Gateway::bare(upstream.address, &flags);
    let begin = |line: &str| {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[], b""));
        client
    };
    let mut held = begin("GET /profiles/held");
    eventually("it is with UCS", || upstream.received_text().contains("/profiles/held"));
    let mut queued = begin("DELETE /profiles/queued");
    eventually("the other waits", || admin::metric(&gateway, IN_FLIGHT) == 2.0);
    let change = json!({"mode": "maintenance", "drain_timeout": "100ms", "on_timeout": "cut"});
    assert_eq!(admin::set_mode(&gateway, &change).json()["drain"], "assumed");
    assert_eq!((held.read_reply().refusal(), queued.read_reply().refusal()), (Some("cut"), Some("cut")));
    assert!(!upstream.received_text().contains("/profiles/queued"), "{}", upstream.received_text());
}

#[test]
fn a_forced_commit_says_that_it_is_not_drained() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    let change = json!({"mode": "maintenance", "drain_timeout": "100ms", "on_timeout": "commit"});
    let settled = admin::set_mode(&gateway, &change);
    assert_eq!(settled.status, 200, "{}", settled.text());
    let settled = settled.json();
    assert_eq!((&settled["drain"], &settled["report"]["still_running"]), (&json!("forced"), &creates(1)));
    assert_eq!((&settled["abandoned"], &settled["report"]["abandoned"]), (&creates(1), &json!([])));
    assert_eq!(admin::mode(&gateway)["drain"], "forced");
    assert_eq!(finish_upload(&mut client).status, 201, "it is committed, not cut");
}

#[test]
fn asking_for_the_old_mode_cancels() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    let mut first = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    let second = admin::set_mode(&gateway, &json!({"mode": "production", "reason": "not now"}));
    assert_eq!(second.status, 200, "{}", second.text());
    let second = second.json();
    assert_eq!((&second["mode"], &second["reason"]), (&json!("production"), &json!("not now")));
    let first = first.read_reply();
    assert_eq!((first.status, &first.json()["reason"]), (409, &json!("cancelled")), "{}", first.text());
    production_works(&gateway);
    assert_eq!(finish_upload(&mut client).status, 201);
}

#[test]
fn a_change_for_later_is_refused_during_a_flip_with_the_running_record() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    let mut first = begin_flip(&gateway, &json!({"mode": "maintenance", "reason": "the first"}));
    let later = json!({"mode": "maintenance", "reason": "the second", "at": "2099-01-01T00:00:00Z"});
    let second = admin::set_mode(&gateway, &later);
    assert_eq!(second.status, 409, "{}", second.text());
    let second = second.json();
    assert_eq!((&second["reason"], &second["record"]["reason"]), (&json!("switching"), &json!("the first")));
    assert_eq!(second["record"]["phase"], "switching");
    assert_eq!(finish_upload(&mut client).status, 201);
    assert_eq!(first.read_reply().json()["reason"], "the first");
}

#[test]
fn a_reload_is_refused_during_a_flip() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    let reload = admin::call(&gateway, "POST /routes/reload", None);
    assert_eq!(reload.status, 409, "{}", reload.text());
    assert_eq!(finish_upload(&mut client).status, 201);
    assert_eq!(asker.read_reply().status, 200);
    assert_eq!(admin::call(&gateway, "POST /routes/reload", None).status, 200);
}

#[test]
fn a_stale_revision_is_refused() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let now = admin::mode(&gateway)["revision"].as_u64().unwrap();
    let stale = admin::set_mode(&gateway, &json!({"mode": "maintenance", "if_revision": now + 1}));
    assert_eq!((stale.status, &stale.json()["reason"]), (409, &json!("stale")), "{}", stale.text());
    assert_eq!(stale.json()["record"]["revision"], now);
    let fits = admin::set_mode(&gateway, &json!({"mode": "maintenance", "if_revision": now}));
    assert_eq!(fits.status, 200, "{}", fits.text());
}

#[test]
fn the_same_mode_again_is_the_same_revision_unless_it_says_more() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let first = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "index"})).json();
    let again = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "index"}));
    assert_eq!(again.status, 200, "{}", again.text());
    let again = again.json();
    assert_eq!(again["revision"], first["revision"]);
    assert_eq!((&first["report"]["changed"], &again["report"]["changed"]), (&json!(true), &json!(false)));
    let other = admin::set_mode(&gateway, &json!({"mode": "maintenance", "reason": "longer"})).json();
    assert!(other["revision"].as_u64() > first["revision"].as_u64(), "{other}");
    assert_eq!(other["reason"], "longer");
}

#[test]
fn a_mode_with_an_end_ends_by_itself() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let began = Instant::now();
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1s"}));
    assert_eq!((settled.status, &settled.json()["mode"]), (200, &json!("maintenance")), "{}", settled.text());
    eventually("production came back", || {
        let mode = admin::mode(&gateway);
        mode["mode"] == "production" && mode["phase"] == "settled"
    });
    assert!(began.elapsed() >= Duration::from_secs(1));
    let mode = admin::mode(&gateway);
    assert_eq!(
        (&mode["actor"]["kind"], &mode["drain"], &mode["expires"]),
        (&json!("expiry"), &json!("complete"), &json!(null))
    );
    production_works(&gateway);
}

#[test]
fn a_change_whose_client_is_gone_is_still_waited_for() {
    let ucs = ucs();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let client = begin_held(&gateway, &ucs, "POST /profiles", "{\"FirstName\": \"Grace\"}");
    client.reset();
    no_client_is_connected(&gateway);
    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    assert!(asker.is_silent_for(A_WHILE), "it settled while UCS was at work");
    assert_eq!(ucs.in_flight(), 1);
    ucs.control().set_holding(false);
    let settled = asker.read_reply();
    assert_eq!(settled.status, 200, "{}", settled.text());
    let report = &settled.json()["report"];
    assert_eq!((&report["waited_for"], &report["abandoned"]), (&creates(1), &json!([])));
}

#[test]
fn a_read_whose_client_is_gone_is_given_the_grace() {
    let ucs = ucs();
    // So long that the flip surely begins within it: what was given up on before is not in its report.
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "3s"]);
    let client = begin_held(&gateway, &ucs, "GET /profiles/1", "");
    let left = Instant::now();
    client.reset();
    eventually("the gateway gave it up", || admin::mode(&gateway)["in_flight"]["production"] == 0);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    assert!(left.elapsed() >= Duration::from_secs(3), "UCS was given {:?}", left.elapsed());
    let abandoned = json!([{"operation": "Query Customer Profile", "class": "profile", "count": 1}]);
    assert_eq!(settled.json()["report"]["abandoned"], abandoned);
    assert_eq!(ucs.in_flight(), 1, "the gateway cannot see the end of it: the report says so");
}

#[test]
fn a_flip_outlives_its_asker() {
    let ucs = ucs();
    let gateway = gateway(&ucs);
    let mut client = begin_upload(&gateway, &ucs);
    begin_flip(&gateway, &json!({"mode": "maintenance"})).reset();
    assert_eq!(finish_upload(&mut client).status, 201);
    eventually("it settled", || {
        let mode = admin::mode(&gateway);
        mode["mode"] == "maintenance" && mode["phase"] == "settled"
    });
}

#[test]
fn a_flip_waits_for_requests_of_a_replaced_table() {
    let ucs = ucs();
    let dir = TempDir::new();
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml")).unwrap();
    let routes = dir.file("routes.yaml", &table);
    let gateway = Gateway::bare(ucs.address, &["--routes", routes.to_str().unwrap(), "--orphan-grace", "1ms"]);
    let mut client = begin_upload(&gateway, &ucs);
    // In the new table the operation that runs is open in both modes; what admitted it said otherwise.
    let profile = "profile: [production]";
    assert!(table.contains(profile));
    dir.file("routes.yaml", &table.replace(profile, "profile: [production, maintenance]"));
    let reloaded = admin::call(&gateway, "POST /routes/reload", None);
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(reloaded.json()["still_running"], 1, "{}", reloaded.text());

    let mut asker = begin_flip(&gateway, &json!({"mode": "maintenance"}));
    assert!(asker.is_silent_for(A_WHILE), "it settled while a request of the old table ran");
    assert_eq!(finish_upload(&mut client).status, 201);
    let settled = asker.read_reply();
    assert_eq!(settled.status, 200, "{}", settled.text());
    assert_eq!(settled.json()["report"]["waited_for"], creates(1));
}
