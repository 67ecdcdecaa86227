//! Connections on both sides: kept alive, pipelined, found stale, spread over the workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::{GET, POST};
use crate::support::{Conn, Connection, Gateway, PATIENCE, Scripted, admin, eventually, http, request};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn both_connections_are_kept_alive() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for body in [&b""[..], b"a", b"", b"abc"] {
        client.send(http::compose(gateway.data, POST, &[], body));
        assert_eq!(client.read_reply().text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(admin::metric(&gateway, "ucs_gateway_upstream_connections_reused_total"), 3.0);
}

#[test]
fn connections_to_ucs_are_shared_by_clients_one_after_the_other() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    for _ in 0..3 {
        assert_eq!(request(gateway.data, GET, &[], b"").text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_connection_that_ends_counts_for_no_request() {
    let gateway = Gateway::bare(Scripted::ok().address, &[]);
    let requests = || {
        let lines = admin::call(&gateway, "GET /metrics", None).text();
        let counts = lines.lines().filter(|line| line.starts_with("ucs_gateway_requests_total{"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, "GET /nowhere", &[], b""));
    assert_eq!(client.read_reply().status, 404);
    drop((client, Connection::open(gateway.data)));
    eventually("both are gone", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 0.0);
    assert_eq!(requests(), 1.0);
}

#[test]
fn a_client_that_asks_for_the_end_gets_it_and_ucs_does_not() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    client.send(http::compose(gateway.data, GET, &[("Connection", "close")], b""));
    let reply = client.read_reply();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert!(!upstream.received_text().to_lowercase().contains("connection:"), "{}", upstream.received_text());
}

#[test]
fn a_connection_that_ucs_ends_is_not_used_again() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        // Still open: only the header says that it must not be used.
        conn.is_closed();
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..3 {
        client.send(http::compose(gateway.data, POST, &[], b"x"));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (200, None), "UCS's word is for UCS's connection");
    }
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Scripted::start(|conn| {
        while let Some(request) = conn.read_request() {
            let target = request.head.split(' ').nth(1).unwrap_or_default().to_owned();
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let targets: Vec<String> = (0..50).map(|number| format!("/profiles/{number}")).collect();
    let with_body = |number: usize| if number.is_multiple_of(3) { vec![b'x'; number] } else { Vec::new() };
    let requests = targets.iter().enumerate();
    let bytes: Vec<u8> = requests
        .flat_map(|(number, target)| http::compose(gateway.data, &format!("PUT {target}"), &[], &with_body(number)))
        .collect();
    client.send(bytes);
    for target in &targets {
        assert_eq!(&client.read_reply().text(), target);
    }
}

#[test]
fn a_refusal_in_the_middle_of_a_pipeline_keeps_the_order() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    let lines = [GET, "GET /nowhere", GET, "POST /metadata/profiles/extensions", GET];
    client.send(lines.iter().flat_map(|line| http::compose(gateway.data, line, &[], b"")).collect::<Vec<u8>>());
    let statuses = lines.map(|_| client.read_reply().status);
    assert_eq!(statuses, [200, 404, 200, 503, 200]);
}

/// Answers the first request of its first connection, then closes that when the second comes: as if UCS's keep-alive
/// had just ended.
fn stale(conn: &mut Conn) {
    while conn.read_request().is_some() {
        if conn.index == 0 {
            conn.write(OK);
            conn.read_request();
            return;
        }
        conn.write(OK);
    }
}

#[test]
fn a_safe_request_on_a_stale_connection_is_sent_once_more() {
    let upstream = Scripted::start(stale);
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_eq!(client.read_reply().status, 200);
    }
    assert_eq!(upstream.connections(), 2);
    assert_eq!(upstream.received_text().matches("GET /profiles/1").count(), 3);
    assert_eq!(admin::metric(&gateway, "ucs_gateway_upstream_retries_total"), 1.0);
}

#[test]
fn a_mutating_request_on_a_stale_connection_is_not_sent_twice() {
    for body in [&b""[..], b"x"] {
        let upstream = Scripted::start(stale);
        let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
        assert_eq!(request(gateway.data, GET, &[], b"").status, 200);
        let reply = request(gateway.data, POST, &[], body);
        assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")));
        assert_eq!(upstream.received_text().matches("POST /profiles").count(), 1);
        assert_eq!(request(gateway.data, GET, &[], b"").status, 200, "the next one is well");
    }
}

#[test]
fn a_safe_request_is_sent_twice_at_the_most() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        if conn.index == 0 {
            conn.write(OK);
            conn.read_request();
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    assert_eq!(request(gateway.data, GET, &[], b"").status, 200);
    let reply = request(gateway.data, GET, &[], b"");
    assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")));
    assert_eq!(upstream.received_text().matches("GET /profiles/1").count(), 3);
}

#[test]
fn a_connection_that_was_closed_before_is_not_written_to() {
    let (sender, closed) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        if conn.read_request().is_some() {
            conn.write(OK);
            conn.close();
            let _ = sender.send(());
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    for round in 0..50 {
        client.send(http::compose(gateway.data, POST, &[], b"x"));
        let reply = client.read_reply();
        assert_eq!(reply.status, 200, "round {round}: {reply:?}");
        closed.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(upstream.received_text().matches("POST /profiles").count(), 50);
}

#[test]
fn an_idle_connection_to_ucs_is_closed_before_ucs_would() {
    let (sender, closed) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        conn.write(OK);
        let _ = sender.send(conn.is_closed());
    });
    let gateway = Gateway::bare(upstream.address, &["--upstream-idle", "200ms"]);
    assert_eq!(request(gateway.data, GET, &[], b"").status, 200);
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

/// So that a name that moves is followed: each new connection looks it up.
#[test]
fn a_connection_to_ucs_that_is_never_idle_is_replaced_after_its_time() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--upstream-max-age", "300ms", "--workers", "1"]);
    let mut client = Connection::open(gateway.data);
    let mut asked = 0;
    eventually("several connections have been used, one of them for several requests", || {
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_eq!(client.read_reply().text(), "ok");
        asked += 1;
        upstream.connections() > 2 && asked > upstream.connections()
    });
    assert_eq!(admin::metric(&gateway, "ucs_gateway_upstream_retries_total"), 0.0);
}

/// Each connection serves one request and is closed at the next, which is sent again on a new one.
#[test]
fn the_cap_on_connections_to_ucs_holds_for_requests_that_are_sent_again() {
    let (sender, counts) = mpsc::channel();
    let open = AtomicUsize::new(0);
    let upstream = Scripted::start(move |conn| {
        if conn.read_request().is_some() {
            // It has no response yet, so no other connection may have a request.
            let _ = sender.send(open.fetch_add(1, Ordering::SeqCst) + 1);
            // Long enough for another one to be seen beside it.
            std::thread::sleep(Duration::from_millis(1));
            open.fetch_sub(1, Ordering::SeqCst);
            conn.write(OK);
        }
        conn.read_request();
    });
    // The queue's limit must not pass on a busy machine.
    let limits = ["--workers", "1", "--upstream-connections", "1", "--connect-timeout", "2m"];
    let gateway = Gateway::bare(upstream.address, &limits);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                // Each waits for the requests of all others.
                let mut client = Connection::open(gateway.data).with_patience(3 * PATIENCE);
                for _ in 0..10 {
                    client.send(http::compose(gateway.data, GET, &[], b""));
                    assert_eq!(client.read_reply().text(), "ok");
                }
            });
        }
    });
    let counts: Vec<usize> = counts.try_iter().collect();
    assert!(counts.len() > 50 && counts.iter().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn connections_that_close_leave_the_deadlines_of_the_others_in_force() {
    let gateway = Gateway::bare(Scripted::ok().address, &["--workers", "1", "--header-timeout", "1s"]);
    let mut clients: Vec<Option<Connection>> = (0..64).map(|_| Some(Connection::open(gateway.data))).collect();
    let open = || admin::metric(&gateway, "ucs_gateway_client_connections_open");
    eventually("all are open", || open() == 64.0);
    // The first, the last, and two of three between them.
    clients.iter_mut().enumerate().filter(|(number, _)| number % 3 != 1).for_each(|(_, client)| *client = None);
    eventually("some have closed", || open() == 21.0);
    for client in clients.iter_mut().flatten() {
        client.send("GET / HTTP/1.1\r\n");
    }
    for client in clients.iter_mut().flatten() {
        assert_eq!(client.read_reply().status, 408);
    }
    drop(clients);
    eventually("all have closed", || open() == 0.0);
}

#[test]
fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let upstream = Scripted::start(|conn| {
        while conn.read_request().is_some() {
            conn.write([OK, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat());
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1"]);
    for _ in 0..20 {
        assert_eq!(request(gateway.data, GET, &[], b"").text(), "ok");
    }
}

#[test]
fn more_requests_than_connections_and_queue_are_told_so_at_once() {
    let (sender, come) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        conn.read_request();
        let _ = sender.send(());
        conn.is_closed();
    });
    let limits = ["--workers", "1", "--upstream-connections", "1", "--upstream-queue", "0"];
    let gateway = Gateway::bare(upstream.address, &limits);
    let mut first = Connection::open(gateway.data);
    first.send(http::compose(gateway.data, GET, &[], b""));
    come.recv_timeout(PATIENCE).unwrap();
    let reply = request(gateway.data, GET, &[], b"");
    assert_eq!((reply.status, reply.refusal()), (503, Some("overload")));
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
}

#[test]
fn eight_clients_that_stay_use_all_workers_equally() {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--workers", "4"]);
    let clients: Vec<Connection> = (0..8).map(|_| Connection::open(gateway.data)).collect();
    let clients = clients.into_iter().map(|mut client| {
        client.send(http::compose(gateway.data, GET, &[], b""));
        assert_eq!(client.read_reply().status, 200);
        client
    });
    let _open: Vec<Connection> = clients.collect();
    // Each worker waits with an epoll of its own: what that watches is what the worker serves.
    let mut served: Vec<usize> = epolls(&gateway).into_iter().map(|watched| watched.len()).collect();
    served.retain(|count| *count > 0);
    assert_eq!(served, [2, 2, 2, 2]);
}

/// For each epoll of the process, the client connections of the data port that it watches.
fn epolls(gateway: &Gateway) -> BTreeSet<BTreeSet<u64>> {
    let process = format!("/proc/{}", gateway.pid());
    let mut sockets = BTreeMap::new();
    for entry in std::fs::read_dir(format!("{process}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(target) = std::fs::read_link(&path) else { continue };
        let target = target.to_string_lossy();
        let number: u64 = path.file_name().unwrap().to_string_lossy().parse().unwrap();
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            sockets.insert(number, inode.to_owned());
        }
    }
    let clients = connected_inodes(gateway.data.port());
    let is_client = |number: &u64| sockets.get(number).is_some_and(|inode| clients.contains(inode));
    let watched = |info: String| {
        let numbers =
            info.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok());
        numbers.filter(is_client).collect::<BTreeSet<u64>>()
    };
    // A set of sets: a descriptor that was duplicated shows the same epoll again.
    let infos = std::fs::read_dir(format!("{process}/fdinfo")).unwrap();
    infos.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok()).map(watched).collect()
}

/// Inodes of the established sockets whose local port is this one.
fn connected_inodes(port: u16) -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let local = format!(":{port:04X}");
    rows.filter(|row| row[1].ends_with(&local) && row[3] == "01").map(|row| row[9].to_owned()).collect()
}

#[test]
fn what_waits_for_a_connection_goes_on_without_its_client_if_it_asks_for_a_change() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            if request.head.contains("/held") {
                let _ = told.lock().unwrap().recv_timeout(PATIENCE);
            }
            conn.write(OK);
        }
    });
    let gateway = Gateway::bare(upstream.address, &["--workers", "1", "--upstream-connections", "1"]);
    let begin = |line: &str, body: &[u8]| {
        let mut client = Connection::open(gateway.data);
        client.send(http::compose(gateway.data, line, &[], body));
        client
    };
    let in_flight = || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}");
    let mut held = begin("GET /profiles/held", b"");
    eventually("it is with UCS", || upstream.received_text().contains("/profiles/held"));
    let waiting = [begin("DELETE /profiles/queued", b""), begin(POST, b"a body"), begin("GET /profiles/never", b"")];
    eventually("the others wait", || in_flight() == 4.0);
    waiting.into_iter().for_each(Connection::reset);
    eventually("the read is over, as nothing of it is with UCS", || in_flight() == 3.0);
    go_on.send(()).unwrap();
    assert_eq!(held.read_reply().status, 200);
    eventually("all is counted out", || in_flight() == 0.0);
    let received = upstream.received_text();
    let times = ["DELETE /profiles/queued", POST, "a body", "never"].map(|part| received.matches(part).count());
    assert_eq!(times, [1, 1, 1, 0], "{received}");
    assert_eq!(upstream.connections(), 1);
    assert_eq!(admin::metric(&gateway, "ucs_gateway_abandoned{class=\"profile\"}"), 0.0);
}
