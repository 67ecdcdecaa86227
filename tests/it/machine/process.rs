//! Pauses (SIGSTOP, a virtual machine that stands still), descriptors that run out, and a resolver that hangs.

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;

use super::shim::Machine;
use super::{ALONE, ready};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, TempDir, Ucs, Upload, admin, eventually, http, request};

/// Paused in a drain for longer than its deadline, while what it waited for ends. Either way out is right, if the
/// answer, the record and what is admitted agree.
#[test]
fn a_pause_over_the_deadline_of_a_drain_leaves_one_truth() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "50ms"]);
    let upload = Upload::begin_held(&gateway, &ucs);
    let revision = ready(&gateway)["revision"].clone();
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance", "drain_timeout": "3s"})));
    eventually("the flip began", || ready(&gateway)["revision"] != revision);
    gateway.signal("STOP");
    std::thread::sleep(Duration::from_secs(3));
    gateway.signal("CONT");
    assert_eq!(upload.finish_held(&ucs).status, 201, "what was admitted is served to its end");
    let answer = asker.read_reply();
    let now = admin::mode(&gateway);
    let mode = match answer.status {
        200 => "maintenance",
        504 => "production",
        other => panic!("{other}: {}", answer.text()),
    };
    assert_eq!((&now["mode"], &now["phase"]), (&json!(mode), &json!("settled")), "{now} after {}", answer.text());
    let refused = request(gateway.data, "POST /profiles", &[], b"{}").refusal().map(str::to_owned);
    assert_eq!(refused.as_deref(), (mode == "maintenance").then_some("mode"));
}

/// Requests and connections live through a pause that is shorter than their deadlines, on both sides.
#[test]
fn a_pause_loses_no_request() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let mut kept = Connection::open(gateway.data);
    kept.send(http::compose(gateway.data, "GET /profiles/absent", &[], b""));
    assert_eq!(kept.read_reply().status, 404);
    let upload = Upload::begin(&gateway, &ucs);
    gateway.signal("STOP");
    // Those of the paused are taken by the kernel and answered later.
    let mut new = Connection::open(gateway.data);
    new.send(http::compose(gateway.data, "GET /profiles/absent", &[], b""));
    kept.send(http::compose(gateway.data, "GET /profiles/absent", &[], b""));
    assert!(kept.is_silent_for(Duration::from_secs(1)));
    gateway.signal("CONT");
    assert_eq!((kept.read_reply().status, new.read_reply().status), (404, 404));
    assert_eq!(upload.finish().status, 201);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!((settled.status, &settled.json()["drain"]), (200, &json!("complete")), "{}", settled.text());
}

/// A pause that is longer than every deadline counts against none of them.
#[test]
fn a_pause_beyond_the_deadlines_cuts_nothing() {
    // A deadline that passes before or behind the pause, on a machine that stands still, says nothing of the pause.
    eventually("a pause beside which no deadline passed", || {
        let (statuses, beside) = a_pause_of_four_seconds();
        assert!(statuses == [200, 200, 200] || beside > DEADLINES - SWEEP, "{statuses:?}, {beside:?} beside the pause");
        statuses == [200, 200, 200]
    });
}

const DEADLINES: Duration = Duration::from_secs(2);
/// How much earlier or later than at its time a deadline may be found to have passed.
const SWEEP: Duration = Duration::from_millis(500);

/// The statuses of three requests that a pause meets at different stages, and the time from the first of them to the responses
/// without the pause.
fn a_pause_of_four_seconds() -> ([u16; 3], Duration) {
    let (asked_sender, asked) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Scripted::start(move |conn| {
        while let Some(head) = conn.read_head() {
            asked_sender.send(()).unwrap();
            if head.starts_with("GET /profiles/late ") {
                wait.lock().unwrap().recv().unwrap();
            } else if head.starts_with("POST") {
                conn.read_exact(8).unwrap();
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let limits =
        ["--first-byte-timeout", "2s", "--idle-body-timeout", "2s", "--header-timeout", "2s", "--workers", "1"];
    let gateway = Gateway::bare(upstream.address, &limits);
    let begun = Instant::now();
    let mut late = Connection::open(gateway.data);
    late.send(http::compose(gateway.data, "GET /profiles/late", &[], b""));
    let mut upload = Connection::open(gateway.data);
    upload.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 8\r\n\r\nhalf");
    for _ in 0..2 {
        asked.recv_timeout(PATIENCE).unwrap();
    }
    let mut head = Connection::open(gateway.data);
    head.send("GET /profiles/1 HTTP/1.1\r\n");
    eventually("all are open", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 3.0);
    gateway.signal("STOP");
    let stopped = Instant::now();
    std::thread::sleep(2 * DEADLINES);
    let pause = stopped.elapsed();
    gateway.signal("CONT");
    // The sweep that finds the gap comes before these bytes, or with them.
    std::thread::sleep(Duration::from_millis(300));
    go.send(()).unwrap();
    let _ = upload.try_send("half");
    let _ = head.try_send("Host: ucs\r\n\r\n");
    let statuses = [late, upload, head].map(|mut client| client.read_reply().status);
    (statuses, begun.elapsed() - pause)
}

/// How much processor time it has used so far, in seconds.
fn processor_time(gateway: &Gateway) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    // Behind the name in brackets; fields 14 and 15 of proc(5), in hundredths of a second on every Linux.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// How many descriptors it has open.
fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

fn threads(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().count()
}

#[test]
fn a_resolver_that_hangs_takes_few_threads_and_requests_pass_when_it_is_back() {
    let (ucs, machine) = (Ucs::usual(), Machine::new());
    let url = format!("http://localhost:{}", ucs.address.port());
    let named = ["--upstream", &url, "--connect-timeout", "500ms"];
    let gateway = machine.start(ucs.address, &[&ALONE[..], &named].concat());
    let before = threads(&gateway);
    machine.lookups_hang(true);
    let mut clients: Vec<Connection> = (0..100).map(|_| Connection::open(gateway.data)).collect();
    for client in &mut clients {
        client.send(http::compose(gateway.data, "GET /profiles/absent", &[], b""));
    }
    for client in &mut clients {
        assert_eq!(client.read_reply().status, 504);
    }
    let taken = threads(&gateway) - before;
    assert!(taken < 20, "{taken} threads for 100 requests");
    machine.lookups_hang(false);
    eventually("requests pass", || request(gateway.data, "GET /profiles/absent", &[], b"").status == 404);
}

/// A gateway with no descriptors but these, by this limit of the shell, and more clients that stay than it has room for.
fn crowded(limit: &str, clients: usize) -> (Ucs, TempDir, Gateway, Vec<Connection>) {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = Gateway::start_after(limit, dir.path(), ucs.address, &ALONE)
        .unwrap_or_else(|(status, log)| panic!("{status}\n{}", log.join("\n")));
    let stay = (0..clients).map(|_| Connection::open(gateway.data)).collect();
    (ucs, dir, gateway, stay)
}

#[test]
fn clients_leave_descriptors_for_ucs_for_operators_and_for_the_state() {
    let (_ucs, _dir, gateway, mut stay) = crowded("ulimit -n 200", 400);
    let turned_away = "ucs_gateway_client_connections_refused_total";
    eventually("some were turned away", || admin::metric(&gateway, turned_away) > 0.0);
    // The first ones were let in. They ask at the same time, so UCS is connected to as often.
    for client in &mut stay[..30] {
        client.send(http::compose(gateway.data, "GET /profiles/absent", &[], b""));
    }
    for client in &mut stay[..30] {
        assert_eq!(client.read_reply().status, 404);
    }
    let credential = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
    let flipped = request(gateway.admin, "PUT /mode", &headers, br#"{"mode":"maintenance"}"#);
    assert_eq!(flipped.status, 200, "{}", flipped.text());
}

#[test]
fn a_soft_limit_of_descriptors_is_raised_as_far_as_the_connections_need() {
    let (_ucs, _dir, gateway, stay) = crowded("ulimit -Sn 100", 200);
    eventually("all are let in", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 200.0);
    drop(stay);
}

#[test]
fn without_descriptors_what_is_there_goes_on_and_flips_are_refused() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    gateway.limit_descriptors(64);
    let mut client = Connection::open(gateway.data);
    let mut served = |gateway: &Gateway| {
        client.send(http::compose(gateway.data, "GET /profiles/absent", &[], b""));
        client.read_reply().status
    };
    assert_eq!(served(&gateway), 404);
    let mut operator = Connection::open(gateway.admin);
    let credential = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
    let mut ask = |line: &str, body: &[u8]| {
        operator.send(http::compose(gateway.admin, line, &headers, body));
        operator.read_reply()
    };
    assert_eq!(ask("GET /mode", b"").status, 200);

    let waiting: Vec<Connection> = (0..80).map(|_| Connection::open(gateway.data)).collect();
    eventually("none is left", || descriptors(&gateway) >= 64);
    let before = processor_time(&gateway);
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_time(&gateway) - before;
    assert!(used < 0.5, "it spins: {used} s of processor time in one second");
    assert_eq!(served(&gateway), 404, "a connection that exists goes on");
    let refused = ask("PUT /mode", br#"{"mode":"maintenance"}"#);
    assert_eq!((refused.status, &refused.json()["reason"]), (507, &json!("not_durable")), "{}", refused.text());
    assert_eq!(ask("GET /mode", b"").json()["mode"], "production");

    drop(waiting);
    eventually("a new connection is served", || request(gateway.data, "GET /profiles/absent", &[], b"").status == 404);
    let settled = ask("PUT /mode", br#"{"mode":"maintenance"}"#);
    assert_eq!(settled.status, 200, "{}", settled.text());
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    assert_eq!((&ready(&gateway)["mode"], &ready(&gateway)["alarm"]), (&json!("maintenance"), &json!(null)));
}
