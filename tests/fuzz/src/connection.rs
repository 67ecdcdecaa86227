//! The whole way: a client's bytes into a worker of the gateway, in production mode, on real sockets; behind it a strict
//! reader that stands for UCS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::sync::{mpsc, watch};
use ucs_gateway::access::Access;
use ucs_gateway::config::{ServeArgs, Settings};
use ucs_gateway::control_handle::ControlHandle;
use ucs_gateway::gate::{Gate, Published};
use ucs_gateway::policy::mode::{Mode, ModeRecord, ModeSet};
use ucs_gateway::policy::path::CanonicalPath;
use ucs_gateway::policy::routes_yaml;
use ucs_gateway::policy::table::RouteTable;
use ucs_gateway::proxy::class_limits::ClassLimits;
use ucs_gateway::proxy::recorder::RequestRecorder;
use ucs_gateway::proxy::worker::{self, ListeningSocket, Shared, SocketOrigin, Stop, Worker};
use ucs_gateway::telemetry::{ControlStats, Metrics};

const TABLE: &str = include_str!("../../../routes.yaml");

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whatever a client sends, UCS gets whole, unambiguous requests of operations that the mode admits, and nothing stays in
/// flight when the client has gone.
pub fn connection(bytes: &[u8]) {
    let (gateway, gate) = gateway();
    let mut client = TcpStream::connect(gateway).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // A gateway that has answered and closed already is no fault.
    let _ = client.write_all(bytes).and_then(|()| client.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = client.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the gateway neither answers nor closes");
    }
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    while ModeSet::ALL.iter().any(|set| gate.in_flight(*set) > 0) {
        assert!(Instant::now() < deadline, "something stays in flight");
        std::thread::yield_now();
    }
    if let Some(fault) = fault().lock().unwrap().take() {
        panic!("{fault}");
    }
}

/// What was wrong with what UCS got.
fn fault() -> &'static Mutex<Option<String>> {
    static FAULT: Mutex<Option<String>> = Mutex::new(None);
    &FAULT
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
}

/// One gateway for all turns.
fn gateway() -> (SocketAddr, &'static Arc<Gate>) {
    static GATEWAY: OnceLock<(SocketAddr, Arc<Gate>)> = OnceLock::new();
    let (address, gate) = GATEWAY.get_or_init(start);
    (*address, gate)
}

fn start() -> (SocketAddr, Arc<Gate>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Gate::new(1, routes_yaml::parse(TABLE, "routes.yaml").unwrap());
    let record = ModeRecord::first(Mode::Production, 1, "fuzz", jiff::Timestamp::UNIX_EPOCH);
    gate.publish(Published::of(record));
    let worker_gate = Arc::clone(&gate);
    std::thread::spawn(move || work(&worker_gate, listener, upstream()));
    (address, gate)
}

fn work(gate: &Arc<Gate>, listener: TcpListener, upstream: SocketAddr) {
    let line = ["fuzz", "--upstream", &format!("http://{upstream}"), "--upstream-mode", "off", "--schema-probe", "off"];
    let settings = Settings::new(Arguments::parse_from(line).serve).unwrap().proxy;
    let state_dir = std::env::temp_dir().join(format!("ucs-gateway-fuzz-connection-{}", std::process::id()));
    std::fs::create_dir_all(&state_dir).unwrap();
    let access = Arc::new(Access::from_token_file(&state_dir).unwrap());
    std::fs::remove_dir_all(&state_dir).unwrap();
    let (control_handle, _inbox) = ControlHandle::new();
    let (_stop, stopped) = watch::channel(Stop::None);
    let (sender, handover) = mpsc::unbounded_channel();
    let metrics = Metrics::new(1, Arc::new(ControlStats::default()));
    let shared = Shared {
        class_limits: Arc::new(ClassLimits::new(&[])),
        control_handle,
        access,
        metrics: Arc::clone(&metrics),
        loads: [std::sync::atomic::AtomicUsize::new(0)].into(),
        handovers: [sender].into(),
        stop: stopped,
        origin: SocketOrigin::Own,
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let recorder = RequestRecorder::of(&metrics, 0);
        let worker = Worker::new(0, gate.worker_gate(0), &settings, &shared, recorder);
        worker::run(worker, ListeningSocket::Tcp(listener), handover, Rc::new(settings), shared).await.unwrap();
    });
}

/// Reads strictly, answers 200, and writes down the first thing that is wrong.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let table = Arc::new(routes_yaml::parse(TABLE, "routes.yaml").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, table) = (stream.unwrap(), Arc::clone(&table));
            std::thread::spawn(move || {
                if let Err(wrong) = serve(stream, &table) {
                    fault().lock().unwrap().get_or_insert(wrong);
                }
            });
        }
    });
    address
}

fn serve(mut stream: TcpStream, table: &RouteTable) -> Result<(), String> {
    let mut unread = Vec::new();
    while let Some(length) = head_length(&mut stream, &mut unread) {
        let head: Vec<u8> = unread.drain(..length).collect();
        let shown = || String::from_utf8_lossy(&head).into_owned();
        let framing = check_head(&head, table).map_err(|wrong| format!("{wrong}: UCS got {:?}", shown()))?;
        // A client that goes away in the middle of a body ends the connection: that is no fault.
        let whole = match framing {
            Framing::Length(length) => take(&mut stream, &mut unread, length).is_some(),
            Framing::Chunked => {
                take_chunks(&mut stream, &mut unread).map_err(|wrong| format!("{wrong} after {:?}", shown()))?
            }
        };
        if !whole || stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return Ok(());
        }
    }
    Ok(())
}

enum Framing {
    Length(usize),
    Chunked,
}

fn check_head(head: &[u8], table: &RouteTable) -> Result<Framing, String> {
    let mut lines = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut lines);
    let read = request.parse(head).map_err(|error| format!("no head ({error})"))?;
    if read != httparse::Status::Complete(head.len())
        || head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
    {
        return Err("a head with odd line ends".to_owned());
    }
    let values = |name: &str| -> Vec<&[u8]> {
        request.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value).collect()
    };
    if values("host").len() != 1 || request.version != Some(1) {
        return Err("not one host, or not HTTP/1.1".to_owned());
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let raw = target.split('?').next().unwrap_or_default();
    let path = CanonicalPath::parse(raw.as_bytes()).map_err(|why| format!("a path that is refused ({why})"))?;
    if path.as_str() != raw {
        return Err("a path that is not canonical".to_owned());
    }
    let index = table.classify(method, &path).ok_or("what no route takes")?;
    if !table.routes[index as usize].modes.admits(Mode::Production) {
        return Err("what the mode forbids".to_owned());
    }
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) => {
            let digits = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|text| text.parse().ok()).map(Framing::Length).ok_or_else(|| "an odd length".to_owned())
        }
        ([], [b"chunked"]) => Ok(Framing::Chunked),
        _ => Err("two framings".to_owned()),
    }
}

/// Length of the next head; none at the end.
fn head_length(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(at + 4);
        }
        fill(stream, unread)?;
    }
}

/// Whether the chunks came to their end; an error when they are none.
fn take_chunks(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<bool, String> {
    loop {
        let Some(line) = take_line(stream, unread) else { return Ok(false) };
        let size = std::str::from_utf8(&line).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.ok_or_else(|| format!("a chunk of the size {:?}", String::from_utf8_lossy(&line)))?;
        if size == 0 {
            break;
        }
        let Some(data) = take(stream, unread, size + 2) else { return Ok(false) };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk without its end".to_owned());
        }
    }
    // Trailers, up to the empty line.
    loop {
        match take_line(stream, unread) {
            None => return Ok(false),
            Some(line) if line.is_empty() => return Ok(true),
            Some(_) => {}
        }
    }
}

fn take_line(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = unread.windows(2).position(|window| window == b"\r\n") {
            let line = unread.drain(..at + 2).take(at).collect();
            return Some(line);
        }
        fill(stream, unread)?;
    }
}

fn take(stream: &mut TcpStream, unread: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while unread.len() < length {
        fill(stream, unread)?;
    }
    Some(unread.drain(..length).collect())
}

fn fill(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            unread.extend_from_slice(&buffer[..length]);
            Some(())
        }
    }
}
