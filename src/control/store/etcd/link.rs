//! The connection to etcd: one at a time, to one of several endpoints, with the user's token. It knows no keys.
//!
//! A new connection is used only after a first response on it has shown that the cluster is the one of before. A connection on
//! which anything failed is dropped, and the next one goes to the next endpoint.

use std::future::{Ready, ready};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::http::uri::{PathAndQuery, Uri};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::address::EtcdSettings;
use super::error::{EtcdError, chain_of};
use super::messages::{AuthenticateRequest, AuthenticateResponse, Headed, RangeRequest, RangeResponse};
use crate::files::read_text;
use crate::transport::{ClientFiles, client_config, connect_prompt, host_of};

/// The longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(2);

/// The longest wait for a response.
pub(super) const CALL: Duration = Duration::from_secs(2);

/// The largest response: a thousand long lines of the journal.
const LARGEST: usize = 256 << 20;

/// The interval of HTTP/2 pings on a silent connection, and the longest wait for their response: a stalled connection is
/// found within the sum.
const PING: Duration = Duration::from_secs(2);

/// The longest wait for a connection that another call is making.
const CONNECTING: Duration = Duration::from_secs(4);

/// The longest random wait before a login: etcd hashes passwords slowly, and a whole fleet may lose its tokens at once.
const LOGIN_JITTER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Links {
    settings: EtcdSettings,
    state: Mutex<State>,
    /// The cluster of the first response; 0 before.
    cluster: AtomicU64,
    made: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    /// The next endpoint to try.
    next: usize,
    token: Option<AsciiMetadataValue>,
}

/// An open connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub endpoint: String,
    channel: Channel,
    token: Option<AsciiMetadataValue>,
    number: u64,
}

impl Links {
    pub(super) fn new(settings: EtcdSettings) -> Links {
        Links { settings, state: Mutex::default(), cluster: AtomicU64::new(0), made: AtomicU64::new(0) }
    }

    pub(super) fn endpoints(&self) -> usize {
        self.settings.address.endpoints.len()
    }

    /// One call. It goes to another endpoint only while none takes the connection, and is repeated once if etcd wants a new
    /// login: in both cases it was not done.
    pub(super) async fn call<R>(
        &self,
        path: &'static str,
        message: impl Message + Clone + 'static,
    ) -> Result<R, EtcdError>
    where
        R: Message + Default + Headed + 'static,
    {
        let mut renewed = false;
        let mut reconnects = self.endpoints();
        loop {
            let link = self.open().await?;
            let failed = match self.ask(&link, path, message.clone()).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match &failed {
                _ if failed.wants_login() && !renewed => {
                    renewed = true;
                    self.forget(&link, true).await;
                }
                EtcdError::Connect(_) if reconnects > 0 => {
                    reconnects -= 1;
                    self.forget(&link, false).await;
                }
                _ => {
                    if failed.is_of_endpoint() {
                        self.forget(&link, false).await;
                    }
                    return Err(failed);
                }
            }
        }
    }

    /// Opens a stream of responses to `messages`.
    pub(super) async fn stream<Q, R>(
        &self,
        link: &Link,
        path: &'static str,
        messages: impl tokio_stream::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<R>, EtcdError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(link.channel.clone()).max_decoding_message_size(LARGEST);
        let opening = async {
            grpc.ready().await.map_err(|error| EtcdError::Connect(chain_of(&error)))?;
            let request = link.request(messages);
            let opened = grpc.streaming(request, PathAndQuery::from_static(path), ProstCodec::<Q, R>::default()).await;
            opened.map_err(|status| EtcdError::of_status(&link.endpoint, &status))
        };
        let opened = within(CALL, &link.endpoint, opening).await?;
        Ok(opened.into_inner())
    }

    /// The open connection, or a new one.
    pub(super) async fn open(&self) -> Result<Link, EtcdError> {
        let opening = async {
            let mut state = self.state.lock().await;
            if let Some(link) = &state.link {
                return Ok(link.clone());
            }
            self.connect(&mut state).await
        };
        match tokio::time::timeout(CONNECTING, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(EtcdError::Connect(format!("no connection to {} in time", self.settings.address))),
        }
    }

    /// Drops a connection, unless a newer one has taken its place, and the token with it if etcd has refused that.
    pub(super) async fn forget(&self, link: &Link, with_token: bool) {
        let mut state = self.state.lock().await;
        if with_token && state.token == link.token {
            state.token = None;
        }
        if state.link.as_ref().is_some_and(|current| current.number == link.number) {
            state.link = None;
        }
    }

    /// Drops the connection, and takes the next cluster that responds for the first one.
    pub(super) async fn begin_anew(&self) {
        self.state.lock().await.link = None;
        self.cluster.store(0, Ordering::Release);
    }

    /// Compares the cluster of a response with that of the first.
    pub(super) fn check(&self, endpoint: &str, response: &impl Headed) -> Result<(), EtcdError> {
        let malformed = |fault| EtcdError::Malformed { endpoint: endpoint.to_owned(), fault };
        let found = response.header().ok_or(malformed("it has no header"))?.cluster_id;
        let pinned = self.cluster.compare_exchange(0, found, Ordering::AcqRel, Ordering::Acquire);
        let Err(expected) = pinned else { return Ok(()) };
        if found == expected {
            return Ok(());
        }
        Err(EtcdError::OtherCluster { endpoint: endpoint.to_owned(), expected, found })
    }

    /// Tries every endpoint once. The next attempt begins behind the last one, even if this one is given up midway.
    async fn connect(&self, state: &mut State) -> Result<Link, EtcdError> {
        let endpoints = &self.settings.address.endpoints;
        let (mut faults, mut other) = (Vec::new(), None);
        for _ in endpoints {
            let endpoint = &endpoints[state.next % endpoints.len()];
            state.next = (state.next + 1) % endpoints.len();
            match self.connect_to(endpoint, state).await {
                Ok(link) => {
                    state.link = Some(link.clone());
                    return Ok(link);
                }
                Err(error @ EtcdError::OtherCluster { .. }) => other = Some(error),
                Err(EtcdError::Connect(fault)) => faults.push(fault),
                Err(error) if error.is_of_endpoint() => faults.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Err(other.unwrap_or_else(|| EtcdError::Connect(faults.join("; "))))
    }

    async fn connect_to(&self, endpoint: &str, state: &mut State) -> Result<Link, EtcdError> {
        let failed = |error: &dyn std::error::Error| EtcdError::Connect(format!("{endpoint}: {}", chain_of(error)));
        let tls = self.tls().await?;
        let connecting = async {
            let socket = connect_prompt(endpoint).await.map_err(|error| failed(&error))?;
            let connection: Box<dyn Connection> = match tls {
                None => Box::new(socket),
                Some(config) => {
                    let name = ServerName::try_from(host_of(endpoint).to_owned()).map_err(|error| failed(&error))?;
                    let secured = TlsConnector::from(config).connect(name, socket).await;
                    Box::new(secured.map_err(|error| failed(&error))?)
                }
            };
            let target = self.target(endpoint).map_err(|error| failed(&error))?;
            target.connect_with_connector(Once(Some(connection))).await.map_err(|error| failed(&error))
        };
        let late = |_| EtcdError::Connect(format!("{endpoint}: no connection within {CONNECT:?}"));
        let channel = tokio::time::timeout(CONNECT, connecting).await.map_err(late)??;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut link = Link { endpoint: endpoint.to_owned(), channel, token: state.token.clone(), number };
        if link.token.is_none() && self.settings.credentials.is_some() {
            self.log_in(&mut link, state).await?;
        }
        match self.probe(&link).await {
            Err(error) if error.wants_login() && self.settings.credentials.is_some() => {
                self.log_in(&mut link, state).await?;
                self.probe(&link).await?;
            }
            outcome => outcome?,
        }
        Ok(link)
    }

    /// Any response shows the cluster, and that the token is good. Nothing is written to a cluster that was not seen.
    async fn probe(&self, link: &Link) -> Result<(), EtcdError> {
        let key = format!("{}/fleet", self.settings.address.name).into_bytes();
        let range = RangeRequest { key, serializable: true, keys_only: true, ..RangeRequest::default() };
        let probed: Result<RangeResponse, EtcdError> = self.ask(link, "/etcdserverpb.KV/Range", range).await;
        probed.map(|_| ())
    }

    async fn log_in(&self, link: &mut Link, state: &mut State) -> Result<(), EtcdError> {
        let Some(path) = &self.settings.credentials else { return Ok(()) };
        let text = read(path).await?;
        let fault = || EtcdError::File { path: path.clone(), fault: "it must hold one line, USER:PASSWORD".to_owned() };
        let (name, password) = text.trim_end_matches(['\r', '\n']).split_once(':').ok_or_else(fault)?;
        let message = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        tokio::time::sleep(LOGIN_JITTER.mul_f64(fraction())).await;
        (link.token, state.token) = (None, None);
        let response: Result<AuthenticateResponse, EtcdError> =
            self.ask(link, "/etcdserverpb.Auth/Authenticate", message).await;
        match response {
            Ok(response) => {
                let fault = "its token is no text";
                let malformed = |_| EtcdError::Malformed { endpoint: link.endpoint.clone(), fault };
                link.token = Some(MetadataValue::try_from(response.token).map_err(malformed)?);
                state.token = link.token.clone();
                Ok(())
            }
            // etcd asks for no user at all.
            Err(EtcdError::Failed { message, .. }) if message.contains("authentication is not enabled") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One request and its response.
    async fn ask<Q, R>(&self, link: &Link, path: &'static str, message: Q) -> Result<R, EtcdError>
    where
        Q: Message + 'static,
        R: Message + Default + Headed + 'static,
    {
        let mut grpc = Grpc::new(link.channel.clone()).max_decoding_message_size(LARGEST);
        let asking = async {
            grpc.ready().await.map_err(|error| EtcdError::Connect(chain_of(&error)))?;
            let request = link.request(message);
            let response = grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::<Q, R>::default()).await;
            response.map_err(|status| EtcdError::of_status(&link.endpoint, &status))
        };
        let response = within(CALL, &link.endpoint, asking).await?.into_inner();
        self.check(&link.endpoint, &response)?;
        Ok(response)
    }

    fn target(&self, endpoint: &str) -> Result<Endpoint, tonic::transport::Error> {
        // The connection that it gets is secured already.
        let target = Endpoint::from_shared(format!("http://{endpoint}"))?;
        let target = target.http2_keep_alive_interval(PING).keep_alive_timeout(PING).keep_alive_while_idle(true);
        Ok(match self.settings.address.uri(endpoint).parse() {
            Ok(origin) => target.origin(origin),
            Err(_) => target,
        })
    }

    /// The files are read again for every connection, so a changed certificate needs no restart.
    async fn tls(&self) -> Result<Option<Arc<ClientConfig>>, EtcdError> {
        if !self.settings.address.tls {
            return Ok(None);
        }
        let ca = self.settings.ca.clone().ok_or(EtcdError::NoCa)?;
        let files = ClientFiles { ca: ca.clone(), identity: self.settings.certificate.clone() };
        let reading = tokio::task::spawn_blocking(move || client_config(&files));
        let unusable = |fault: String| EtcdError::File { path: ca, fault };
        let mut config = match tokio::time::timeout(CONNECT, reading).await {
            Ok(Ok(Ok(config))) => config,
            Ok(Ok(Err(error))) => return Err(EtcdError::Certificate(Box::new(error))),
            Ok(Err(error)) => return Err(unusable(error.to_string())),
            Err(_) => return Err(unusable("it cannot be read in time".to_owned())),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

/// A socket, or TLS over one.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Hands over one connection and never makes another: tonic would connect again by itself, unseen, and to whatever listens
/// there by then.
struct Once(Option<Box<dyn Connection>>);

impl Service<Uri> for Once {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Box<dyn Connection>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::Error::other("the connection has ended")))
    }
}

impl Link {
    /// With the token, and with the wish to hear of it if the member has no leader.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

async fn within<T>(
    limit: Duration,
    endpoint: &str,
    work: impl Future<Output = Result<T, EtcdError>>,
) -> Result<T, EtcdError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(EtcdError::TimedOut(endpoint.to_owned())))
}

/// Reads a file beside the calls: its file system may hang.
async fn read(path: &Path) -> Result<String, EtcdError> {
    let failed = |fault: String| EtcdError::File { path: path.to_owned(), fault };
    let place = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_text(&place));
    match tokio::time::timeout(CONNECT, reading).await {
        Ok(Ok(Ok(text))) => Ok(text),
        Ok(Ok(Err(error))) => Err(failed(error.to_string())),
        Ok(Err(panic)) => Err(failed(panic.to_string())),
        Err(_) => Err(failed("it cannot be read in time".to_owned())),
    }
}

/// A random number from 0 to 1.
pub(crate) fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
