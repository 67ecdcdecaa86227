//! How often a forwarded request allocates: the number is pinned, so that it cannot creep up unseen. A worker runs on this
//! test's own thread, between a client and an upstream on threads of their own, and only its allocations are counted.
//! Everything else is tested through the front door, in `tests/it`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use ucs_gateway::proxy::worker::Stop;
use worker::{PATIENCE, Stand};

mod worker;

/// What a GET with three headers and an answer of 1 KB costs in steady state: the exchange, the places of the answer's header
/// lines, and the box in which the answer goes to the client. What the request lies in, and what is to be written, goes
/// into memory that is used again. Raise it only with a reason.
const ALLOCATIONS: u64 = 3;

const REQUEST: &[u8] =
    b"GET /profiles/0123456789AB HTTP/1.1\r\nHost: ucs.test:8080\r\nUser-Agent: load\r\nAccept: application/json\r\n\r\n";

/// What a POST of 2 KB that the mode refuses costs: what is said, and the box in which it goes to the client. The body
/// is dropped where it lies.
const REFUSED_ALLOCATIONS: u64 = 2;

#[test]
fn a_forwarded_request_allocates_no_more_than_it_did() {
    check(REQUEST.to_vec(), "200", ALLOCATIONS);
}

#[test]
fn a_refused_request_with_a_body_allocates_no_more_than_it_did() {
    let head = "POST /metadata/profiles/extensions HTTP/1.1\r\nHost: ucs.test:8080\r\nContent-Length: 2048\r\n\r\n";
    check([head.as_bytes(), &[b'x'; 2048]].concat(), "503", REFUSED_ALLOCATIONS);
}

fn check(request: Vec<u8>, status: &'static str, known: u64) {
    // What the first requests need once and the end of the worker are in both, and cancel out.
    let (few, many) = (allocations(&request, status, 200), allocations(&request, status, 1200));
    let each = (many - few) as f64 / 1000.0;
    println!("{each} allocations a request");
    assert!(each <= known as f64 + 0.5, "{each} allocations a request, where {known} are known");
}

/// Allocations of a worker's thread for so many requests on one connection.
fn allocations(request: &[u8], status: &'static str, requests: usize) -> u64 {
    let stand = Stand::new(&format!("http://{}", upstream()));
    let (address, stop, request) = (stand.address, stand.stop.clone(), request.to_vec());
    let client = std::thread::spawn(move || {
        ask(address, &request, status, requests);
        stop.send(Stop::draining_for(PATIENCE)).unwrap();
    });
    let counted = allocation_counter::measure(|| stand.run(std::future::ready(())));
    client.join().unwrap();
    counted.count_total
}

fn ask(address: SocketAddr, request: &[u8], status: &str, requests: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    for _ in 0..requests {
        stream.write_all(request).unwrap();
        let head = read_head(&mut stream).to_ascii_lowercase();
        assert_eq!(head.get(9..12), Some(status), "{head}");
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()).unwrap();
        stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    }
}

/// Answers every request with 1 KB, until its one connection ends.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let head = "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n";
        let answer = format!("{head}{}", "x".repeat(1024));
        while !read_head(&mut stream).is_empty() {
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

/// Up to the empty line, and no byte more; empty at the end.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}
