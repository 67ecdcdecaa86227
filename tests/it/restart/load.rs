//! Restarts under load: clients that keep their connection and never send a request twice.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{CLIENTS, Over, handle, restart_under_load, start_on};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, TempDir, Ucs};

const REQUEST: &[u8] = b"GET /metadata/identification-keys HTTP/1.1\r\nHost: ucs\r\n\r\n";

/// What has become of the requests.
#[derive(Default)]
struct Outcomes {
    answered: AtomicU64,
    /// Connections that were refused or reset before a request was sent.
    refused: AtomicU64,
    /// Requests without a whole response.
    lost: Mutex<Vec<String>>,
    longest: Mutex<Duration>,
    over: AtomicBool,
}

#[test]
fn restarts_under_load_lose_and_refuse_no_request() {
    restarts_lose_nothing(None);
}

#[test]
fn restarts_under_load_lose_and_refuse_no_request_over_tls() {
    restarts_lose_nothing(Some(&Authority::new("clients")));
}

fn restarts_lose_nothing(tls: Option<&Authority>) {
    let restarts = if std::env::var_os("UCS_GATEWAY_FULL").is_some() { 50 } else { 8 };
    let (ucs, dir, outcomes) = (Ucs::usual(), TempDir::new(), Outcomes::default());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let variables = match tls.map(|authority| authority.issue("gateway")) {
        None => String::new(),
        Some(own) => {
            format!("UCS_GATEWAY_TLS_CERT={} UCS_GATEWAY_TLS_KEY={}", own.certificate.display(), own.key.display(),)
        }
    };
    let tls = tls.map(|authority| authority.client(None));
    let variables = format!("LISTEN_FDS=1 LISTEN_FDNAMES=data {variables}");
    let start = || start_on(handle(&socket), &variables, dir.path(), ucs.address);
    let mut gateway = start().expect("it starts");
    let address = socket.local_addr().unwrap();
    assert_eq!(gateway.data, address);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (outcomes, connector) = (&outcomes, Connector { address, tls: tls.clone() });
            scope.spawn(move || ask_until_over(&connector, client, outcomes));
        }
        // Ends the clients when this thread panics, too.
        let _over = Over(&outcomes.over);
        restart_under_load(restarts, &mut gateway, start, &outcomes.answered);
    });
    let (answered, refused) = (outcomes.answered.into_inner(), outcomes.refused.into_inner());
    let (lost, longest) = (outcomes.lost.into_inner().unwrap(), outcomes.longest.into_inner().unwrap());
    let figures = format!(
        "{restarts} restarts in {:?}: {answered} responses, {} lost, {refused} refused, longest wait {longest:?}",
        began.elapsed(),
        lost.len(),
    );
    eprintln!("{figures}");
    assert!(lost.is_empty() && refused == 0, "{figures}\n{}", lost.join("\n"));
    let received = ucs.asked("GET", "/metadata/identification-keys").len() as u64;
    assert_eq!(received, answered, "each was sent once");
}

/// A connection, plain or over TLS.
trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// How clients connect.
struct Connector {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        // The handshake comes with the first request.
        let session = ClientConnection::new(Arc::clone(tls), "localhost".try_into().unwrap());
        Ok(Box::new(StreamOwned::new(session.unwrap(), stream)))
    }
}

fn ask_until_over(connector: &Connector, seed: u64, outcomes: &Outcomes) {
    let (mut random, mut kept) = (seed, None);
    while !outcomes.over.load(Ordering::Relaxed) {
        // 0 to 6 ms between two requests.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % 6_000));
        let began = Instant::now();
        let stream = match kept.take().map_or_else(|| connector.connect(), Ok) {
            Ok(stream) => stream,
            Err(_) => {
                outcomes.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        };
        match ask(stream) {
            Ok(stream) => kept = stream,
            Err(error) => {
                outcomes.lost.lock().unwrap().push(format!("client {seed}: {error}"));
                continue;
            }
        }
        outcomes.answered.fetch_add(1, Ordering::Relaxed);
        let mut longest = outcomes.longest.lock().unwrap();
        *longest = began.elapsed().max(*longest);
    }
}

/// Sends a request and reads its response; the connection, unless the response ends it.
fn ask(mut stream: Box<dyn Stream>) -> io::Result<Option<Box<dyn Stream>>> {
    stream.write_all(REQUEST)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other(format!("no length: {head}")))?;
            if !head.starts_with("http/1.1 200") {
                return Err(io::Error::other(head.to_owned()));
            }
            if body.len() == length {
                return Ok((!head.contains("connection: close")).then_some(stream));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other(format!("closed after {} bytes", bytes.len()))),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
