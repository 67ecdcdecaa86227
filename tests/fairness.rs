//! A worker's clients take turns: one that has sent many requests at once does not keep the others waiting until all of them
//! are answered.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use ucs_gateway::proxy::worker::Stop;
use ucs_gateway::telemetry::GateSample;
use worker::{PATIENCE, Stand};

mod worker;

/// All of them fit into one read of the gateway, and into the buffers of the kernel on both ways.
const REQUESTS: usize = 1000;
const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn many_requests_at_once_are_answered_in_many_turns() {
    let stand = Stand::new("http://127.0.0.1:1");
    let mut client = TcpStream::connect(stand.address).unwrap();
    client.write_all(&REQUEST.repeat(REQUESTS)).unwrap();
    let stop = stand.stop.clone();
    let reader = std::thread::spawn(move || {
        let (mut answers, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        while answers.windows(MARK.len()).filter(|window| *window == MARK).count() < REQUESTS {
            let length = client.read(&mut buffer).unwrap();
            assert!(length > 0, "closed early");
            answers.extend_from_slice(&buffer[..length]);
        }
        stop.send(Stop::draining_for(PATIENCE)).unwrap();
    });
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let (metrics, seen_beside) = (Arc::clone(&stand.metrics), Rc::clone(&seen));
    stand.run(async move {
        loop {
            let text = metrics.render(GateSample::default()).unwrap();
            let count = text.lines().find(|line| line.contains("outcome=\"unmatched\"") && line.contains("none"));
            seen_beside.borrow_mut().insert(count.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()));
            tokio::task::yield_now().await;
        }
    });
    reader.join().unwrap();
    let between = seen.borrow().iter().flatten().filter(|count| (1..REQUESTS).contains(*count)).count();
    assert!(between >= REQUESTS / 10, "another task of the worker had {between} turns meanwhile: {seen:?}");
}

/// What every answer to these requests holds once.
const MARK: &[u8] = b"UCS-Gateway: refused; reason=unmatched";
