//! `serve`: what keeps it from starting, and how it stops.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use ucs_gateway::demo::StandInOptions;

use crate::support::{Connection, Gateway, PATIENCE, TempDir, Ucs, Upload, admin, eventually, request};

#[test]
fn a_faulty_table_is_told_whole_and_nothing_starts() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let state = dir.path().join("state");
    let file = dir.file("bad.yaml", "version: 2\nunmatched: perhaps\nroutes: []\n");
    let started = Gateway::try_start_in(&state, ucs.address, &["--routes", file.to_str().unwrap()]);
    let (status, log) = started.err().expect("it does not start");
    let log = log.join("\n");
    assert_eq!(status.code(), Some(2), "{log}");
    for (line, word) in [(1, "version 2"), (1, "set_mode"), (2, "perhaps")] {
        let place = format!("{}:{line}: ", file.display());
        assert!(log.lines().any(|told| told.contains(&place) && told.contains(word)), "{line}, {word}: {log}");
    }
    assert!(!state.exists(), "nothing was touched");
    assert_eq!(ucs.record().len(), 0);
}

#[test]
fn a_second_one_on_the_same_state_directory_is_refused() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let first = Gateway::start_in(dir.path(), ucs.address, &[]);
    let before = admin::mode(&first);
    let (status, log) = Gateway::try_start_in(dir.path(), ucs.address, &[]).err().expect("it does not start");
    let log = log.join("\n");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(dir.path().to_str().unwrap()) && log.contains("--state-dir"), "{log}");
    assert_eq!(admin::mode(&first)["revision"], before["revision"], "the first is not touched");
    assert_eq!(admin::set_mode(&first, &json!({"mode": "maintenance"})).status, 200);
    assert_eq!(first.terminate(PATIENCE).code(), Some(0));
    Gateway::start_in(dir.path(), ucs.address, &[]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let holder = std::net::TcpListener::bind(taken.unwrap()).unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let started = Gateway::try_start_in(dir.path(), ucs.address, &["--admin-listen", &address]);
    let (status, log) = started.err().expect("it does not start");
    assert_eq!(status.code(), Some(1), "{log:?}");
    assert!(log.join("\n").contains(&address), "{log:?}");
}

#[test]
fn a_stop_lets_what_runs_end_and_takes_nothing_new() {
    for signal in ["TERM", "INT"] {
        let ucs = Ucs::usual();
        let mut gateway = Gateway::bare(ucs.address, &[]);
        let upload = Upload::begin(&gateway, &ucs);
        let mut idle = Connection::open(gateway.data);
        idle.send("GET /metadata/identification-keys HTTP/1.1\r\nHost: ucs\r\n\r\n");
        assert_eq!(idle.read_reply().status, 200);
        gateway.signal(signal);
        assert!(idle.is_closed(), "a connection without a request has nothing to wait for");
        eventually("no new connections", || TcpStream::connect(gateway.data).is_err());
        let reply = upload.finish();
        assert_eq!((reply.status, reply.refusal()), (201, None), "{}", reply.text());
        assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
        assert!(gateway.state_dir().join("clean-shutdown").exists());
    }
}

#[test]
fn what_does_not_end_is_cut_at_the_stop_timeout() {
    let ucs = Ucs::usual();
    let mut gateway = Gateway::bare(ucs.address, &["--stop-timeout", "200ms"]);
    let upload = Upload::begin(&gateway, &ucs);
    let told = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
    assert!(told.elapsed() >= Duration::from_millis(200), "it had its time");
    drop(upload);
}

#[test]
fn a_flip_under_way_is_answered_before_the_end_and_taken_back_by_the_next_start() {
    let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    let dir = TempDir::new();
    let flags =
        ["--stop-timeout", "200ms", "--orphan-grace", "10ms", "--schema-probe", "off", "--upstream-mode", "off"];
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    // UCS keeps its exchange open, so the drain cannot end.
    ucs.control().set_holding(true);
    gateway.signal("TERM");
    let answer = asker.read_reply();
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
    drop(upload);
    let again = Gateway::start_in(dir.path(), ucs.address, &flags);
    eventually("it is taken back", || admin::mode(&again)["phase"] == "settled");
    let mode = &admin::mode(&again)["mode"];
    // Whoever was told that it settled must find it so; all others find the mode of before.
    if answer.status == 200 {
        assert_eq!(mode, "maintenance", "{}", answer.text());
    } else {
        assert_eq!((answer.status, &answer.json()["reason"]), (503, &json!("shutting_down")), "{}", answer.text());
        assert_eq!(mode, "production");
    }
    ucs.control().set_holding(false);
    assert_eq!(request(again.data, "GET /server/status", &[], b"").status, 200);
}
