//! How clients learn of a stop: connections live until their next response or the end of `--stop-linger`.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::ALONE;
use crate::support::{Connection, Gateway, PATIENCE, Reply, TempDir, Ucs, Upload, admin, eventually, request};

const KEYS: &str = "GET /metadata/identification-keys HTTP/1.1\r\nHost: ucs\r\n\r\n";

fn start(ucs: &Ucs, dir: &TempDir, flags: &[&str]) -> Gateway {
    Gateway::start_in(dir.path(), ucs.address, &[&ALONE[..], flags].concat())
}

/// A connection that has been served once.
fn kept(gateway: &Gateway) -> Connection {
    let mut connection = Connection::open(gateway.data);
    connection.send(KEYS);
    assert!(!closes(&connection.read_reply()));
    connection
}

fn closes(reply: &Reply) -> bool {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("connection") == Some("close")
}

/// Sends SIGTERM, and waits until the gateway has taken it.
fn stop(gateway: &Gateway) {
    gateway.signal("TERM");
    eventually("it is not ready", || request(gateway.admin, "GET /readyz", &[], b"").status == 503);
}

#[test]
fn an_idle_connection_lives_until_its_next_response_and_a_new_one_is_accepted() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut gateway = start(&ucs, &dir, &["--stop-linger", "10m", "--stop-timeout", "10m"]);
    let (mut first, mut second) = (kept(&gateway), kept(&gateway));
    stop(&gateway);
    first.send(KEYS);
    assert!(closes(&first.read_reply()) && first.is_closed());
    let mut new = Connection::open(gateway.data);
    new.send(KEYS);
    assert!(closes(&new.read_reply()) && new.is_closed());
    // Fresh, and as idle as the other one.
    let mut silent = Connection::open(gateway.data);
    second.send(&KEYS[..10]);
    gateway.signal("TERM");
    eventually("no new connections", || TcpStream::connect(gateway.data).is_err());
    second.send(&KEYS[10..]);
    assert!(closes(&second.read_reply()) && second.is_closed(), "a request that has begun is served");
    silent.send(KEYS);
    assert!(closes(&silent.read_reply()) && silent.is_closed(), "so is one on a connection that was accepted");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
}

#[test]
fn the_linger_ends_by_itself_and_closes_idle_connections() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut gateway = start(&ucs, &dir, &["--stop-linger", "300ms", "--stop-timeout", "10m"]);
    let mut idle = kept(&gateway);
    let told = Instant::now();
    gateway.signal("TERM");
    assert!(idle.is_closed());
    assert!(told.elapsed() >= Duration::from_millis(300), "it had its time");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
}

#[test]
fn the_linger_is_part_of_the_stop_timeout_whatever_clients_do() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut gateway = start(&ucs, &dir, &["--stop-linger", "10m", "--stop-timeout", "500ms"]);
    let upload = Upload::begin(&gateway, &ucs);
    let mut endless = Connection::open(gateway.data);
    endless.send(&KEYS[..10]);
    let _idle = kept(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0), "neither of these ends");
    assert!(endless.is_closed());
    assert!(!dir.path().join("clean-shutdown").exists(), "UCS may go on with the upload");
    drop(upload);
}

#[test]
fn a_flip_is_taken_back_at_once_and_no_other_begins_while_the_gateway_lingers() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut gateway = start(&ucs, &dir, &["--stop-linger", "10m", "--stop-timeout", "10m"]);
    let upload = Upload::begin(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    stop(&gateway);
    let taken_back = asker.read_reply();
    assert_eq!((taken_back.status, &taken_back.json()["reason"]), (503, &json!("shutting_down")));
    let refused = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!((refused.status, &refused.json()["reason"]), (503, &json!("shutting_down")));
    let credential = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
    let by_client = request(gateway.data, "POST /server/mode", &headers, br#"{"mode": "maintenance"}"#);
    assert_eq!((by_client.status, by_client.refusal()), (503, Some("shutting_down")), "{}", by_client.text());
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["phase"]), (&json!("production"), &json!("settled")), "{record}");
    assert_eq!(request(gateway.data, "GET /profiles?LastName=Hopper", &[], b"").status, 200, "the old mode serves on");
    assert_eq!(upload.finish().status, 201);
    gateway.signal("TERM");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
}

#[test]
fn a_request_that_waits_in_the_queue_of_the_socket_is_served_before_it_closes() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut gateway = start(&ucs, &dir, &["--workers", "2"]);
    gateway.signal("STOP");
    let mut queued: Vec<Connection> = (0..50).map(|_| Connection::open(gateway.data)).collect();
    queued.iter_mut().for_each(|connection| connection.send(KEYS));
    gateway.signal("TERM");
    gateway.signal("CONT");
    for connection in &mut queued {
        assert_eq!(connection.read_reply().status, 200);
    }
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
}
