//! A UCS whose faults a test switches on and off while it runs. It is up, down or restarted on one port, which is its own for
//! as long as the test lasts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// What is wrong with UCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It starts: this response to everything; then it is a new run in maintenance.
    Starts(u16, &'static str),
    /// It starts and refuses connections.
    Refuses,
    /// It is a new run in maintenance.
    Restarts,
    /// It says 200 to Set Server Mode and does not switch.
    Lies,
    /// No response to requests that begin with this.
    Hangs(&'static str),
    /// It switches when its status has been asked for this often; until then 503 to everything.
    Slow(usize),
    /// This response to every request that begins with this.
    Answers(&'static str, u16, &'static str),
    /// Its profile schema is gone: it closes itself and refuses production.
    LosesSchema,
    /// So many probes find an empty list.
    Empty(usize),
    /// Another client switches it.
    Moves,
    /// 5 MB in response to everything.
    Floods,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Set Server Mode to production or maintenance arrives.
    Arrival,
    /// It has been carried out and answered.
    Done,
}

#[derive(Debug)]
struct Face {
    up: bool,
    mode: &'static str,
    run: u32,
    /// Connections of an earlier epoch are gone.
    epoch: u32,
    fault: Option<Fault>,
    /// The fault that Set Server Mode will set off.
    trap: Option<(At, Fault)>,
    /// The mode that it switches to, and after how many more statuses.
    switching: Option<(&'static str, usize)>,
    has_schema: bool,
    /// Clients' requests, and Set Server Mode, get no response for now.
    holds_clients: bool,
    holds_set: bool,
    /// The Set Server Mode that was held: it is under way until it has been answered.
    held: usize,
    statuses: usize,
    sets: usize,
    /// How many of these have been answered, one after the other.
    sets_done: usize,
}

/// See the module.
pub struct Rig {
    pub address: SocketAddr,
    face: Arc<Mutex<Face>>,
    /// Bound, never listening: keeps the port while UCS is down.
    _port: Socket,
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

impl Rig {
    pub fn start(mode: &'static str, up: bool) -> Rig {
        let port = bound(([127, 0, 0, 1], 0).into());
        let address = port.local_addr().unwrap().as_socket().unwrap();
        let face = Face {
            up,
            mode,
            run: 1,
            epoch: 0,
            fault: None,
            trap: None,
            switching: None,
            has_schema: true,
            holds_clients: false,
            holds_set: false,
            held: 0,
            statuses: 0,
            sets: 0,
            sets_done: 0,
        };
        let face = Arc::new(Mutex::new(face));
        let weak = Arc::downgrade(&face);
        std::thread::spawn(move || {
            let mut listener: Option<TcpListener> = None;
            while let Some(face) = weak.upgrade() {
                if face.lock().unwrap().up != listener.is_some() {
                    listener = face.lock().unwrap().up.then(|| {
                        let socket = bound(address);
                        socket.listen(128).unwrap();
                        socket.set_nonblocking(true).unwrap();
                        socket.into()
                    });
                }
                match listener.as_ref().map(TcpListener::accept) {
                    Some(Ok((stream, _))) => {
                        stream.set_nonblocking(false).unwrap();
                        std::thread::spawn(move || serve(stream, &face));
                    }
                    _ => std::thread::sleep(Duration::from_millis(3)),
                }
            }
        });
        Rig { address, face, _port: port }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Face) -> T) -> T {
        change(&mut self.face.lock().unwrap())
    }

    pub fn begin(&self, fault: Fault) {
        self.with(|face| face.begin(fault));
    }

    /// The fault begins with the next Set Server Mode.
    pub fn trap(&self, at: At, fault: Fault) {
        self.with(|face| face.trap = Some((at, fault)));
    }

    /// The fault is over.
    pub fn end(&self) {
        self.with(|face| {
            if matches!(face.fault, Some(Fault::Starts(..) | Fault::Refuses)) {
                face.restart();
            }
            if let Some((mode, _)) = face.switching.take() {
                face.mode = mode;
            }
            (face.fault, face.trap, face.up, face.has_schema) = (None, None, true, true);
        });
    }

    pub fn hold(&self, clients: bool, set: bool) {
        self.with(|face| {
            if face.holds_set && !set && face.sets > face.sets_done {
                face.held = face.sets_done + 1;
            }
            (face.holds_clients, face.holds_set) = (clients, set);
        });
    }

    pub fn mode(&self) -> &'static str {
        self.with(|face| face.mode)
    }

    /// How often its status was asked for, and Set Server Mode.
    pub fn asked(&self) -> (usize, usize) {
        self.with(|face| (face.statuses, face.sets))
    }
}

impl Face {
    fn restart(&mut self) {
        (self.run, self.epoch, self.mode, self.switching) = (self.run + 1, self.epoch + 1, "maintenance", None);
        self.sets_done = self.sets;
    }

    fn begin(&mut self, fault: Fault) {
        self.fault = Some(fault);
        match fault {
            Fault::Restarts => {
                self.restart();
                self.fault = None;
            }
            Fault::Refuses => (self.up, self.epoch, self.sets_done) = (false, self.epoch + 1, self.sets),
            Fault::LosesSchema => (self.has_schema, self.mode) = (false, "maintenance"),
            Fault::Moves => {
                self.mode = if self.mode == "production" { "maintenance" } else { "production" };
                self.fault = None;
            }
            _ => {}
        }
    }

    /// The response; `None` while there is none.
    fn answer(&mut self, line: &str, body: &str) -> Option<(u16, String)> {
        let owned = |status: u16, text: &str| Some((status, text.to_owned()));
        let is_status = line.starts_with("GET /server/status");
        match self.fault {
            Some(Fault::Starts(status, text)) => return owned(status, text),
            Some(Fault::Hangs(begin)) if line.starts_with(begin) => return None,
            Some(Fault::Answers(begin, status, text)) if line.starts_with(begin) => return owned(status, text),
            Some(Fault::Floods) => return Some((200, " ".repeat(5 << 20))),
            _ => {}
        }
        if let Some((mode, left)) = self.switching {
            if left > 0 {
                self.switching = Some((mode, left - usize::from(is_status)));
                return owned(503, "");
            }
            (self.mode, self.switching) = (mode, None);
        }
        match line {
            // It is switching.
            _ if is_status && self.holds_set && self.sets > self.sets_done => owned(503, ""),
            _ if is_status && self.sets_done < self.held => owned(503, ""),
            _ if is_status => Some((200, format!("{{\"mode\":\"{}\",\"started\":\"{}\"}}", self.mode, self.run))),
            _ if line.starts_with("GET /metadata/profiles") => self.schema(),
            _ if line.starts_with("POST /server/mode") => self.set(body),
            _ if self.holds_clients => None,
            _ => owned(200, "{}"),
        }
    }

    fn schema(&mut self) -> Option<(u16, String)> {
        Some(match &mut self.fault {
            _ if !self.has_schema => (404, String::new()),
            Some(Fault::Empty(left)) if *left > 0 => {
                *left -= 1;
                (200, "[]".to_owned())
            }
            _ => (200, "[{\"name\":\"LastName\"}]".to_owned()),
        })
    }

    fn set(&mut self, body: &str) -> Option<(u16, String)> {
        if self.holds_set {
            return None;
        }
        let mode = if body.contains("production") { "production" } else { "maintenance" };
        match self.fault {
            _ if mode == "production" && !self.has_schema => return Some((404, String::new())),
            Some(Fault::Lies) => {}
            Some(Fault::Slow(statuses)) => self.switching = Some((mode, statuses)),
            _ => self.mode = mode,
        }
        if let Some((At::Done, fault)) = self.trap {
            self.trap = None;
            self.begin(fault);
        }
        Some((200, format!("{{\"server changed\":\"{mode}\"}}")))
    }
}

fn serve(mut stream: TcpStream, face: &Mutex<Face>) {
    let epoch = face.lock().unwrap().epoch;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    while let Some((line, body)) = read(&mut stream) {
        let is_set = line.starts_with("POST /server/mode");
        let number = {
            let mut face = face.lock().unwrap();
            face.statuses += usize::from(line.starts_with("GET /server/status"));
            if is_set {
                face.sets += 1;
                if let Some((At::Arrival, fault)) = face.trap {
                    face.trap = None;
                    face.begin(fault);
                }
            }
            face.sets
        };
        let (status, text) = loop {
            let mut face = face.lock().unwrap();
            // A response that was on its way when it went down or was restarted after Set Server Mode still arrives.
            if face.epoch != epoch {
                return;
            }
            if !(is_set && number > face.sets_done + 1)
                && let Some(answer) = face.answer(&line, &body)
            {
                face.sets_done = if is_set { face.sets_done.max(number) } else { face.sets_done };
                break answer;
            }
            drop(face);
            std::thread::sleep(Duration::from_millis(5));
        };
        let head = format!("HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: {}\r\n\r\n", text.len());
        if stream.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

/// Method with target, and body.
fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.split(" HTTP/").next()?.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
