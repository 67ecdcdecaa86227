//! Interim responses (RFC 9110, 15.2): those of UCS, and 100 for a client that waits with its body.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use super::start;
use crate::support::h2::END_STREAM;
use crate::support::{H2, PATIENCE, Scripted, eventually, nobody_listens};

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nConnection: x-hop\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

/// UCS says these and waits for a word of the test before its final response.
fn waiting_after(interim: String) -> (Scripted, mpsc::Sender<()>) {
    let (sender, go) = mpsc::channel::<()>();
    let go = Mutex::new(go);
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            if !request.head.contains("/plain") {
                conn.write(&interim);
                let _ = go.lock().unwrap().recv_timeout(PATIENCE);
            }
            let is_head = request.head.starts_with("HEAD ");
            conn.write(format!("{FINAL}{}", if is_head { "" } else { "ok" }));
        }
    });
    (upstream, sender)
}

#[test]
fn interim_responses_of_ucs_are_passed_on_before_the_final_one_exists() {
    let interim = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Still Busy\r\n\r\n{EARLY}");
    let (upstream, sender) = waiting_after(interim);
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    for (line, body) in [("GET /profiles/1", "ok"), ("POST /profiles", "ok"), ("HEAD /profiles/1", "")] {
        let stream = client.request(line, &[]);
        assert_eq!(client.interim(stream).status, 102, "{line}");
        let early = client.interim(stream);
        assert_eq!((early.status, early.header("link")), (103, Some("</x>; rel=preload")), "{line}");
        assert_eq!(early.header("via"), Some("1.1 ucs-gateway"), "{line}");
        assert_eq!(early.headers.len(), 2, "no field of the connection to UCS: {early:?}");
        sender.send(()).unwrap();
        let reply = client.reply(stream);
        assert_eq!((reply.status, reply.text().as_str(), reply.interim), (200, body, vec![]), "{line}");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn interim_responses_that_come_with_the_final_one_precede_it() {
    let upstream = Scripted::answering(format!("{EARLY}{EARLY}{FINAL}ok"));
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    for _ in 0..2 {
        let reply = client.ask("GET /profiles/1", &[]);
        assert_eq!((reply.status, reply.text(), reply.interim), (200, "ok".to_owned(), vec![103, 103]));
    }
}

#[test]
fn interim_responses_of_a_stream_touch_no_other() {
    let (upstream, sender) = waiting_after(EARLY.to_owned());
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let (first, second) = (client.request("GET /profiles/1", &[]), client.request("GET /profiles/2", &[]));
    for stream in [second, first] {
        assert_eq!(client.interim(stream).status, 103);
    }
    let plain = client.ask("GET /profiles/plain", &[]);
    assert_eq!((plain.status, plain.interim), (200, vec![]));
    (0..2).for_each(|_| sender.send(()).unwrap());
    for stream in [first, second] {
        let reply = client.reply(stream);
        assert_eq!((reply.status, reply.text(), reply.interim), (200, "ok".to_owned(), vec![]));
    }
}

/// More of them than the systems on both sides keep for a client that does not read yet.
#[test]
fn no_interim_response_is_lost_to_a_client_that_reads_late() {
    const COUNT: usize = 60;
    const STREAMS: usize = 60;
    let long = format!("HTTP/1.1 103 Early Hints\r\nLink: </{}>\r\n\r\n", "x".repeat(4000));
    let done = Arc::new(AtomicUsize::new(0));
    let said = Arc::clone(&done);
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            (0..COUNT).for_each(|_| conn.write(&long));
            conn.write(format!("{FINAL}ok"));
            said.fetch_add(1, Ordering::Relaxed);
        }
    });
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    let streams: Vec<u32> = (0..STREAMS).map(|_| client.request("GET /profiles/1", &[])).collect();
    eventually("UCS has said all", || done.load(Ordering::Relaxed) == STREAMS);
    for stream in streams {
        let reply = client.reply(stream);
        assert_eq!((reply.status, reply.text(), reply.interim.len()), (200, "ok".to_owned(), COUNT));
    }
}

#[test]
fn a_storm_of_interim_responses_ends() {
    let storm = EARLY.repeat(5000);
    let upstream = Scripted::answering(storm);
    let gateway = start(upstream.address, &[]);
    let reply = H2::open(gateway.data).ask("GET /profiles/1", &[]);
    assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_broken")));
    assert!(reply.interim.len() > 100, "{}", reply.interim.len());
}

#[test]
fn a_client_that_expects_100_gets_it_once_the_request_is_on_its_way() {
    let upstream = Scripted::with_lengths();
    let gateway = start(upstream.address, &[]);
    let mut client = H2::open(gateway.data);
    for length in [&[("content-length", "5")][..], &[]] {
        let stream = client.upload("POST /profiles", &[&[("expect", "100-continue")], length].concat());
        assert_eq!(client.interim(stream).status, 100);
        client.data(stream, "hello", END_STREAM);
        let reply = client.reply(stream);
        assert_eq!((reply.status, reply.text(), reply.interim), (200, "5".to_owned(), vec![]));
    }
    // One without a body waits for nothing.
    let reply = client.ask("POST /profiles", &[("expect", "100-continue")]);
    assert_eq!((reply.status, reply.interim), (200, vec![]));
    let received = upstream.received_text().to_lowercase();
    assert!(!received.contains("expect"), "the gateway has answered it: {received}");
}

#[test]
fn a_client_that_expects_100_is_refused_without_it() {
    let upstream = Scripted::ok();
    let (gateway, alone) = (start(upstream.address, &[]), start(nobody_listens(), &[]));
    let expecting = [("expect", "100-continue"), ("content-length", "5")];
    for (gateway, line, status) in [
        (&gateway, "POST /metadata/profiles/extensions", 503),
        (&gateway, "POST /nowhere", 404),
        (&alone, "POST /profiles", 502),
    ] {
        let mut client = H2::open(gateway.data);
        let stream = client.upload(line, &expecting);
        let reply = client.reply(stream);
        assert_eq!((reply.status, &reply.interim[..]), (status, &[][..]), "{line}");
    }
    assert_eq!(upstream.connections(), 0);
}
