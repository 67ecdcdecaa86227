//! Peers at the documented minimum rate, which are never given up, in either direction.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::GET;
use crate::support::{Gateway, PATIENCE, Scripted, http};

/// Far more than the gateway and the system buffer.
const LONG: u64 = 8 << 20;

/// Plays of a peer on a machine that holds it up.
const ATTEMPTS: u32 = 3;

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

    /// Moves the bytes that are due, ten times a second, and the longest that this paused.
    fn keep(&self, mut due: impl FnMut(usize) -> io::Result<()>) -> (io::Result<()>, Duration) {
        let (began, mut moved, mut pause) = (Instant::now(), 0, Duration::ZERO);
        while began.elapsed() < self.lasts {
            let before = Instant::now();
            std::thread::sleep(Duration::from_millis(100));
            let until_now = (began.elapsed().as_secs_f64() * self.bytes_a_second as f64) as u64;
            if until_now > moved {
                if let Err(error) = due((until_now - moved) as usize) {
                    return (Err(error), pause.max(before.elapsed()));
                }
                moved = until_now;
            }
            pause = pause.max(before.elapsed());
        }
        (Ok(()), pause)
    }

    /// Plays a peer, and again if a busy machine held it up: then it did not keep the rate itself.
    #[track_caller]
    fn is_kept(&self, peer: impl Fn() -> (io::Result<()>, Duration)) {
        for _ in 0..ATTEMPTS {
            match peer() {
                (Ok(()), _) => return,
                (Err(error), pause) if pause < self.silence / 4 => panic!("{error}; the longest pause was {pause:?}"),
                (Err(error), pause) => eprintln!("not judged: {error}; the longest pause was {pause:?}"),
            }
        }
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
    pace.is_kept(|| {
        let mut client = connect(&gateway);
        client.write_all(&http::compose(gateway.data, GET, &[], b"")).unwrap();
        pace.keep(|due| client.read_exact(&mut vec![0; due]))
    });
}

#[test]
fn a_sender_at_the_minimum_rate_is_not_given_up() {
    let pace = Pace::of_this_run();
    let upstream = Scripted::ok();
    let gateway = pace.gateway(upstream.address);
    pace.is_kept(|| {
        let mut client = connect(&gateway);
        client.write_all(b"POST /profiles HTTP/1.1\r\nHost: ucs\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let send =
            |mut client: &TcpStream, due| client.write_all(format!("{due:x}\r\n{}\r\n", "x".repeat(due)).as_bytes());
        let (sent, pause) = pace.keep(|due| send(&client, due));
        let mut reply = [0; 15];
        let ended = sent.and_then(|()| client.write_all(b"0\r\n\r\n")).and_then(|()| client.read_exact(&mut reply));
        if ended.is_ok() {
            assert_eq!(String::from_utf8_lossy(&reply), "HTTP/1.1 200 OK", "the longest pause was {pause:?}");
        }
        (ended, pause)
    });
}
