//! Peers at the documented minimum rate, which are never given up, in either direction.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::GET;
use crate::support::{Gateway, PATIENCE, Scripted, http};

/// Far more than the gateway and the system buffer.
const LONG: u64 = 8 << 20;

/// The limits, and how long a peer keeps its pace: shorter than by default, with the same bytes within the silence that is allowed.
struct Pace {
    silence: Duration,
    bytes_a_second: u64,
    lasts: Duration,
}

impl Pace {
    fn of_this_run() -> Pace {
        let hour = Duration::from_secs(3600);
        if std::env::var_os("UCS_GATEWAY_FULL").is_some() {
            return Pace { silence: Duration::from_secs(60), bytes_a_second: 500, lasts: hour };
        }
        Pace { silence: Duration::from_secs(12), bytes_a_second: 2500, lasts: Duration::from_secs(40) }
    }

    fn gateway(&self, upstream: SocketAddr) -> Gateway {
        let (silence, rate) = (format!("{}s", self.silence.as_secs()), self.bytes_a_second.to_string());
        Gateway::bare(upstream, &["--idle-body-timeout", &silence, "--min-body-rate", &rate])
    }

    /// Moves the bytes that are due, ten times a second; how many that were.
    fn keep(&self, mut due: impl FnMut(usize) -> std::io::Result<()>) -> std::io::Result<u64> {
        let (began, mut moved) = (Instant::now(), 0);
        while began.elapsed() < self.lasts {
            std::thread::sleep(Duration::from_millis(100));
            let until_now = (began.elapsed().as_secs_f64() * self.bytes_a_second as f64) as u64;
            if until_now > moved {
                due((until_now - moved) as usize)?;
                moved = until_now;
            }
        }
        Ok(moved)
    }
}

/// A client whose system keeps little that it has not read: it acknowledges in small steps.
fn connect(gateway: &Gateway) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&gateway.data.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_reader_at_the_minimum_rate_is_not_given_up() {
    let pace = Pace::of_this_run();
    let upstream = Scripted::start(|conn| {
        if conn.read_request().is_some() {
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
            conn.write_pattern(LONG, PATIENCE, |_| {});
        }
    });
    let gateway = pace.gateway(upstream.address);
    let mut client = connect(&gateway);
    client.write_all(&http::compose(gateway.data, GET, &[], b"")).unwrap();
    let read = pace.keep(|due| client.read_exact(&mut vec![0; due]));
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn a_sender_at_the_minimum_rate_is_not_given_up() {
    let pace = Pace::of_this_run();
    let upstream = Scripted::ok();
    let gateway = pace.gateway(upstream.address);
    let mut client = connect(&gateway);
    client.write_all(b"POST /profiles HTTP/1.1\r\nHost: ucs\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let sent = pace.keep(|due| client.write_all(format!("{due:x}\r\n{}\r\n", "x".repeat(due)).as_bytes()));
    client.write_all(b"0\r\n\r\n").unwrap();
    let mut reply = [0; 15];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), "HTTP/1.1 200 OK", "{sent:?}");
}
