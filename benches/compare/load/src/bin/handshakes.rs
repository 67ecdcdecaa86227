//! New TLS connections at full speed: each place opens one, performs the handshake, says that it closes, waits until the server
//! has closed, and opens the next. It costs a processor less than `openssl s_time` does, so that the proxies and not the load
//! are the limit. One line of JSON tells what was measured.

use std::io::ErrorKind::{ConnectionReset, NotConnected, WouldBlock};
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compare_load::percentile;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

/// How long a connection may take when the time is over: beyond it the connection is stuck, and there is no result.
const PATIENCE: Duration = Duration::from_secs(2);

struct Plan {
    target: SocketAddr,
    places: usize,
    duration: Duration,
    roots: Arc<RootCertStore>,
    resumes: bool,
    version: &'static rustls::SupportedProtocolVersion,
}

#[derive(Default)]
struct Measured {
    /// From the first packet to the end of the handshake, of the handshakes that were wanted.
    micros: Vec<u32>,
    /// Handshakes of the other kind: the first one of each place, where the rest is resumed.
    others: u64,
}

fn main() {
    let plan = read_arguments();
    let mut measured = run(&plan).unwrap_or_else(|error| fail(&format!("a connection broke: {error}")));
    measured.micros.sort_unstable();
    let count = measured.micros.len();
    if measured.others > plan.places as u64 {
        fail(&format!("{} handshakes were of the other kind, full or resumed", measured.others));
    }
    let at = |share| if count == 0 { 0 } else { percentile(&measured.micros, share) };
    println!(
        "JSON {{\"requests\":{count},\"micros\":{},\"failed\":0,\"refused\":0,\"p50\":{},\"p99\":{}}}",
        plan.duration.as_micros(),
        at(0.50),
        at(0.99),
    );
}

fn read_arguments() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, places, seconds, ca, kind, version] = arguments.as_slice() else {
        fail("usage: handshakes ADDR:PORT CONNECTIONS SECONDS CA-FILE full|resumed 1.2|1.3");
    };
    let number = |text: &String| text.parse::<u64>().unwrap_or_else(|_| fail(&format!("not a number: {text}")));
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(ca).unwrap_or_else(|error| fail(&format!("{ca}: {error}")));
    roots.add(authority).unwrap_or_else(|error| fail(&format!("{ca}: {error}")));
    Plan {
        target: target.parse().unwrap_or_else(|_| fail(&format!("not an address: {target}"))),
        places: number(places) as usize,
        duration: Duration::from_secs(number(seconds)),
        roots: Arc::new(roots),
        resumes: kind == "resumed",
        version: if version == "1.2" { &TLS12 } else { &TLS13 },
    }
}

impl Plan {
    /// The configuration of one place, with tickets of its own. All servers take the first group, so all do the same work; in
    /// TLS 1.2 a certificate with P-256 needs the other.
    fn config(&self) -> Arc<ClientConfig> {
        let mut provider = default_provider();
        provider.kx_groups = vec![X25519, SECP256R1];
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[self.version]);
        let builder = builder.unwrap_or_else(|error| fail(&error.to_string()));
        let mut config = builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.resumption = if self.resumes { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
        Arc::new(config)
    }
}

fn run(plan: &Plan) -> Result<Measured> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut places = (0..plan.places)
        .map(|number| Connection::open(plan.config(), plan.target, (&poll, Token(number))))
        .collect::<Result<Vec<_>>>()?;
    let (mut measured, end) = (Measured::default(), Instant::now() + plan.duration);
    while Instant::now() < end {
        poll.poll(&mut events, Some(end.saturating_duration_since(Instant::now())))?;
        for event in &events {
            let place = &mut places[event.token().0];
            if place.advance()? {
                measured.count(place, plan.resumes);
                *place = Connection::open(Arc::clone(&place.config), plan.target, (&poll, event.token()))?;
            }
        }
    }
    poll.poll(&mut events, Some(Duration::ZERO))?;
    match places.iter().map(|place| place.begun.elapsed()).max() {
        Some(waited) if waited > PATIENCE => Err(Error::other(format!("a connection is not over after {waited:?}"))),
        _ => Ok(measured),
    }
}

impl Measured {
    fn count(&mut self, connection: &Connection, resumes: bool) {
        let is_resumed = connection.session.handshake_kind() == Some(HandshakeKind::Resumed);
        match connection.secured {
            Some(at) if is_resumed == resumes => self.micros.push((at - connection.begun).as_micros() as u32),
            _ => self.others += 1,
        }
    }
}

struct Connection {
    config: Arc<ClientConfig>,
    socket: TcpStream,
    session: ClientConnection,
    begun: Instant,
    /// When the handshake was complete.
    secured: Option<Instant>,
}

impl Connection {
    fn open(config: Arc<ClientConfig>, target: SocketAddr, (poll, token): (&Poll, Token)) -> Result<Connection> {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(target)?;
        socket.set_nodelay(true)?;
        poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let name = ServerName::try_from("localhost").map_err(Error::other)?;
        let session = ClientConnection::new(Arc::clone(&config), name).map_err(Error::other)?;
        Ok(Connection { config, socket, session, begun, secured: None })
    }

    /// Does what can be done now; true once the server has closed the connection.
    fn advance(&mut self) -> Result<bool> {
        loop {
            if self.secured.is_none() && !self.session.is_handshaking() {
                self.secured = Some(Instant::now());
                self.session.send_close_notify();
            }
            while self.session.wants_write() {
                match self.session.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), WouldBlock | NotConnected) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            match self.session.read_tls(&mut self.socket) {
                Ok(1..) => drop(self.session.process_new_packets().map_err(Error::other)?),
                Err(error) if matches!(error.kind(), WouldBlock | NotConnected) => return Ok(false),
                Ok(0) if self.secured.is_some() => return Ok(true),
                Err(error) if error.kind() == ConnectionReset && self.secured.is_some() => return Ok(true),
                Ok(0) => return Err(Error::other("closed before the handshake was over")),
                Err(error) => return Err(error),
            }
        }
    }
}

fn fail(message: &str) -> ! {
    eprintln!("handshakes: {message}");
    exit(1)
}
