//! Clients that never stop asking, operators that never stop flipping, and a reader of the store. None of them minds a fault.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::checker::{Answer, Evidence};
use super::rig::{MEMBERS, Random, Rig};
use crate::support::http::compose;

/// Clients of each gateway.
const CLIENTS: usize = 3;

/// Operators, who know nothing of each other.
const OPERATORS: u64 = 2;

/// What operators give a drain.
const DRAIN: &str = "4s";

/// How long anybody waits for a response.
const PATIENCE: Duration = Duration::from_secs(20);

/// Begins all of it; it ends when `stop` is set.
pub fn begin<'s>(
    scope: &'s Scope<'s, '_>,
    rig: &Rig,
    evidence: &'s Evidence,
    stop: &'s AtomicBool,
    (on_timeout, seed): (&'static str, u64),
) {
    for number in 0..MEMBERS * CLIENTS {
        let addresses = rig.addresses();
        scope.spawn(move || {
            let mut turn = number;
            while !stop.load(Ordering::Relaxed) {
                let line =
                    ["DELETE /metadata/profiles/extensions/absent", "PUT /profiles/absent", "GET /profiles/absent"]
                        [turn % 3];
                let asked = addresses.data(number % MEMBERS).and_then(|address| ask(address, line, &[], b"{}"));
                // A refusal costs nothing, and a gateway may be away.
                std::thread::sleep(Duration::from_millis(if asked.is_some() { 2 } else { 50 }));
                turn += 1;
            }
        });
    }
    for operator in 0..OPERATORS {
        let addresses = rig.addresses();
        let mut random = Random::new(seed ^ (operator + 1) << 32);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let target = ["production", "maintenance"][random.below(2)];
                let body = format!(r#"{{"mode":"{target}","drain_timeout":"{DRAIN}","on_timeout":"{on_timeout}"}}"#);
                if let Some((status, body)) = addresses.operator(random.below(MEMBERS)).and_then(|(address, token)| {
                    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
                    ask(address, "PUT /mode", &headers, body.as_bytes())
                }) {
                    evidence.told(Answer { at: Instant::now(), target, status, body });
                }
                std::thread::sleep(Duration::from_millis(random.below(300) as u64));
            }
        });
    }
    let store = rig.observer();
    scope.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut hints = store.hints_of_mode();
            while !stop.load(Ordering::Relaxed) {
                if let Ok(contents) = store.read(Vec::new()).await
                    && let Some(mode) = contents.values.get("mode")
                {
                    let record: Value = serde_json::from_slice(&mode.bytes).unwrap();
                    if record["phase"] == "settled" {
                        evidence.saw(record["revision"].as_u64().unwrap());
                    }
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), hints.changed()).await;
            }
        });
    });
}

/// One call on a connection of its own; nothing if it broke.
pub fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let headers = [headers, &[("Connection", "close")]].concat();
    stream.write_all(&compose(address, line, &headers, body)).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}
