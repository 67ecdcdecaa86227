//! A small blocking HTTP/1.1 client that sends exactly the bytes it is told, and reads answers by RFC 9112. Every read
//! has a deadline; what does not fit panics with all that was read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Bytes that were read and belong to no answer yet.
    ahead: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Status of the 1xx answers that came before it.
    pub interim: Vec<u16>,
}

/// One request on a connection of its own. `line` is method and target; `Host`, `Connection: close` and, for a body,
/// `Content-Length` are added.
pub fn request(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut connection = Connection::open(address);
    let close: &[(&str, &str)] = &[("Connection", "close")];
    connection.send(compose(address, line, &[headers, close].concat(), body));
    if line.starts_with("HEAD ") { connection.read_reply_to_head() } else { connection.read_reply() }
}

/// The bytes of a request. `Host` is the address unless given; `Content-Length` is added for a body.
pub fn compose(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, ahead: Vec::new() }
    }

    /// From this address of the machine, as another client.
    pub fn open_from(source: [u8; 4], address: SocketAddr) -> Connection {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), PATIENCE).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, ahead: Vec::new() }
    }

    /// Waits longer than others for what comes.
    pub fn with_patience(self, patience: Duration) -> Connection {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    /// The same, where the server may close before it has read all.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next final answer with its body; 1xx answers before it are noted.
    #[track_caller]
    pub fn read_reply(&mut self) -> Reply {
        self.read_final(true)
    }

    /// The next final answer to a HEAD request: its headers promise a body that does not come.
    #[track_caller]
    pub fn read_reply_to_head(&mut self) -> Reply {
        self.read_final(false)
    }

    /// The next answer's head alone, be it 1xx or final; the body can be read with [`Connection::read_some`].
    #[track_caller]
    pub fn read_head(&mut self) -> Reply {
        let head = self.read_through(b"\r\n\r\n");
        parse_head(&String::from_utf8_lossy(&head))
    }

    /// The next bytes, whatever they are; none at the end.
    #[track_caller]
    pub fn read_some(&mut self) -> Vec<u8> {
        if self.ahead.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.ahead)
    }

    /// All bytes until the server closes or cuts the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.ahead);
        while self.fill() {
            bytes.append(&mut self.ahead);
        }
        bytes
    }

    /// Whether the server closed the connection with nothing more to say. Waits for the one or the other.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && !self.fill()
    }

    /// Whether the connection ends with a RST, after whatever else comes. Waits for its end.
    pub fn is_cut(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    /// Waits until something has come, and leaves it with the system.
    #[track_caller]
    pub fn wait_for_input(&mut self) {
        assert!(self.stream.peek(&mut [0]).is_ok_and(|length| length > 0), "nothing came");
    }

    /// Whether nothing comes for `time`: for asserting that the server waits.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = matches!(self.stream.peek(&mut [0]), Err(error) if is_timeout(error.kind()));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.ahead.is_empty() && silent
    }

    /// Reads `length` bytes of the endless [`pattern`](super::pattern); how many came before the end, or before one that
    /// is not of the pattern.
    pub fn read_pattern(&mut self, length: u64) -> u64 {
        let ahead = std::mem::take(&mut self.ahead);
        super::pattern::read(&mut ahead.as_slice().chain(&mut self.stream), length)
    }

    /// Writes `length` bytes of the pattern. Calls `stuck` with the count so far whenever `patience` passes in which
    /// nothing could be written. How many were written before the server went away.
    pub fn write_pattern(&mut self, length: u64, patience: Duration, stuck: impl FnMut(u64)) -> u64 {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        super::pattern::write(&mut self.stream, length, stuck)
    }

    /// The same connection, to send on it while another thread reads.
    pub fn another_handle(&self) -> Connection {
        Connection { stream: self.stream.try_clone().unwrap(), ahead: Vec::new() }
    }

    /// Says that no more will be sent, and goes on reading.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Goes away with a RST, as a crashed client does.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Makes the receive buffer small, so that a client that does not read is soon felt by the server. For small answers
    /// only: reading a large one through it takes for ever.
    pub fn with_small_receive_buffer(self) -> Connection {
        socket2::SockRef::from(&self.stream).set_recv_buffer_size(4096).unwrap();
        self
    }

    #[track_caller]
    fn read_final(&mut self, has_body: bool) -> Reply {
        let mut interim = Vec::new();
        let mut reply = loop {
            let head = self.read_head();
            if head.status >= 200 {
                break head;
            }
            interim.push(head.status);
        };
        reply.interim = interim;
        if !has_body || matches!(reply.status, 204 | 304) {
            return reply;
        }
        if reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.read_chunks(&mut reply);
        } else if let Some(length) = reply.header("content-length") {
            reply.body = self.read_exact(length.parse().unwrap());
        } else {
            reply.body = self.read_to_end();
        }
        reply
    }

    /// One piece of a chunked body; empty at its regular end, before the trailers.
    #[track_caller]
    pub fn read_chunk(&mut self) -> Vec<u8> {
        let line = String::from_utf8(self.read_through(b"\r\n")).unwrap();
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        if size == 0 {
            return Vec::new();
        }
        let piece = self.read_exact(size);
        assert_eq!(self.read_exact(2), b"\r\n", "a chunk ends where its size says");
        piece
    }

    #[track_caller]
    fn read_chunks(&mut self, reply: &mut Reply) {
        loop {
            let piece = self.read_chunk();
            if piece.is_empty() {
                break;
            }
            reply.body.extend(piece);
        }
        loop {
            let line = String::from_utf8(self.read_through(b"\r\n")).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { return };
            reply.trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    #[track_caller]
    fn read_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return self.ahead.drain(..at + end.len()).collect();
            }
            assert!(self.fill(), "the answer ended early: {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// So many bytes, whatever they are.
    #[track_caller]
    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.fill(), "only {} of {length} bytes of a body came", self.ahead.len());
        }
        self.ahead.drain(..length).collect()
    }

    /// Reads once; false at the end of the stream.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.ahead.extend_from_slice(&buffer[..length]);
                length > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            // The machine stopped the tests for a moment.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Err(error) if is_timeout(error.kind()) => {
                panic!("no answer within {PATIENCE:?}; so far {:?}", String::from_utf8_lossy(&self.ahead))
            }
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&self.ahead)),
        }
    }
}

impl Reply {
    /// The value of the only header of this name (lower case).
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "more than one {name} in {self:?}");
        value
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The gateway's reason for a refusal; none when UCS spoke.
    pub fn refusal(&self) -> Option<&str> {
        self.header("ucs-gateway").and_then(|value| value.strip_prefix("refused; reason="))
    }
}

fn parse_head(head: &str) -> Reply {
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let status = rest.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header line: {line:?}"));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Reply { status, headers: lines.map(field).collect(), body: Vec::new(), trailers: Vec::new(), interim: Vec::new() }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
