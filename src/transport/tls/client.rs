//! The client side: its configuration from files, and the handshake with a server. The caller limits the time.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};
use tokio::net::TcpStream;

use super::error::{TlsError, session_error};
use super::files::Content;
use super::material::{self, Made, Material};
use super::provider;
use super::stream::TlsStream;
use crate::transport::stream::Stream;

/// The files of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientFiles {
    /// The CAs that are trusted; no others are.
    pub(crate) ca: PathBuf,
    /// The client's own certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        std::iter::once(&self.ca).chain(identity).cloned().collect()
    }
}

/// The TLS side of connections to one server.
#[derive(Debug)]
pub(crate) struct TlsClient {
    server: ServerName<'static>,
    material: Arc<Material<ClientConfig>>,
}

/// Makes a client's configuration; blocking. It follows no change of the files.
pub(crate) fn client_config(files: &ClientFiles) -> Result<ClientConfig, TlsError> {
    from_contents(&material::read(&files.paths())?).map(|(config, _)| config)
}

/// The configuration of a snapshot, and when its own certificate ends.
fn from_contents(contents: &[Content]) -> Result<(ClientConfig, Option<i64>), TlsError> {
    let ca = &contents[0];
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| ca.unusable(error))?
        .with_root_certificates(ca.roots()?);
    let [certificate, key] = &contents[1..] else { return Ok((builder.with_no_client_auth(), None)) };
    let chain = certificate.certificates()?;
    let end = certificate.end(&chain)?;
    let config = builder.with_client_auth_cert(chain, key.key()?).map_err(|error| certificate.no_pair(key, error))?;
    Ok((config, Some(end)))
}

impl TlsClient {
    /// Reads the files. `server` is the name that the server's certificate must have.
    pub(crate) fn load(files: &ClientFiles, server: &str) -> Result<Arc<TlsClient>, TlsError> {
        let server_name = ServerName::try_from(server.to_owned()).map_err(|_| TlsError::Name(server.to_owned()))?;
        let make = |contents: &[Content]| {
            let (mut config, end) = from_contents(contents)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Made { config: Arc::new(config), end })
        };
        Ok(Arc::new(TlsClient { server: server_name, material: Material::load(files.paths(), make)? }))
    }

    /// The files behind it.
    pub(crate) fn material(&self) -> &Arc<Material<ClientConfig>> {
        &self.material
    }

    /// Performs the handshake on a connection that was just opened.
    pub(crate) async fn secure(&self, socket: TcpStream) -> io::Result<Stream> {
        let session = ClientConnection::new(self.material.config(), self.server.clone());
        let session = session.map_err(|error| session_error(error, true))?;
        let mut stream = Box::new(TlsStream::new(socket, session.into()));
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(Stream::Tls(stream))
    }
}
