//! What each row of the matrix is played on: a gateway before a UCS that serves until it is told to misbehave, a client that
//! sees the difference between a whole answer and a cut one, and the counts that a fault must leave behind.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::{Conn, Gateway, PATIENCE, Scripted, admin};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// Rows that run at the same time. They wait more than they work.
const AT_ONCE: usize = 8;

/// Plays of a case on a machine that is too slow for short deadlines.
const ATTEMPTS: u32 = 5;

/// What UCS does with the next request.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum Play {
    /// Serves it and ends the connection.
    ServeAndClose,
    /// Serves it and keeps the connection.
    ServeAndKeep,
    /// The fault.
    Fault,
}

/// The three ways to ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    Get,
    PostLength,
    PostChunked,
}

impl Asked {
    pub const ALL: [Asked; 3] = [Asked::Get, Asked::PostLength, Asked::PostChunked];
    pub const POSTS: [Asked; 2] = [Asked::PostLength, Asked::PostChunked];

    /// The request; `half`: without the second half of its body, which is `halfrest`.
    fn bytes(self, mark: &str, half: bool) -> String {
        let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: ucs\r\nConnection: close\r\nX-Case: {mark}\r\n");
        let rest = |rest: &'static str| if half { "" } else { rest };
        match self {
            Asked::Get => head(super::super::GET) + "\r\n",
            Asked::PostLength => head(super::super::POST) + "Content-Length: 8\r\n\r\nhalf" + rest("rest"),
            Asked::PostChunked => {
                head(super::super::POST)
                    + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
                    + rest("4\r\nrest\r\n0\r\n\r\n")
            }
        }
    }
}

/// What the client got.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// An answer of the gateway: status and reason.
    Refused(u16, String),
    /// A whole answer of UCS: status and body.
    Whole(u16, String),
    /// An answer of UCS with this status that began and never ended.
    Cut(u16),
    /// Not one byte: some clients would take that for leave to ask again.
    Nothing,
}

impl Got {
    pub fn refused(status: u16, reason: &str) -> Got {
        Got::Refused(status, reason.to_owned())
    }

    pub fn whole(status: u16, body: &str) -> Got {
        Got::Whole(status, body.to_owned())
    }
}

/// What one case must come to.
#[derive(Clone, Debug)]
pub struct Expected {
    pub got: Got,
    /// `kind` of the one error that is counted.
    pub kind: Option<&'static str>,
    /// How often UCS is sent the request.
    pub seen: usize,
    /// Whether the exchange counts as abandoned, so that a drain waits the grace for it.
    pub abandoned: bool,
}

/// A gateway and its UCS.
pub struct Rig {
    pub gateway: Gateway,
    pub upstream: Scripted,
    play: Arc<AtomicU8>,
    /// Whether its deadlines are short: on a slow machine, one may pass before UCS has played its part.
    is_hurried: bool,
}

static MARKS: AtomicUsize = AtomicUsize::new(0);

impl Rig {
    /// `fault` is played once the first bytes of a request are there, or (`at_accept`) at once on a new connection. The
    /// connection is closed behind it.
    pub fn start(fault: impl Fn(&mut Conn) + Send + Sync + 'static, at_accept: bool, flags: &[&str]) -> Rig {
        let play = Arc::new(AtomicU8::new(Play::ServeAndClose as u8));
        let now = Arc::clone(&play);
        let is = move |play: Play| now.load(Ordering::SeqCst) == play as u8;
        let upstream = Scripted::start(move |conn| {
            if at_accept && is(Play::Fault) {
                return fault(conn);
            }
            while conn.is_asked() {
                if is(Play::Fault) {
                    return fault(conn);
                }
                if conn.read_request().is_none() {
                    return;
                }
                if is(Play::ServeAndClose) {
                    return conn.write(OK_AND_CLOSE);
                }
                conn.write(OK);
            }
        });
        // One worker: so the idle connection of one client is the next one's.
        let gateway = Gateway::bare(upstream.address, &[&["--workers", "1"], flags].concat());
        Rig { gateway, upstream, play, is_hurried: !flags.is_empty() }
    }

    pub fn set(&self, play: Play) {
        self.play.store(play as u8, Ordering::SeqCst);
    }

    /// One fault, from an untouched gateway to one that serves again.
    pub fn case(&self, what: &str, asked: Asked, reused: bool, half: bool, expected: &Expected) {
        let what = format!("{what}, {asked:?}, {}", if reused { "on a reused connection" } else { "on a fresh one" });
        for attempt in 0..ATTEMPTS {
            if reused {
                self.set(Play::ServeAndKeep);
                assert_eq!(self.ask_in_time(Asked::Get), Got::whole(200, "ok"), "{what}: before it");
            }
            let (before, connections) = (Counts::of(&self.gateway), self.upstream.connections());
            self.set(Play::Fault);
            let (got, mark) = self.ask(asked, half);
            let sent = || self.upstream.received_text().matches(&format!("X-Case: {mark}\r\n")).count();
            let is_as_expected = got == expected.got && sent() == expected.seen;
            if self.is_hurried && !is_as_expected && matches!(got, Got::Refused(408 | 504, _)) && attempt + 1 < ATTEMPTS
            {
                self.serves(&what);
                continue;
            }
            assert_eq!(got, expected.got, "{what}");
            assert_eq!(sent(), expected.seen, "{what}: how often it was sent");
            if reused {
                let further = self.upstream.connections() - connections;
                assert_eq!(further, expected.seen.saturating_sub(1), "{what}: connections made for it");
            }
            self.settles_at(&what, &before, expected);
            self.serves(&what);
            assert_eq!(sent(), expected.seen, "{what}: sent again later");
            return;
        }
    }

    /// Nothing is in flight any more, and what was counted is what should be.
    pub fn settles_at(&self, what: &str, before: &Counts, expected: &Expected) {
        let mut wanted = before.clone();
        wanted.in_flight = 0;
        wanted.abandoned += usize::from(expected.abandoned);
        if let Some(kind) = expected.kind {
            *wanted.errors.entry(format!("kind=\"{kind}\"")).or_default() += 1;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut counts = Counts::of(&self.gateway);
        while counts != wanted && Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(10));
            counts = Counts::of(&self.gateway);
        }
        assert_eq!(counts, wanted, "{what}: the counts afterwards");
    }

    /// The next requests are served. They mutate: so none can be tried again behind the test's back.
    pub fn serves(&self, what: &str) {
        self.set(Play::ServeAndClose);
        for asked in Asked::POSTS {
            assert_eq!(self.ask_in_time(asked), Got::whole(200, "ok"), "{what}: {asked:?} after it");
        }
    }

    /// Asks again while UCS, which serves at once, is late: with short deadlines a slow machine lets them pass.
    fn ask_in_time(&self, asked: Asked) -> Got {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (got, _) = self.ask(asked, false);
            if got != Got::refused(504, "upstream_timeout") || Instant::now() > deadline {
                return got;
            }
        }
    }

    /// Asks and reads to the end; what came, and the mark of the request in what UCS was sent.
    pub fn ask(&self, asked: Asked, half: bool) -> (Got, String) {
        let (mut client, mark) = begin(self.gateway.data, asked, half);
        (finish(&mut client), mark)
    }
}

/// Sends a request on a connection of its own.
pub fn begin(data: SocketAddr, asked: Asked, half: bool) -> (TcpStream, String) {
    let mark = MARKS.fetch_add(1, Ordering::Relaxed).to_string();
    let mut client = connect(data);
    client.write_all(asked.bytes(&mark, half).as_bytes()).unwrap();
    (client, mark)
}

pub fn connect(data: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&data, PATIENCE).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Reads until the gateway closes.
pub fn finish(client: &mut TcpStream) -> Got {
    let (bytes, _) = read_to_end(client);
    judge(&bytes)
}

/// All bytes, and whether a reset ended them.
pub fn read_to_end(client: &mut TcpStream) -> (Vec<u8>, bool) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match client.read(&mut piece) {
            Ok(0) => return (bytes, false),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (bytes, true),
            // The machine stopped the tests for a moment.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
}

fn judge(bytes: &[u8]) -> Got {
    let text = String::from_utf8_lossy(bytes);
    let mut text = &*text;
    // Interim responses precede the one that counts.
    while text.starts_with("HTTP/1.1 1") {
        text = text.split_once("\r\n\r\n").expect("half a head came").1;
    }
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        assert!(text.is_empty(), "half a head came: {text:?}");
        return Got::Nothing;
    };
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let body = match (field("transfer-encoding"), field("content-length")) {
        (Some(_), _) => unchunked(body),
        (None, Some(length)) => (body.len() == length.parse::<usize>().unwrap()).then(|| body.to_owned()),
        (None, None) => Some(body.to_owned()),
    };
    match (field("ucs-gateway").and_then(|value| value.strip_prefix("refused; reason=").map(str::to_owned)), body) {
        (Some(reason), Some(_)) => Got::Refused(status, reason),
        (None, Some(body)) => Got::Whole(status, body),
        (None, None) => Got::Cut(status),
        (Some(_), None) => panic!("a refusal was cut: {text:?}"),
    }
}

/// The data of chunks with their regular end and nothing behind it; none when that is missing.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (line, behind) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(line, 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        if size == 0 {
            let ends = behind.strip_prefix("\r\n").or_else(|| behind.split_once("\r\n\r\n").map(|(_, rest)| rest));
            return ends.map(|rest| assert_eq!(rest, "")).map(|()| body);
        }
        body += behind.get(..size)?;
        rest = behind.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// What a fault leaves in the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    in_flight: usize,
    abandoned: usize,
    errors: BTreeMap<String, usize>,
}

impl Counts {
    pub fn of(gateway: &Gateway) -> Counts {
        let text = admin::call(gateway, "GET /metrics", None).text();
        let series = |family: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{')?.split_once("} "));
            let values = lines.map(|(labels, value)| (labels.to_owned(), value.parse::<f64>().unwrap() as usize));
            values.collect::<BTreeMap<_, _>>()
        };
        let errors = series("ucs_gateway_upstream_errors_total");
        Counts {
            in_flight: series("ucs_gateway_in_flight").values().sum(),
            abandoned: series("ucs_gateway_abandoned").values().sum(),
            errors: errors.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// Plays every row, several at a time, and tells all that failed.
pub fn play_all<Row: Sync>(rows: &[Row], name: impl Fn(&Row) -> String + Sync, play: impl Fn(&Row) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(rows.len()) {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| play(row))).is_err() {
                        failed.lock().unwrap().push(name(row));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} rows failed: {failed:#?}", failed.len(), rows.len());
}
