//! Many clients of the admin port at once, all of one kind, from one thread. They keep pressing: one that was sent away
//! comes again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::PATIENCE;

/// Descriptors that the largest crowd and the test itself need.
const DESCRIPTORS: u64 = 3000;

/// One crowd at a time, or all tests together would need too many descriptors.
static ONE: Mutex<()> = Mutex::new(());

/// What the clients of a crowd do. Tokens are what they show.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Four hundred requests for the page at once, and no answer is read.
    ReadsNothing,
    /// `/livez` again and again on one connection.
    Probes,
    /// Nothing at all.
    Silent,
    /// The beginning of a head.
    HalfHead,
    /// A head, and the beginning of its body.
    HalfBody,
    /// An event stream of which nothing is read.
    Streams(&'static str),
    /// `GET /mode` again and again on one connection.
    Reads(&'static str),
    /// `GET /mode` again and again with a password of another user name, each client from an address of its own.
    GuessesPasswords,
    /// Set Server Mode at the data port again and again on one connection.
    Sets(&'static str),
    /// Four hundred requests for the table at once, and a few bytes read at each push.
    Trickles(&'static str),
}

/// One of them.
#[derive(Debug)]
pub struct Client {
    kind: Kind,
    address: SocketAddr,
    stream: Option<TcpStream>,
    was_reset: bool,
}

/// All of them. They leave when it is dropped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl Crowd {
    /// Brings so many clients together, and returns when each has been there once.
    #[track_caller]
    pub fn gather(address: SocketAddr, size: usize, kind: Kind) -> Crowd {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        allow_descriptors();
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            stay_on_one_core();
            let mut clients: Vec<Client> = (0..size).map(|_| Crowd::client(address, kind)).collect();
            while !stopped.load(Ordering::Relaxed) {
                clients.iter_mut().take_while(|_| !stopped.load(Ordering::Relaxed)).for_each(Client::push);
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let crowd = Crowd { stop, rounds, thread: Some(thread), _alone: alone };
        crowd.all_have_pushed();
        crowd
    }

    /// One client alone, which has not come yet.
    pub fn client(address: SocketAddr, kind: Kind) -> Client {
        Client { kind, address, stream: None, was_reset: false }
    }

    /// Waits until a round has ended.
    #[track_caller]
    pub fn all_have_pushed(&self) {
        let (before, deadline) = (self.rounds.load(Ordering::Relaxed), Instant::now() + 12 * PATIENCE);
        while self.rounds.load(Ordering::Relaxed) == before {
            assert!(Instant::now() < deadline, "the crowd cannot even connect");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Client {
    /// Comes, if it is not there, and does what its kind does. Never waits.
    pub fn push(&mut self) {
        if self.stream.is_none() {
            let Ok(stream) = self.connect() else { return };
            stream.set_nonblocking(true).unwrap();
            self.stream = Some(stream);
            self.say(&self.greeting());
        }
        match self.kind {
            Kind::ReadsNothing => self.look(),
            Kind::Streams(_) => self.leave_if_refused(),
            Kind::Trickles(_) => drop(self.read(64)),
            Kind::Silent | Kind::HalfHead | Kind::HalfBody => while self.read(4096) {},
            Kind::Probes => self.ask(&get("/livez", None)),
            Kind::Reads(token) => self.ask(&get("/mode", Some(token))),
            Kind::GuessesPasswords => self.ask(&guess()),
            Kind::Sets(token) => self.ask(&set_server_mode(token)),
        }
    }

    /// Whether it was ever sent away by a reset.
    pub fn was_reset(&mut self) -> bool {
        self.look();
        self.was_reset
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(self.address), socket2::Type::STREAM, None)?;
        // Before it connects: a window that shrinks later makes the system miss the reset.
        if matches!(self.kind, Kind::ReadsNothing | Kind::Streams(_) | Kind::Trickles(_)) {
            socket.set_recv_buffer_size(4096)?;
        }
        if matches!(self.kind, Kind::GuessesPasswords) {
            let [.., high, low] = next_number().to_be_bytes();
            socket.bind(&SocketAddr::from(([127, 1, high, low], 0)).into())?;
        }
        socket.connect_timeout(&self.address.into(), PATIENCE)?;
        Ok(socket.into())
    }

    fn greeting(&self) -> Vec<u8> {
        match self.kind {
            Kind::ReadsNothing => get("/", None).repeat(400),
            Kind::Trickles(token) => get("/routes", Some(token)).repeat(400),
            Kind::Streams(token) => get("/mode/events", Some(token)),
            Kind::HalfHead => b"GET /mode HTTP/1.1\r\nHost:".to_vec(),
            Kind::HalfBody => {
                b"PUT /mode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{".to_vec()
            }
            Kind::Silent | Kind::Probes | Kind::Reads(_) | Kind::GuessesPasswords | Kind::Sets(_) => {
                Vec::new()
            }
        }
    }

    fn ask(&mut self, request: &[u8]) {
        while self.read(4096) {}
        self.say(request);
    }

    /// What there is no room for is not said.
    fn say(&mut self, bytes: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        if let Err(error) = stream.write_all(bytes) {
            self.failed(&error);
        }
    }

    /// Whether anything was there.
    fn read(&mut self, most: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.read(&mut vec![0; most]) {
            Ok(0) => self.stream = None,
            Ok(_) => return true,
            Err(error) => self.failed(&error),
        }
        false
    }

    /// Notices a reset without reading.
    fn look(&mut self) {
        let error = self.stream.as_ref().and_then(|stream| stream.take_error().unwrap());
        error.iter().for_each(|error| self.failed(error));
    }

    fn leave_if_refused(&mut self) {
        self.look();
        let mut line = [0; 12];
        let seen = self.stream.as_ref().map(|stream| stream.peek(&mut line));
        let is_over = matches!(seen, Some(Ok(0)));
        if is_over || line.starts_with(b"HTTP/1.1 429") || line.starts_with(b"HTTP/1.1 503") {
            self.stream = None;
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            self.was_reset |= matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            self.stream = None;
        }
    }
}

/// A crowd takes one core at most, and leaves the others to the gateway and to ordinary clients.
fn stay_on_one_core() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let thread = thread.file_name().unwrap();
    let last = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1).to_string();
    let pinned = std::process::Command::new("taskset").args(["-p", "-c", &last]).arg(thread).output();
    let pinned = pinned.expect("taskset (util-linux) is there");
    assert!(pinned.status.success(), "{pinned:?}");
}

fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn guess() -> Vec<u8> {
    let credential = base64::engine::general_purpose::STANDARD.encode(format!("user-{}:guess", next_number()));
    format!("GET /mode HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credential}\r\n\r\n").into_bytes()
}

fn get(target: &str, token: Option<&str>) -> Vec<u8> {
    let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n").into_bytes()
}

fn set_server_mode(token: &str) -> Vec<u8> {
    let body = r#"{"mode":"production"}"#;
    let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    format!("POST /server/mode HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Raises the limit of this process where it is too low and may be raised.
fn allow_descriptors() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
        let soft = line.split_whitespace().next().and_then(|soft| soft.parse::<u64>().ok()).unwrap_or(u64::MAX);
        if soft < DESCRIPTORS {
            let limit = format!("--nofile={DESCRIPTORS}:");
            let raised =
                std::process::Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).status();
            assert!(
                raised.is_ok_and(|status| status.success()),
                "{DESCRIPTORS} descriptors are needed; the limit is {soft}"
            );
        }
    });
}
