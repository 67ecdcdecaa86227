//! A drain waits for UCS, never for a client: no client, however it sends or reads, can veto a flip or make it long.

use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Connection, Gateway, PATIENCE, Scripted, TempDir, admin, eventually, http};

/// Between two pieces that a slow client sends or reads.
const PACE: Duration = Duration::from_millis(20);

const PRODUCTION: &str = "ucs_gateway_in_flight{set=\"production\"}";
const OUTCOME: &str = "ucs_gateway_requests_total{class=\"profile\",outcome=\"drain_client_timeout\"}";

/// Takes what comes, and answers by the target: at the end of the request, before it, or with more than anybody reads.
fn upstream() -> Scripted {
    Scripted::start(|conn| {
        let Some(head) = conn.read_head() else { return };
        if head.contains("/profiles/early") {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            // A piece for each that comes.
            while conn.read_exact(1).is_some() && conn.try_write("1\r\nx\r\n") {}
        } else if head.starts_with("GET ") {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 30));
            conn.write_pattern(1 << 30, PATIENCE, |_| {});
        } else {
            conn.wait_for_the_end();
        }
    })
}

fn gateway(upstream: &Scripted, extra: &[&str]) -> Gateway {
    Gateway::bare(upstream.address, &[&["--orphan-grace", "100ms"], extra].concat())
}

/// Sends a little every now and then until the gateway says something, or ends the connection; then what it said.
fn trickle(mut client: Connection) -> JoinHandle<Connection> {
    std::thread::spawn(move || {
        while client.is_silent_for(PACE) && client.try_send([b'x'; 10]).is_ok() {}
        client
    })
}

/// The same, and reads meanwhile, until the connection is over.
fn trickle_and_read(mut client: Connection) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while client.is_silent_for(PACE) || !client.read_some().is_empty() {
            let _ = client.try_send(b"x");
        }
    })
}

fn read_slowly(mut client: Connection) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !client.read_some().is_empty() {
            std::thread::sleep(PACE);
        }
    })
}

fn begin(gateway: &Gateway, line: &str, length: u64) -> Connection {
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, line, &[("Content-Length", &length.to_string())], b""));
    client
}

#[track_caller]
fn in_flight(gateway: &Gateway, count: usize) {
    eventually("all are in flight", || admin::metric(gateway, PRODUCTION) == count as f64);
}

fn named(operation: &str, count: usize) -> Value {
    json!([{"operation": operation, "class": "profile", "count": count}])
}

#[test]
fn uploads_that_trickle_do_not_hold_a_flip() {
    const CLIENTS: usize = 30;
    let upstream = upstream();
    let gateway = gateway(&upstream, &["--drain-client-timeout", "500ms"]);
    let uploads: Vec<_> = (0..CLIENTS).map(|_| trickle(begin(&gateway, "POST /profiles", 100_000_000))).collect();
    in_flight(&gateway, CLIENTS);
    // Its own deadline is a minute: no answer would come in time.
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    let settled = settled.json();
    assert_eq!((&settled["drain"], &settled["mode"]), (&json!("assumed"), &json!("maintenance")));
    assert_eq!(settled["report"]["abandoned"], named("Create Customer Profile", CLIENTS));
    for upload in uploads {
        let reply = upload.join().unwrap().read_reply();
        assert_eq!((reply.status, reply.refusal()), (503, Some("drain_client_timeout")), "{}", reply.text());
    }
    eventually("all are counted", || admin::metric(&gateway, OUTCOME) == CLIENTS as f64);
    assert_eq!(admin::metric(&gateway, PRODUCTION), 0.0);
}

#[test]
fn clients_that_stall_or_read_slowly_do_not_hold_a_flip() {
    let upstream = upstream();
    let gateway = gateway(&upstream, &["--drain-client-timeout", "500ms"]);
    let stalls = begin(&gateway, "PUT /profiles/1", 10);
    let mut expects = Connection::open(gateway.data);
    expects.send("PUT /profiles/1 HTTP/1.1\r\nHost: ucs\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    let unread = begin(&gateway, "GET /profiles/1", 0).with_small_receive_buffer();
    let mut old = Connection::open(gateway.data).with_small_receive_buffer();
    old.send("GET /profiles/1 HTTP/1.0\r\n\r\n");
    let slow = read_slowly(begin(&gateway, "GET /profiles/1", 0).with_small_receive_buffer());
    let early = trickle_and_read(begin(&gateway, "PUT /profiles/early", 1 << 30));
    in_flight(&gateway, 6);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    let settled = settled.json();
    assert_eq!(settled["drain"], "assumed");
    let abandoned = settled["report"]["abandoned"].as_array().unwrap();
    assert_eq!(abandoned.iter().map(|of| of["count"].as_u64().unwrap()).sum::<u64>(), 6, "{abandoned:?}");
    let mut stalls = stalls;
    assert_eq!(stalls.read_reply().refusal(), Some("drain_client_timeout"));
    assert_eq!(expects.read_reply().refusal(), Some("drain_client_timeout"));
    slow.join().unwrap();
    early.join().unwrap();
    eventually("all are counted", || admin::metric(&gateway, OUTCOME) == 6.0);
    drop((unread, old));
}

/// Else a short flip would be over before it had looked at its clients.
#[test]
fn a_short_flip_waits_for_clients_no_longer_than_a_third_of_its_time() {
    let upstream = upstream();
    let gateway = Gateway::bare(upstream.address, &["--orphan-grace", "0s"]);
    let upload = trickle(begin(&gateway, "POST /profiles", 100_000_000));
    in_flight(&gateway, 1);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance", "drain_timeout": "6s"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    let report = &settled.json()["report"];
    assert_eq!(report["abandoned"], named("Create Customer Profile", 1));
    assert!(report["drain_ms"].as_u64().unwrap() >= 1900, "it waits for clients for a while: {report}");
    assert_eq!(upload.join().unwrap().read_reply().refusal(), Some("drain_client_timeout"));
}

#[test]
fn what_waits_for_ucs_or_is_open_in_both_modes_is_left_alone() {
    const LENGTH: u64 = 8 << 20;
    let (sender, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let upstream = Scripted::start(move |conn| {
        let Some(request) = conn.read_request() else { return };
        if request.head.starts_with("POST ") {
            let _ = go_on.lock().unwrap().recv_timeout(PATIENCE);
            conn.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        } else {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            conn.write_pattern(LENGTH, PATIENCE, |_| {});
        }
    });
    let gateway = gateway(&upstream, &["--drain-client-timeout", "200ms"]);
    let mut held = Connection::open(gateway.data);
    held.send(http::compose(gateway.data, "POST /profiles", &[], b"{}"));
    let mut both = begin(&gateway, "GET /metadata/identification-keys", 0);
    in_flight(&gateway, 1);
    assert_eq!(both.read_head().status, 200);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    assert!(asker.is_silent_for(Duration::from_secs(1)), "it settled while UCS was at work");
    sender.send(()).unwrap();
    assert_eq!(held.read_reply().status, 201);
    let settled = asker.read_reply();
    assert_eq!((settled.status, &settled.json()["report"]["abandoned"]), (200, &json!([])), "{}", settled.text());
    assert_eq!(both.read_pattern(LENGTH), LENGTH, "a schema read, which was not read for longer than that");
}

/// A flip waits for what a replaced table had admitted, whatever its class was.
#[test]
fn a_slow_client_of_a_replaced_table_does_not_hold_a_flip() {
    let upstream = upstream();
    let dir = TempDir::new();
    let table = dir.file("routes.yaml", include_str!("../../routes.yaml"));
    let gateway = gateway(&upstream, &["--drain-client-timeout", "300ms", "--routes", table.to_str().unwrap()]);
    let mut unread = begin(&gateway, "GET /metadata/identification-keys", 0).with_small_receive_buffer();
    assert_eq!(unread.read_head().status, 200);
    dir.file("routes.yaml", &format!("{}# another\n", include_str!("../../routes.yaml")));
    let reloaded = admin::call(&gateway, "POST /routes/reload", None);
    assert_eq!((reloaded.status, &reloaded.json()["changed"]), (200, &json!(true)), "{}", reloaded.text());
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    let abandoned = settled.json()["report"]["abandoned"].clone();
    assert_eq!((abandoned.as_array().unwrap().len(), &abandoned[0]["count"]), (1, &json!(1)), "{abandoned}");
}

/// They hold no permit: there is nothing to wait for.
#[test]
fn a_flip_does_not_wait_for_a_slow_refused_body_or_a_slow_set_server_mode() {
    let upstream = upstream();
    let gateway = Gateway::bare(upstream.address, &["--drain-client-timeout", "1m", "--drain-timeout", "10m"]);
    let refused = trickle(begin(&gateway, "POST /metadata/profiles/extensions", 100_000_000));
    let mut set_mode = Connection::open(gateway.data);
    let bearer = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*bearer), ("Content-Length", "21"), ("Content-Type", "application/json")];
    set_mode.send(http::compose(gateway.data, "POST /server/mode", &headers, b""));
    set_mode.send("{\"mode\":");
    assert_eq!(refused.join().unwrap().read_reply().refusal(), Some("mode"));
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    assert_eq!(
        (&settled.json()["report"]["waited_for"], &settled.json()["report"]["abandoned"]),
        (&json!([]), &json!([]))
    );
    set_mode.send("\"production\"}");
    assert_eq!(set_mode.read_reply().status, 200);
}
