//! Refusals to clients that are still sending. Most clients read nothing before they have sent all; the refusal must still be
//! there then, and it is not if the gateway closes too early: the kernel answers what nobody reads with RST. And nobody may
//! send for ever to a gateway that needs none of it.

use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::POST;
use crate::support::{Connection, Gateway, PATIENCE, Scripted, admin, eventually, http, nobody_listens};

/// More than the kernel holds for both sides.
const LONG: usize = 4 << 20;

/// What a client hears that begins like this, and then sends a lot.
struct Kind {
    beginning: String,
    status: u16,
    reason: &'static str,
}

fn kind(line: &str, fields: &str, status: u16, reason: &'static str) -> Kind {
    Kind { beginning: format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}"), status, reason }
}

/// Every kind of refusal that comes while the client is sending: before the body was asked for, in its middle, and for bytes
/// that are no request.
fn kinds() -> Vec<Kind> {
    let length = format!("Content-Length: {LONG}\r\n\r\n");
    let chunk = format!("Transfer-Encoding: chunked\r\n\r\n{LONG:x}\r\n");
    vec![
        kind("POST /metadata/profiles/extensions", &length, 503, "mode"),
        kind("POST /metadata/profiles/extensions", &chunk, 503, "mode"),
        kind("POST /nowhere", &length, 404, "unmatched"),
        kind("POST /profiles/..%2fx", &length, 400, "encoded_slash"),
        kind("POST /server/mode", &length, 401, "unauthorized"),
        kind(POST, &length, 413, "body_too_large"),
        kind(POST, &chunk, 413, "body_too_large"),
        kind(POST, "Transfer-Encoding: chunked\r\n\r\nno size\r\n", 400, "chunk_size"),
        kind(POST, "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "length_repeated"),
        kind("GET /profiles/1", "X-Long: ", 431, "head_too_large"),
    ]
}

#[test]
fn a_refusal_reaches_a_client_that_sends_all_at_once() {
    let upstream = Scripted::start(|conn| while conn.read_request().is_some() {});
    let gateway = Gateway::bare(upstream.address, &["--max-body", "100000"]);
    for Kind { beginning, status, reason } in kinds() {
        let mut client = Connection::open(gateway.data);
        client.send([beginning.as_bytes(), &vec![b'x'; LONG]].concat());
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.refusal()), (status, Some(reason)), "{beginning:.200}");
        assert_eq!(reply.header("connection"), Some("close"), "{beginning:.200}");
    }
}

/// 40 KB over 1.6 seconds, with a pause in the middle.
#[test]
fn a_refusal_reaches_a_client_that_sends_slowly() {
    let upstream = Scripted::start(|conn| while conn.read_request().is_some() {});
    let gateway = Gateway::bare(upstream.address, &["--max-body", "1000", "--max-head", "1KiB"]);
    let ways: Vec<Kind> = kinds().into_iter().chain([short_rest()]).collect();
    let clients: Vec<_> = ways.into_iter().map(|kind| (kind, Connection::open(gateway.data))).collect();
    let clients = clients.into_iter().map(|(Kind { beginning, status, reason }, mut client)| {
        std::thread::spawn(move || {
            client.send(&beginning);
            for piece in 0..20 {
                std::thread::sleep(Duration::from_millis(if piece == 10 { 660 } else { 50 }));
                client.send(vec![b'x'; 2048]);
            }
            let reply = client.read_reply();
            assert_eq!((reply.status, reply.refusal()), (status, Some(reason)), "{beginning:.200}");
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

/// So short that the connection goes on behind it.
fn short_rest() -> Kind {
    kind("POST /nowhere", "Content-Length: 40960\r\n\r\n", 404, "unmatched")
}

/// It went on sending after it was told that it had taken too long.
#[test]
fn a_client_that_was_too_slow_can_still_read_that_it_was() {
    let upstream = Scripted::start(|conn| while conn.read_request().is_some() {});
    let gateway = Gateway::bare(upstream.address, &["--header-timeout", "300ms", "--idle-body-timeout", "5s"]);
    let head = http::compose(gateway.data, POST, &[("Content-Length", &LONG.to_string())], b"");
    let head = String::from_utf8(head).unwrap();
    for (beginning, reason) in [("GET /profiles/1 HTTP/1.1\r\nX-Long: ", "header_timeout"), (&*head, "body_timeout")] {
        let mut client = Connection::open(gateway.data);
        client.send(beginning);
        client.wait_for_input();
        client.send(vec![b'x'; LONG]);
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.refusal()), (408, Some(reason)));
    }
}

/// A UCS that refuses what it has read the head of, and reads no more.
#[test]
fn an_early_answer_of_ucs_reaches_a_client_that_sends_all_at_once() {
    let (heard, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        conn.read_head();
        conn.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nlogin");
        conn.leaves_unread();
        let _ = told.lock().unwrap().recv_timeout(PATIENCE);
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, POST, &[], &vec![b'x'; 8 * LONG]));
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.text()), (401, "login".to_owned()));
    heard.send(()).unwrap();
}

const OPEN: &str = "ucs_gateway_client_connections_open";

/// By the longest silence, and by the slowest pace.
#[test]
fn a_refused_client_that_neither_ends_nor_sends_is_let_go() {
    let upstream = Scripted::ok();
    let limits = ["--idle-body-timeout", "400ms", "--min-body-rate", "100KiB"];
    let gateway = Gateway::bare(upstream.address, &limits);
    for Kind { beginning, .. } in kinds().into_iter().take(3) {
        let mut client = Connection::open(gateway.data);
        client.send(&beginning);
        eventually("a silent one is gone", || admin::metric(&gateway, OPEN) == 0.0);
        let mut client = Connection::open(gateway.data);
        client.send(&beginning);
        while client.try_send("x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        eventually("a slow one is gone", || admin::metric(&gateway, OPEN) == 0.0);
    }
}

/// The longest silence of a client that was refused is 5 seconds, whatever the limit of others.
#[test]
fn a_refused_client_that_is_silent_holds_its_connection_for_seconds() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(format!("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n"));
    assert_eq!(client.read_reply().status, 404);
    assert!(client.is_closed(), "it was told at once");
    eventually("it is gone", || admin::metric(&gateway, OPEN) == 0.0);
}

/// Half a minute, so in the long run only.
#[test]
fn a_refused_client_that_sends_for_ever_is_let_go() {
    if std::env::var_os("UCS_GATEWAY_FULL").is_none() {
        return;
    }
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n");
    let begun = Instant::now();
    while client.try_send(vec![b'x'; 1 << 16]).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30) + PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.elapsed() > Duration::from_secs(20));
}

/// What a client sends that was refused is nothing that a stop waits for.
#[test]
fn a_stop_does_not_wait_for_refused_clients() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--stop-timeout", "1h"]);
    let senders = [POST_FOR_EVER, SHORT_REST].map(|beginning| {
        let mut client = Connection::open(gateway.data);
        client.send(beginning);
        assert_eq!(client.read_reply().status, 404);
        std::thread::spawn(move || {
            while client.try_send("x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    });
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

const POST_FOR_EVER: &str = "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n";
const SHORT_REST: &str = "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";

/// Nor is it anything that takes room beyond the limit of connections.
#[test]
fn a_refused_client_that_is_sending_counts_as_a_connection() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--max-connections", "1"]);
    let mut client = Connection::open(gateway.data);
    client.send(POST_FOR_EVER);
    assert_eq!(client.read_reply().status, 404);
    assert!(Connection::open(gateway.data).is_closed());
    assert_eq!(admin::metric(&gateway, OPEN), 1.0);
    drop(client);
    eventually("there is room again", || admin::metric(&gateway, OPEN) == 0.0);
}

/// The clients that most of UCS's users have: each sends its body whole, at once or slowly, then reads.
#[test]
fn python_s_http_client_hears_every_refusal() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/proxying/refused_uploads/client.py");
    refused_as_it_should_be("python3", script);
}

#[test]
fn java_s_http_client_hears_every_refusal() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/proxying/refused_uploads/Client.java");
    refused_as_it_should_be("java", script);
}

/// Runs the program with the gateway's address, in maintenance of profiles. It prints a status a line: of 4 MB at once,
/// of 4 MB in chunks, of 40 KB over 1.6 s, and of 200 bytes four times.
#[track_caller]
fn refused_as_it_should_be(program: &str, script: &str) {
    if Command::new(program).arg("--version").output().is_err() {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "{program} is needed");
        eprintln!("skipped, as it needs {program}");
        return;
    }
    let gateway = Gateway::bare(nobody_listens(), &[]);
    let run = Command::new(program).arg(script).arg(gateway.data.to_string()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{complained}");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["503"; 7], "{complained}");
    // One each for the long ones, whose connection ends; the short ones share theirs.
    let connections = admin::metric(&gateway, "ucs_gateway_client_connections_total");
    assert!(connections <= 4.0, "{connections} connections for seven requests");
}
