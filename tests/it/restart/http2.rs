//! Restarts under load with clients of HTTP/2, with and without TLS, which keep their connection until they are told of its end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{CLIENTS, Over, handle, restart_under_load, start_on};
use crate::support::h2::{End, GOAWAY};
use crate::support::tls::{self, Authority};
use crate::support::{H2, TempDir, Ucs};

#[derive(Default)]
struct Outcomes {
    answered: AtomicU64,
    lost: Mutex<Vec<String>>,
    over: AtomicBool,
}

#[test]
fn restarts_under_load_lose_no_stream() {
    restarts_lose_no_stream(6, None);
}

#[test]
fn restarts_under_load_lose_no_stream_over_tls() {
    restarts_lose_no_stream(3, Some(&Authority::new("clients")));
}

/// So many restarts, or 50 in a full run.
fn restarts_lose_no_stream(restarts: u32, tls: Option<&Authority>) {
    let restarts = if std::env::var_os("UCS_GATEWAY_FULL").is_some() { 50 } else { restarts };
    let (ucs, dir, outcomes) = (Ucs::usual(), TempDir::new(), Outcomes::default());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let protocol = match tls.map(|authority| authority.issue("gateway")) {
        None => "UCS_GATEWAY_H2C=true".to_owned(),
        Some(own) => {
            format!("UCS_GATEWAY_TLS_CERT={} UCS_GATEWAY_TLS_KEY={}", own.certificate.display(), own.key.display())
        }
    };
    let variables = format!("LISTEN_FDS=1 LISTEN_FDNAMES=data {protocol}");
    let start = || start_on(handle(&socket), &variables, dir.path(), ucs.address);
    let mut gateway = start().expect("it starts");
    let own_address = socket.local_addr().unwrap();
    let address = tls.map_or(own_address, |authority| tls::tunnel_of(own_address, authority, &["h2"]));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let outcomes = &outcomes;
            scope.spawn(move || ask_until_over(address, client, outcomes));
        }
        // Ends the clients when this thread panics, too.
        let _over = Over(&outcomes.over);
        restart_under_load(restarts, &mut gateway, start, &outcomes.answered);
    });
    let (answered, lost) = (outcomes.answered.into_inner(), outcomes.lost.into_inner().unwrap());
    eprintln!("{restarts} restarts: {answered} responses, {} lost", lost.len());
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert_eq!(ucs.asked("GET", "/metadata/identification-keys").len() as u64, answered, "each was sent once");
}

fn ask_until_over(address: SocketAddr, seed: u64, outcomes: &Outcomes) {
    let (mut random, mut kept) = (seed, None);
    while !outcomes.over.load(Ordering::Relaxed) {
        // 0 to 6 ms between two requests.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % 6_000));
        let mut client: H2 = kept.take().unwrap_or_else(|| H2::open(address));
        // As a client does that reads all the time.
        if !client.read_what_is_there() || client.control.iter().any(|frame| frame.kind == GOAWAY) {
            continue;
        }
        // One to three streams at once.
        let streams: Vec<u32> =
            (0..=(random >> 60) % 3).map(|_| client.request("GET /metadata/identification-keys", &[])).collect();
        let ends: Vec<End> = streams.iter().map(|stream| client.end_of(*stream)).collect();
        if ends.iter().all(|end| *end == End::Regular) && streams.iter().all(|stream| client.status(*stream) == 200) {
            outcomes.answered.fetch_add(streams.len() as u64, Ordering::Relaxed);
            kept = Some(client);
        } else {
            outcomes.lost.lock().unwrap().push(format!("client {seed}: {ends:?}, {:?}", client.control));
        }
    }
}
