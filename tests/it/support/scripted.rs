//! An upstream that does exactly what a test says, byte by byte, and remembers every byte that it was sent. It knows
//! just enough HTTP to read one request.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::PATIENCE;

/// A listener whose every connection runs the same script on a thread of its own.
pub struct Scripted {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
}

/// One connection, as the script sees it. It is closed when the script returns.
pub struct Conn {
    /// Its number, from 0, in the order of arrival.
    pub index: usize,
    stream: TcpStream,
    ahead: Vec<u8>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// A read met a RST.
    was_reset: bool,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and headers with the empty line.
    pub head: String,
    /// Without its framing.
    pub body: Vec<u8>,
    /// The lines behind a chunked body, without the empty one.
    pub trailers: String,
}

impl Scripted {
    /// Runs `script` for each connection.
    pub fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (kept, ended, script) = (Arc::clone(&seen), Arc::clone(&stopped), Arc::new(script));
        std::thread::spawn(move || {
            for index in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
                kept.lock().unwrap().push(Vec::new());
                let mut conn = Conn { index, stream, ahead: Vec::new(), seen: Arc::clone(&kept), was_reset: false };
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut conn));
            }
        });
        Scripted { address, seen, stopped }
    }

    /// Answers every request with these bytes, on connections that stay open.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Scripted {
        let answer = answer.into();
        Scripted::start(move |conn| {
            while conn.read_request().is_some() {
                conn.write(&answer);
            }
        })
    }

    /// Answers 200 with the body `ok`.
    pub fn ok() -> Scripted {
        Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// Answers `/profiles/long` with 1 GB, as far as the gateway takes it, and all else with the body `ok`.
    pub fn ok_or_long() -> Scripted {
        const LONG: u64 = 1_000_000_000;
        Scripted::start(|conn| {
            while let Some(request) = conn.read_request() {
                if request.head.contains("/profiles/long") {
                    conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
                    conn.write_pattern(LONG, PATIENCE, |_| {});
                    return;
                }
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        })
    }

    /// Answers with the length of the request's body.
    pub fn with_lengths() -> Scripted {
        Scripted::start(|conn| {
            while let Some(request) = conn.read_request() {
                let body = request.body.len().to_string();
                conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
        })
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// All bytes that were read, a connection after the other.
    pub fn received(&self) -> Vec<u8> {
        self.seen.lock().unwrap().concat()
    }

    /// Waits until it is asked for nothing more. A guess, as nothing tells it: no test may rest on it.
    pub fn grows_quiet(&self) {
        let mut before = 0;
        super::eventually("nothing more is asked for", || {
            let now = self.received().len();
            std::thread::sleep(Duration::from_millis(100));
            std::mem::replace(&mut before, now) == now
        });
    }

    /// What was read, for people and `contains`.
    pub fn received_text(&self) -> String {
        String::from_utf8_lossy(&self.received()).into_owned()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Conn {
    /// The address that the gateway connected to.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The next head with its empty line; none when the gateway has closed.
    pub fn read_head(&mut self) -> Option<String> {
        self.read_through(b"\r\n\r\n").map(|head| String::from_utf8_lossy(&head).into_owned())
    }

    /// The next request with its whole body; none when the gateway has closed, also in the middle of one.
    pub fn read_request(&mut self) -> Option<Received> {
        let head = self.read_head()?;
        let value = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let mut received = Received { head: head.clone(), body: Vec::new(), trailers: String::new() };
        if value("transfer-encoding").is_some() {
            self.read_chunks(&mut received)?;
        } else if let Some(length) = value("content-length") {
            received.body = self.read_exact(length.parse().unwrap())?;
        }
        Some(received)
    }

    /// So many bytes; none when fewer come.
    pub fn read_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < length {
            self.fill()?;
        }
        Some(self.ahead.drain(..length).collect())
    }

    /// Reads `length` bytes of the endless [`pattern`](super::pattern) without recording them; how many came before the
    /// end, or before one that is not of the pattern.
    pub fn read_pattern(&mut self, length: u64) -> u64 {
        let ahead = std::mem::take(&mut self.ahead);
        super::pattern::read(&mut ahead.as_slice().chain(&mut self.stream), length)
    }

    /// Writes `length` bytes of the pattern. Calls `stuck` with the count so far whenever `patience` passes in which
    /// nothing could be written. How many were written before the gateway went away.
    pub fn write_pattern(&mut self, length: u64, patience: Duration, stuck: impl FnMut(u64)) -> u64 {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        super::pattern::write(&mut self.stream, length, stuck)
    }

    /// Whether the gateway closes or cuts the connection; false when it sends something instead.
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && self.fill().is_none()
    }

    /// Waits for the first bytes of a request and leaves them; false when the gateway closes instead.
    pub fn is_asked(&mut self) -> bool {
        !self.ahead.is_empty() || self.fill().is_some()
    }

    /// Waits until something has come, and leaves it with the system; false when the gateway closes instead.
    pub fn leaves_unread(&mut self) -> bool {
        self.stream.peek(&mut [0]).is_ok_and(|length| length > 0)
    }

    /// Reads on until the gateway closes or cuts the connection.
    pub fn wait_for_the_end(&mut self) {
        while self.fill().is_some() {}
    }

    /// Reads on to the end, which is no regular one.
    pub fn is_reset_after_all(&mut self) -> bool {
        self.wait_for_the_end();
        self.was_reset
    }

    /// Sends these bytes; a gateway that has gone away is no error here.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The same, and whether all were taken.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Closes in both directions.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Goes away with a RST, as a killed process does; takes effect when the script returns.
    pub fn reset(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The same at once.
    pub fn reset_now(&mut self) {
        self.reset();
        let unconnected = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        self.stream = unconnected.into();
    }

    fn read_chunks(&mut self, received: &mut Received) -> Option<()> {
        loop {
            let line = self.read_through(b"\r\n")?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
            if size == 0 {
                break;
            }
            received.body.extend(self.read_exact(size)?);
            self.read_exact(2)?;
        }
        loop {
            let line = self.read_through(b"\r\n")?;
            if line == b"\r\n" {
                return Some(());
            }
            received.trailers += &String::from_utf8_lossy(&line);
        }
    }

    /// All bytes up to and with these.
    pub fn read_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return Some(self.ahead.drain(..at + end.len()).collect());
            }
            self.fill()?;
        }
    }

    /// Reads once; none at the end, at a cut, or when nothing comes for long.
    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            // The machine stopped the tests for a moment.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Ok(0) => None,
            Err(error) => {
                self.was_reset = error.kind() == ErrorKind::ConnectionReset;
                None
            }
            Ok(length) => {
                self.ahead.extend_from_slice(&buffer[..length]);
                self.seen.lock().unwrap()[self.index].extend_from_slice(&buffer[..length]);
                Some(())
            }
        }
    }
}
