//! Certificates of a test's own, and a tunnel that speaks TLS to the gateway for a client that speaks none. A missing
//! close_notify and a reset reach that client as a reset.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::TempDir;

/// A certificate authority with a folder for what it issues.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub serial: u64,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let dir = TempDir::new();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        dir.file("ca.pem", &params.self_signed(&key).unwrap().pem());
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The folder.
    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// A certificate for `localhost` and 127.0.0.1 with this common name, for both sides of a connection.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_with(name, |_| {})
    }

    /// The same, changed.
    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);
        let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: self.dir.file(&format!("{name}-{serial}.pem"), &certificate.pem()),
            key: self.dir.secret(&format!("{name}-{serial}.key"), &key.serialize_pem()),
            serial,
        }
    }

    /// A list that revokes these.
    pub fn revokes(&self, name: &str, serials: &[u64]) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.dir.file(name, &list.signed_by(&self.issuer).unwrap().pem().unwrap())
    }

    /// The configuration of a client that trusts this authority alone.
    pub fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let builder = client(self.roots());
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
                builder.with_client_auth_cert(identity.chain(), key).unwrap()
            }
        })
    }

    fn roots(&self) -> RootCertStore {
        roots(&[CertificateDer::from_pem_file(self.certificate()).unwrap()])
    }
}

impl Identity {
    /// The flags of a listener: `prefix` is `--tls` or `--admin-tls`.
    pub fn flags(&self, prefix: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![format!("{prefix}-cert"), text(&self.certificate), format!("{prefix}-key"), text(&self.key)]
    }
}

impl Identity {
    /// The configuration of a server that demands a certificate of this authority's, if there is one.
    pub fn server(&self, clients: Option<&Authority>) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        builder.with_single_cert(self.chain(), PrivateKeyDer::from_pem_file(&self.key).unwrap()).unwrap()
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(&self.certificate).unwrap().map(Result::unwrap).collect()
    }
}

/// The configuration of a client that trusts these authorities alone.
pub fn trusting(authorities: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    Arc::new(client(roots(authorities)).with_no_client_auth())
}

fn roots(authorities: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    authorities.iter().for_each(|authority| roots.add(authority.clone()).unwrap());
    roots
}

fn client(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Strings as the arguments of a gateway.
pub fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// An address whose connections are passed on to `to` over TLS. It lives as long as the tests.
pub fn tunnel(to: SocketAddr, config: Arc<ClientConfig>) -> SocketAddr {
    listen(move |plain| {
        let connector = TlsConnector::from(Arc::clone(&config));
        async move {
            let Ok(socket) = TcpStream::connect(to).await else { return cut(&plain) };
            socket.set_nodelay(true).unwrap();
            match connector.connect(ServerName::try_from("localhost").unwrap(), socket).await {
                Ok(secure) => pass_on(plain, secure.into()).await,
                Err(_) => cut(&plain),
            }
        }
    })
}

/// The same with these protocols on offer (RFC 7301).
pub fn tunnel_of(to: SocketAddr, authority: &Authority, protocols: &[&str]) -> SocketAddr {
    tunnel(to, offering(authority, protocols))
}

/// The protocol that a server agrees on, of those on offer.
pub fn agreed_protocol(to: SocketAddr, authority: &Authority, protocols: &[&str]) -> Option<String> {
    let config = offering(authority, protocols);
    let mut session = rustls::ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    session.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
}

/// Sends these bytes after a handshake, and reads until `is_all` is true of what has come: how many records that took.
pub fn records_until(to: SocketAddr, config: Arc<ClientConfig>, bytes: &[u8], is_all: impl Fn(&[u8]) -> bool) -> usize {
    let mut session = rustls::ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    session.writer().write_all(bytes).unwrap();
    while session.wants_write() {
        session.write_tls(&mut socket).unwrap();
    }
    let (mut ciphertext, mut plaintext, mut records) = (Vec::new(), Vec::new(), 0);
    while !is_all(&plaintext) {
        let mut buffer = [0; 4096];
        let length = socket.read(&mut buffer).unwrap();
        assert!(length > 0, "the server ended the connection");
        ciphertext.extend_from_slice(&buffer[..length]);
        // A record has a head of five bytes, with its length (RFC 8446, 5.1).
        while let Some(rest) = ciphertext.get(3..5) {
            let end = 5 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            if ciphertext.len() < end {
                break;
            }
            let record: Vec<u8> = ciphertext.drain(..end).collect();
            records += 1;
            session.read_tls(&mut &record[..]).unwrap();
            session.process_new_packets().unwrap();
            // Its end is that nothing more is there.
            let _ = session.reader().read_to_end(&mut plaintext);
        }
    }
    records
}

/// The configuration of a client that offers these protocols.
pub fn offering(authority: &Authority, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(authority.client(None));
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// An address that speaks TLS, whose connections are passed on to `to` without it.
pub fn terminator(to: SocketAddr, config: Arc<ServerConfig>) -> SocketAddr {
    listen(move |socket| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        async move {
            let Ok(secure) = acceptor.accept(socket).await else { return };
            let Ok(plain) = TcpStream::connect(to).await else { return cut(secure.get_ref().0) };
            plain.set_nodelay(true).unwrap();
            pass_on(plain, secure.into()).await;
        }
    })
}

fn listen<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            tokio::spawn(serve(socket));
        }
    });
    address
}

async fn pass_on(plain: TcpStream, secure: TlsStream<TcpStream>) {
    let socket = socket2::SockRef::from(secure.get_ref().0).try_clone().unwrap();
    let (mut plain_read, mut plain_write) = plain.into_split();
    let (mut secure_read, mut secure_write) = tokio::io::split(secure);
    let up = copy(&mut plain_read, &mut secure_write);
    let down = copy(&mut secure_read, &mut plain_write);
    if tokio::try_join!(up, down).is_err() {
        // Each end sees that the other had no regular one.
        let _ = socket.set_linger(Some(Duration::ZERO));
        cut(plain_read.as_ref());
    }
    // Otherwise dropping the half would send a FIN first.
    plain_write.forget();
}

/// Copies to a regular end, and passes that on.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Result<(), ()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return to.shutdown().await.map_err(drop),
            Ok(length) => {
                to.write_all(&buffer[..length]).await.map_err(drop)?;
                to.flush().await.map_err(drop)?;
            }
            Err(_) => return Err(()),
        }
    }
}

fn cut(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// One thread for all tunnels.
fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}
