//! A small blocking client of HTTP/2 that sends exactly the frames it is told, right or wrong, and reads what comes. Every read
//! has a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::http::Reply;
use super::{PATIENCE, hpack};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames (RFC 9113, 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Settings.
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// Error codes (RFC 9113, 7).
pub const NO_ERROR: u32 = 0;
pub const CANCEL: u32 = 8;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { kind, flags, stream, payload: payload.into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = (self.payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes()].concat();
        [head, self.payload.clone()].concat()
    }

    /// The first number of the payload: the code of a reset, the last stream of a GOAWAY.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    /// The error code of a GOAWAY.
    pub fn goaway_code(&self) -> u32 {
        u32::from_be_bytes(self.payload[4..8].try_into().unwrap())
    }
}

/// One HTTP/2 connection.
#[derive(Debug)]
pub struct H2 {
    stream: TcpStream,
    ahead: Vec<u8>,
    authority: String,
    next: u32,
    streams: BTreeMap<u32, Received>,
    /// Whether the peer's SETTINGS and PING are acknowledged, and windows are opened as bodies are read.
    is_polite: bool,
    /// The frames of the connection itself that were not expected so far: GOAWAY, acknowledgements.
    pub control: Vec<Frame>,
    /// The streams that were reset, with the codes.
    pub resets: Vec<(u32, u32)>,
}

/// What has come of a stream.
#[derive(Clone, Debug, Default)]
struct Received {
    reply: Option<Reply>,
    interim: VecDeque<Reply>,
    end: Option<End>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last frame.
    Regular,
    /// By a reset with this code.
    Reset(u32),
    /// With the connection.
    Closed,
}

impl H2 {
    /// Connects and says the preface.
    pub fn open(address: SocketAddr) -> H2 {
        H2::open_with(address, &[])
    }

    /// The same with these settings.
    pub fn open_with(address: SocketAddr, settings: &[(u16, u32)]) -> H2 {
        let mut h2 = H2::connect(address);
        let settings = [&[(HEADER_TABLE_SIZE, 0)], settings].concat();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        h2.send([PREFACE, &Frame::new(SETTINGS, 0, 0, payload).bytes()].concat());
        h2
    }

    /// Connects and says nothing.
    pub fn connect(address: SocketAddr) -> H2 {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (ahead, control, resets, streams) = Default::default();
        H2 { stream, ahead, authority: address.to_string(), next: 1, streams, is_polite: true, control, resets }
    }

    /// Another connection to the same server, which says nothing.
    pub fn another(&self) -> H2 {
        H2::connect(self.authority.parse().unwrap())
    }

    /// From now on it acknowledges nothing and opens no window.
    pub fn impolite(mut self) -> H2 {
        self.keep_windows_shut();
        self
    }

    /// The same for one that is borrowed.
    pub fn keep_windows_shut(&mut self) {
        self.is_polite = false;
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    #[track_caller]
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) {
        self.send(Frame::new(kind, flags, stream, payload).bytes());
    }

    /// The number of the next stream.
    pub fn next_stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// A request without a body: `line` is method and target.
    #[track_caller]
    pub fn request(&mut self, line: &str, fields: &[(&str, &str)]) -> u32 {
        self.begin(line, fields, END_STREAM)
    }

    /// A request whose body follows.
    #[track_caller]
    pub fn upload(&mut self, line: &str, fields: &[(&str, &str)]) -> u32 {
        self.begin(line, fields, 0)
    }

    #[track_caller]
    fn begin(&mut self, line: &str, fields: &[(&str, &str)], flags: u8) -> u32 {
        let (method, path) = line.split_once(' ').unwrap();
        let authority = self.authority.clone();
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", &authority), (":path", path)];
        self.headers(&[&pseudo, fields].concat(), flags)
    }

    /// Opens a stream with exactly these fields.
    #[track_caller]
    pub fn headers(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.next_stream();
        self.frame(HEADERS, END_HEADERS | flags, stream, hpack::encode(fields));
        stream
    }

    /// A piece of a body.
    #[track_caller]
    pub fn data(&mut self, stream: u32, piece: impl AsRef<[u8]>, flags: u8) {
        self.frame(DATA, flags, stream, piece.as_ref());
    }

    /// The trailers of a request.
    #[track_caller]
    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, hpack::encode(fields));
    }

    /// The response of this stream, which ends regularly.
    #[track_caller]
    pub fn reply(&mut self, stream: u32) -> Reply {
        let end = self.end_of(stream);
        let received = &self.streams[&stream];
        assert_eq!(end, End::Regular, "{received:?}");
        let mut reply = received.reply.clone().expect("a response has fields");
        reply.interim = received.interim.iter().map(|interim| interim.status).collect();
        reply
    }

    /// Request and response.
    #[track_caller]
    pub fn ask(&mut self, line: &str, fields: &[(&str, &str)]) -> Reply {
        let stream = self.request(line, fields);
        self.reply(stream)
    }

    /// Waits for the head of the response of this stream, if it is not there yet: its status.
    #[track_caller]
    pub fn status(&mut self, stream: u32) -> u16 {
        loop {
            let received = self.streams.entry(stream).or_default();
            if let Some(reply) = &received.reply {
                return reply.status;
            }
            assert_eq!(received.end, None, "stream {stream} ended");
            self.advance();
        }
    }

    /// The next interim response of this stream.
    #[track_caller]
    pub fn interim(&mut self, stream: u32) -> Reply {
        loop {
            let received = self.streams.entry(stream).or_default();
            if let Some(interim) = received.interim.pop_front() {
                return interim;
            }
            assert!(received.end.is_none() && received.reply.is_none(), "stream {stream}: {received:?}");
            self.advance();
        }
    }

    /// How this stream ends.
    #[track_caller]
    pub fn end_of(&mut self, stream: u32) -> End {
        loop {
            if let Some(end) = self.streams.entry(stream).or_default().end {
                return end;
            }
            self.advance();
        }
    }

    /// What has come of the body of this stream's response.
    pub fn body(&self, stream: u32) -> &[u8] {
        self.streams.get(&stream).and_then(|received| received.reply.as_ref()).map_or(&[], |reply| &reply.body)
    }

    /// The last word of the connection: waits for its GOAWAY.
    #[track_caller]
    pub fn goaway(&mut self) -> Frame {
        loop {
            if let Some(place) = self.control.iter().position(|frame| frame.kind == GOAWAY) {
                return self.control.remove(place);
            }
            assert!(self.advance(), "the connection ended without GOAWAY");
        }
    }

    /// Waits for the acknowledgement of a PING that is sent now: all frames before it have been read.
    #[track_caller]
    pub fn ping(&mut self) {
        self.frame(PING, 0, 0, *b"are you?");
        let is_ack = |frame: &Frame| frame.kind == PING && frame.flags & ACK != 0;
        while !self.control.iter().any(is_ack) {
            assert!(self.advance(), "the connection ended before its acknowledgement");
        }
        self.control.retain(|frame| !is_ack(frame));
    }

    /// Reads all that comes until the server ends the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) {
        while self.advance() {}
    }

    /// Reads what has come already; false at the end of the connection.
    pub fn read_what_is_there(&mut self) -> bool {
        loop {
            self.stream.set_nonblocking(true).unwrap();
            let there = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false).unwrap();
            match there {
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.ahead.is_empty() => return true,
                Ok(1..) | Err(_) if self.advance() => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// Waits longer than others for what comes.
    pub fn with_patience(self, patience: Duration) -> H2 {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// Goes away with a RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads one frame and notes it; false at the end of the connection.
    #[track_caller]
    pub fn advance(&mut self) -> bool {
        let Some(frame) = self.read_frame() else {
            self.streams.values_mut().for_each(|stream| stream.end = stream.end.or(Some(End::Closed)));
            return false;
        };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 && self.is_polite => {
                let _ = self.try_send(Frame::new(SETTINGS, ACK, 0, []).bytes());
            }
            PING if frame.flags & ACK == 0 && self.is_polite => {
                let _ = self.try_send(Frame::new(PING, ACK, 0, frame.payload).bytes());
            }
            _ if frame.stream == 0 => self.control.push(frame),
            _ => self.note(&frame),
        }
        true
    }

    #[track_caller]
    fn note(&mut self, frame: &Frame) {
        let received = self.streams.entry(frame.stream).or_default();
        match frame.kind {
            HEADERS => {
                assert_ne!(frame.flags & END_HEADERS, 0, "longer heads are not read here");
                note_fields(received, hpack::decode(&frame.payload));
            }
            DATA => received.reply.as_mut().expect("data follows a head").body.extend(&frame.payload),
            RST_STREAM => {
                received.end = received.end.or(Some(End::Reset(frame.number())));
                self.resets.push((frame.stream, frame.number()));
            }
            WINDOW_UPDATE => {}
            _ => panic!("unexpected {frame:?}"),
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            received.end = Some(End::Regular);
        } else if frame.kind == DATA && self.is_polite && !frame.payload.is_empty() {
            self.open_window(frame.stream, frame.payload.len() as u32);
        }
        if frame.kind == DATA && self.is_polite && !frame.payload.is_empty() {
            self.open_window(0, frame.payload.len() as u32);
        }
    }

    /// The server may send so many more bytes of this stream, or of the connection.
    pub fn open_window(&mut self, stream: u32, bytes: u32) {
        let _ = self.try_send(Frame::new(WINDOW_UPDATE, 0, stream, bytes.to_be_bytes()).bytes());
    }

    /// The next frame; none at the end.
    #[track_caller]
    pub fn read_frame(&mut self) -> Option<Frame> {
        let head = self.read_exact(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload: self.read_exact(length)? })
    }

    #[track_caller]
    fn read_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut buffer = [0; 64 * 1024];
        while self.ahead.len() < length {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.ahead.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return None;
                }
                Err(error) => panic!("{error}; streams {:?}, control {:?}", self.streams, self.control),
            }
        }
        Some(self.ahead.drain(..length).collect())
    }
}

fn note_fields(received: &mut Received, fields: Vec<(String, String)>) {
    let status = fields.iter().find(|(name, _)| name == ":status").map(|(_, value)| value.parse().unwrap());
    let fields: Vec<_> = fields.into_iter().filter(|(name, _)| !name.starts_with(':')).collect();
    let head =
        |status| Reply { status, headers: fields.clone(), body: Vec::new(), trailers: Vec::new(), interim: Vec::new() };
    match (status, &mut received.reply) {
        (Some(status @ 100..=199), None) => received.interim.push_back(head(status)),
        (Some(status), reply @ None) => *reply = Some(head(status)),
        (Some(status), Some(_)) => panic!("a second head, with {status}"),
        (None, Some(reply)) => reply.trailers = fields,
        (None, None) => panic!("a head without :status: {fields:?}"),
    }
}
