//! `serve`: what keeps it from starting, and how it stops.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::tool::Running;
use crate::support::{Connection, Gateway, PATIENCE, Scripted, TempDir, Ucs, Upload, admin, eventually};

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

/// A restart in vain would not help, so it is said before anything that may be over by then.
#[test]
fn a_faulty_file_is_told_before_the_ports_are_opened() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let faulty = dir.file("faulty", "version: 1\nprincipals:\n  - {name: me, token: secret}\n");
    let faulty = faulty.to_str().unwrap();
    for flags in [&["--access", faulty][..], &["--upstream-credentials", faulty], &["--routes", faulty]] {
        let flags = [&["--listen", &address, "--admin-listen", &address], flags].concat();
        let started = Gateway::try_start_in(dir.path(), ucs.address, &flags);
        let (status, log) = started.err().expect("it does not start");
        assert_eq!((status.code(), log.join("\n").contains(faulty)), (Some(2), true), "{flags:?}: {log:?}");
    }
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
    assert!(!gateway.log().contains("panic"), "{}", gateway.log());
    assert!(!gateway.state_dir().join("clean-shutdown").exists(), "UCS may go on with it");
    drop(upload);
}

/// The flags of a gateway that sends nothing of its own to UCS.
const ALONE: [&str; 6] = ["--schema-probe", "off", "--upstream-mode", "off", "--initial-mode", "production"];

/// Asks for maintenance while `upload` keeps the drain from ending.
fn begin_flip(gateway: &Gateway) -> Connection {
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(gateway)["phase"] == "switching");
    asker
}

/// The mode that the next start settles in.
fn mode_of_next_start(dir: &TempDir, ucs: &Ucs) -> Value {
    let flags = [&ALONE[..], &["--orphan-grace", "10ms"]].concat();
    let again = Gateway::start_in(dir.path(), ucs.address, &flags);
    eventually("it is settled", || admin::mode(&again)["phase"] == "settled");
    admin::mode(&again)["mode"].clone()
}

#[test]
fn a_flip_that_a_stop_ends_is_told_so_and_taken_back_by_the_next_start() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let flags = [&ALONE[..], &["--stop-timeout", "200ms"]].concat();
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = begin_flip(&gateway);
    gateway.signal("TERM");
    let answer = asker.read_reply();
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &json!("shutting_down")), "{}", answer.text());
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
    drop(upload);
    assert_eq!(mode_of_next_start(&dir, &ucs), "production");
}

#[test]
fn what_a_stop_says_of_a_flip_is_what_the_next_start_finds() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &[&ALONE[..], &["--orphan-grace", "1ms"]].concat());
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = begin_flip(&gateway);
    gateway.signal("TERM");
    eventually("no new connections", || TcpStream::connect(gateway.data).is_err());
    assert_eq!(upload.finish().status, 201);
    // The last request ends the drain and lets the gateway stop, so either may come first.
    let answer = asker.read_reply();
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
    let found = mode_of_next_start(&dir, &ucs);
    match answer.status {
        200 => assert_eq!(found, "maintenance", "{}", answer.text()),
        503 => assert_eq!((&answer.json()["reason"], found), (&json!("shutting_down"), json!("production"))),
        other => panic!("{other}: {}", answer.text()),
    }
}

#[test]
fn a_file_in_the_place_of_the_admin_socket_is_left_alone() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let file = dir.file("notes.txt", "mine");
    let address = format!("unix:{}", file.display());
    let started = Gateway::try_start_in(&dir.path().join("state"), ucs.address, &["--admin-listen", &address]);
    let (status, log) = started.err().expect("it does not start");
    assert_eq!(status.code(), Some(1), "{log:?}");
    assert!(log.join("\n").contains(&address), "{log:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_stop_does_not_wait_for_a_start() {
    let (asked, wait) = std::sync::mpsc::channel();
    let silent = Scripted::start(move |conn| {
        let _ = conn.read_request();
        let _ = asked.send(());
        // Says nothing until the other side goes away.
        let _ = conn.read_request();
    });
    let dir = TempDir::new();
    let (state, upstream) = (dir.path().join("state"), format!("http://{}", silent.address));
    let flags = ["serve", "--upstream", &upstream, "--state-dir", state.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let starting = Running::start(&[&flags[..], &["--admin-listen", "127.0.0.1:0"]].concat());
    wait.recv_timeout(PATIENCE).expect("it asks UCS for its mode");
    starting.signal("TERM");
    let ended = starting.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Had it waited for UCS, it would have become ready after UCS's ten seconds.
    assert!(ended.stderr.contains("shut down before the gateway was ready"), "{ended:?}");
}
