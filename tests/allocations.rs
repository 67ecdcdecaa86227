//! How often a forwarded request allocates: the number is pinned, so that it cannot creep up unseen. A worker runs on this
//! test's own thread, between a client and an upstream on threads of their own, and only its allocations are counted.
//! Everything else is tested through the front door, in `tests/it`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use worker::Stand;

mod worker;

/// What a GET with three headers and an answer of 1 KB costs in steady state: the exchange, the places of the answer's header
/// lines, and the box in which the answer goes to the client. What the request lies in, and what is to be written, goes
/// into memory that is used again. Raise it only with a reason.
const ALLOCATIONS: u64 = 3;

const REQUEST: &[u8] =
    b"GET /profiles/0123456789AB HTTP/1.1\r\nHost: ucs.test:8080\r\nUser-Agent: load\r\nAccept: application/json\r\n\r\n";

#[test]
fn a_forwarded_request_allocates_no_more_than_it_did() {
    // What the first requests need once and the end of the worker are in both, and cancel out.
    let (few, many) = (allocations(200), allocations(1200));
    let each = (many - few) as f64 / 1000.0;
    println!("{each} allocations a request");
    assert!(each <= ALLOCATIONS as f64 + 0.5, "{each} allocations a request, where {ALLOCATIONS} are known");
}

/// Allocations of a worker's thread for so many requests on one connection.
fn allocations(requests: usize) -> u64 {
    let stand = Stand::new(&format!("http://{}", upstream()));
    let (address, stop) = (stand.address, stand.stop.clone());
    let client = std::thread::spawn(move || {
        ask(address, requests);
        stop.send(true).unwrap();
    });
    let counted = allocation_counter::measure(|| stand.run(std::future::ready(())));
    client.join().unwrap();
    counted.count_total
}

fn ask(address: SocketAddr, requests: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    for _ in 0..requests {
        stream.write_all(REQUEST).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        stream.read_exact(&mut [0; 1024]).unwrap();
    }
}

/// Answers every request with 1 KB, until its one connection ends.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
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
