//! Each limit that counts something, with as much as it allows, with one more, and with ten times as much; then an ordinary request.

use std::sync::{Arc, Condvar, Mutex};

use super::GET;
use crate::support::{Connection, Gateway, Reply, Scripted, admin, eventually, request};

const FACTORS: [fn(usize) -> usize; 3] = [|limit| limit, |limit| limit + 1, |limit| 10 * limit];

/// A gateway with these flags in front of a UCS that responds to everything.
fn gateway(flags: &[&str]) -> (Scripted, Gateway) {
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, flags);
    (upstream, gateway)
}

fn send(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Reply {
    let mut client = Connection::open(gateway.data);
    client.send(bytes);
    client.read_reply()
}

/// What `limit`, one more and ten times as much are responded to; an ordinary request is served after each.
#[track_caller]
fn responses(gateway: &Gateway, limit: usize, message: impl Fn(usize) -> Vec<u8>) -> [u16; 3] {
    FACTORS.map(|factor| {
        let status = send(gateway, message(factor(limit))).status;
        assert_eq!(request(gateway.data, GET, &[], b"").status, 200, "after {}", factor(limit));
        status
    })
}

#[test]
fn heads_of_so_many_bytes() {
    let (_upstream, gateway) = gateway(&["--max-head", "4KiB"]);
    let head = |length: usize| {
        let (start, end) = ("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\nX-Long: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(length - start.len() - end.len())).into_bytes()
    };
    assert_eq!(responses(&gateway, 4096, head), [200, 431, 431]);
}

#[test]
fn heads_of_so_many_lines() {
    let (_upstream, gateway) = gateway(&["--max-headers", "20"]);
    let head = |lines: usize| {
        let more: String = (1..lines).map(|line| format!("X-{line}: x\r\n")).collect();
        format!("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n{more}\r\n").into_bytes()
    };
    assert_eq!(responses(&gateway, 20, head), [200, 431, 431]);
}

#[test]
fn targets_of_so_many_bytes() {
    let (_upstream, gateway) = gateway(&["--max-target", "100"]);
    let head = |length: usize| {
        format!("GET /profiles/{} HTTP/1.1\r\nHost: ucs\r\n\r\n", "x".repeat(length - "/profiles/".len())).into_bytes()
    };
    assert_eq!(responses(&gateway, 100, head), [200, 414, 414]);
}

#[test]
fn bodies_of_so_many_bytes() {
    let (_upstream, gateway) = gateway(&["--max-body", "1000"]);
    let counted = |length: usize| {
        format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
            .into_bytes()
    };
    let chunked = |length: usize| {
        let chunk = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
        format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}").into_bytes()
    };
    assert_eq!(responses(&gateway, 1000, counted), [200, 413, 413]);
    assert_eq!(responses(&gateway, 1000, chunked), [200, 413, 413]);
}

#[test]
fn so_many_connections() {
    const LIMIT: usize = 8;
    let (_upstream, gateway) = gateway(&["--max-connections", "8"]);
    let open = || admin::metric(&gateway, "ucs_gateway_client_connections_open");
    for factor in FACTORS {
        let mut clients: Vec<Connection> = (0..factor(LIMIT)).map(|_| Connection::open(gateway.data)).collect();
        let turned_away = clients.split_off(LIMIT);
        for client in &mut clients {
            client.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
            assert_eq!(client.read_reply().status, 200);
        }
        for mut client in turned_away {
            assert!(client.is_closed());
        }
        assert_eq!(open(), LIMIT as f64);
        drop(clients);
        eventually("all are gone", || open() == 0.0);
        assert_eq!(request(gateway.data, GET, &[], b"").status, 200);
        eventually("this one as well", || open() == 0.0);
    }
}

/// A UCS that holds each request for `/profiles/held` until it is told.
fn holding() -> (Scripted, Arc<(Mutex<bool>, Condvar)>) {
    let told = Arc::new((Mutex::new(false), Condvar::new()));
    let waits = Arc::clone(&told);
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            if request.head.contains("/profiles/held") {
                drop(waits.1.wait_while(waits.0.lock().unwrap(), |goes_on| !*goes_on));
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (upstream, told)
}

/// `limit` requests at once are all served in the end; of one more and of ten times as many, the rest are 503 at once.
#[track_caller]
fn holds(limit: usize, flags: &[&str]) {
    for factor in FACTORS {
        let (upstream, told) = holding();
        let gateway = Gateway::bare(upstream.address, flags);
        let ask = |_| {
            let mut client = Connection::open(gateway.data);
            client.send("GET /profiles/held HTTP/1.1\r\nHost: ucs\r\n\r\n");
            client
        };
        let held: Vec<Connection> = (0..limit).map(ask).collect();
        let in_flight = || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}");
        eventually("so many are admitted", || in_flight() == limit as f64);
        for mut client in (limit..factor(limit)).map(ask) {
            let reply = client.read_reply();
            assert_eq!((reply.status, reply.refusal()), (503, Some("overload")));
        }
        *told.0.lock().unwrap() = true;
        told.1.notify_all();
        for mut client in held {
            assert_eq!(client.read_reply().status, 200);
        }
        assert_eq!(request(gateway.data, GET, &[], b"").status, 200);
    }
}

#[test]
fn so_many_requests_of_a_class() {
    holds(4, &["--max-in-flight", "profile=4"]);
}

/// Clients behind a proxy: the address counts, as each has a connection for each request.
#[test]
fn the_requests_of_one_address_refuse_none_of_another() {
    let (upstream, told) = holding();
    let limits = ["--workers", "1", "--upstream-connections", "1", "--upstream-queue", "4", "--connect-timeout", "40s"];
    let gateway = Gateway::bare(upstream.address, &[&limits[..], &["--trusted-proxy", "127.0.0.0/8"]].concat());
    let ask = |client: &str| {
        let mut connection = Connection::open(gateway.data);
        let field = format!("X-Forwarded-For: {client}\r\n");
        connection.send(format!("GET /profiles/held HTTP/1.1\r\nHost: ucs\r\n{field}\r\n"));
        connection
    };
    let in_flight = || admin::metric(&gateway, "ucs_gateway_in_flight{set=\"production\"}");
    let mut crowd = Vec::new();
    for waiting in 1..=5 {
        crowd.push(ask("192.0.2.1"));
        eventually("it waits", || in_flight() == f64::from(waiting));
    }
    let mut other = ask("192.0.2.2");
    for mut newest in [crowd.pop().unwrap(), ask("192.0.2.1")] {
        let reply = newest.read_reply();
        assert_eq!((reply.status, reply.refusal()), (503, Some("overload")));
    }
    *told.0.lock().unwrap() = true;
    told.1.notify_all();
    assert_eq!(other.read_reply().status, 200);
    for mut client in crowd {
        assert_eq!(client.read_reply().status, 200);
    }
}

#[test]
fn so_many_connections_to_ucs_and_so_many_requests_that_wait_for_one() {
    // None waits too long, whatever the machine does.
    holds(6, &["--workers", "1", "--upstream-connections", "4", "--upstream-queue", "2", "--connect-timeout", "40s"]);
}
