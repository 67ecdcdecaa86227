//! The server side: its configuration from files, and the handshake with a client. The caller limits the time.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InvalidMessage, RootCertStore, ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use super::error::TlsError;
use super::files::Content;
use super::material::{Made, Material};
use super::peer::ClientCertificate;
use super::provider;
use super::stream::TlsStream;
use crate::transport::stream::Stream;

/// The response to a request in plain HTTP: a client that expects no TLS shows it.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 53\r\n\
    Connection: close\r\n\r\nThis port speaks TLS: use https:// instead of http://";

/// The files of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerFiles {
    /// The certificate, followed by its intermediate ones.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The CAs of client certificates; `None` asks for none.
    pub(crate) client_ca: Option<PathBuf>,
    /// The revocation lists of these CAs.
    pub(crate) client_crl: Option<PathBuf>,
}

impl ServerFiles {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let of_clients = self.client_ca.iter().chain(&self.client_crl);
        [&self.certificate, &self.key].into_iter().chain(of_clients).cloned().collect()
    }
}

/// Whether a client must have a certificate where one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    Required,
    Optional,
}

/// The protocols that a listener offers (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2, or HTTP/1.1.
    Http2,
}

impl Protocols {
    fn names(self) -> &'static [&'static [u8]] {
        match self {
            Protocols::Http1 => &[b"http/1.1"],
            Protocols::Http2 => &[b"h2", b"http/1.1"],
        }
    }
}

/// The TLS side of a listener.
#[derive(Debug)]
pub(crate) struct TlsServer {
    material: Arc<Material<ServerConfig>>,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// The client spoke plain HTTP, and was told so.
    PlainHttp,
    /// Its certificate is missing, unknown, expired or revoked.
    Certificate,
    /// No common version or cipher, or no TLS at all.
    Protocol,
    /// It ended the connection.
    Closed,
    /// It took too long.
    TimedOut,
}

impl HandshakeError {
    /// Whether the client was told, in its own language or by an alert.
    fn is_told(&self) -> bool {
        matches!(self, HandshakeError::PlainHttp | HandshakeError::Certificate | HandshakeError::Protocol)
    }
}

impl TlsServer {
    /// Reads the files; blocking.
    pub(crate) fn load(
        files: &ServerFiles,
        auth: ClientAuth,
        protocols: Protocols,
    ) -> Result<Arc<TlsServer>, TlsError> {
        // One for the life of the process, so that a reload ends no session.
        let ticketer = match files.client_ca {
            // The certificate of a session that is resumed would not be verified again.
            Some(_) => None,
            None => Some(
                Ticketer::new()
                    .map_err(|error| TlsError::Unusable { path: files.certificate.clone(), why: error.to_string() })?,
            ),
        };
        let make = move |contents: &[Content]| server_config(contents, ticketer.clone(), (auth, protocols));
        Ok(Arc::new(TlsServer { material: Material::load(files.paths(), make)? }))
    }

    /// The files behind it.
    pub(crate) fn material(&self) -> &Arc<Material<ServerConfig>> {
        &self.material
    }

    /// Performs the handshake on an accepted connection. `poll_given_up` is ready when the caller gives up.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
        mut poll_given_up: impl FnMut(&mut Context<'_>) -> Poll<HandshakeError>,
    ) -> Result<(Stream, Option<ClientCertificate>), HandshakeError> {
        let session = ServerConnection::new(self.material.config()).map_err(|_| HandshakeError::Protocol)?;
        let mut stream = Box::new(TlsStream::new(socket, session.into()));
        let done = poll_fn(|context| match stream.poll_handshake(context) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|error| failure(&stream, &error))),
            Poll::Pending => Poll::Ready(Err(ready!(poll_given_up(context)))),
        });
        let done = done.await;
        if let Err(HandshakeError::PlainHttp) = done {
            // Written at once, as a new connection has room.
            drop(stream.socket().try_write(PLAIN_HTTP));
        }
        if done.as_ref().is_err_and(HandshakeError::is_told) {
            // The rest of the client's bytes is read: unread bytes would make the end of the connection a reset, which can
            // destroy the response or the alert.
            let mut discarded = 0;
            poll_fn(|context| {
                let ended = stream.poll_discard(&mut discarded, context);
                if ended.is_pending() { poll_given_up(context).map(drop) } else { ended }
            })
            .await;
        }
        done?;
        let certificate = stream.session().peer_certificates().and_then(<[_]>::first).map(ClientCertificate::of);
        Ok((Stream::Tls(stream), certificate))
    }
}

/// The error of a handshake. A client of plain HTTP is told in its own language.
fn failure(stream: &TlsStream, error: &io::Error) -> HandshakeError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            let is_http = stream.first_byte().is_some_and(|byte| byte.is_ascii_uppercase());
            if is_http { HandshakeError::PlainHttp } else { HandshakeError::Protocol }
        }
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => HandshakeError::Certificate,
        Some(_) => HandshakeError::Protocol,
        None => HandshakeError::Closed,
    }
}

/// The configuration of a snapshot, and when its certificate ends.
fn server_config(
    contents: &[Content],
    ticketer: Option<Arc<dyn ProducesTickets>>,
    (auth, protocols): (ClientAuth, Protocols),
) -> Result<Made<ServerConfig>, TlsError> {
    let (certificate, key) = (&contents[0], &contents[1]);
    let chain = certificate.certificates()?;
    let end = certificate.end(&chain)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| certificate.unusable(error))?;
    let builder = match contents.get(2) {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(verifier(ca, contents.get(3), auth)?),
    };
    let config = builder.with_single_cert(chain, key.key()?);
    let mut config = config.map_err(|error| certificate.no_pair(key, error))?;
    config.ignore_client_order = true;
    config.alpn_protocols = protocols.names().iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match ticketer {
        Some(ticketer) => config.ticketer = ticketer,
        None => config.send_tls13_tickets = 0,
    }
    Ok(Made { config: Arc::new(config), end: Some(end) })
}

fn verifier(
    ca: &Content,
    crl: Option<&Content>,
    auth: ClientAuth,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let roots: Arc<RootCertStore> = Arc::new(ca.roots()?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(crl) = crl {
        // A list that is past its next update says nothing about today.
        builder = builder.with_crls(crl.revocation_lists()?).only_check_end_entity_revocation();
        builder = builder.enforce_revocation_expiration();
    }
    if auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| ca.unusable(error))
}
