//! A small client of the admin API, for commands that call a running gateway: TCP or unix socket, one connection per call. It
//! knows addresses, tokens and problem documents, but no modes.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::access::TOKEN_FILE;
use crate::config::default_state_dir;
use crate::files::{read_text_or_pipe, trimmed};
use crate::http_client::{self, Arriving};
use crate::transport::{Address, ClientFiles, HostPort, Stream, TlsClient, TlsError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest accepted response; whole route tables and long histories fit.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// More than two heartbeats of the gateway: an event stream that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(40);

/// The address and the credential, for every command that calls the gateway.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection to the gateway")]
pub(crate) struct AdminArgs {
    /// Address of the admin API: HOST:PORT, http://HOST:PORT, https://HOST:PORT (with --admin-ca) or unix:PATH
    #[arg(long, global = true, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub(crate) admin: AdminAddress,
    /// CAs of the admin port's certificate, if it speaks TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) admin_ca: Option<PathBuf>,
    /// Client certificate for the admin port, in place of a token
    #[arg(long, global = true, value_name = "FILE", requires_all = ["admin_ca", "admin_key"])]
    pub(crate) admin_cert: Option<PathBuf>,
    /// Private key of --admin-cert
    #[arg(long, global = true, value_name = "FILE", requires = "admin_cert")]
    pub(crate) admin_key: Option<PathBuf>,
    /// Token; prefer a file or the environment, as other users can see command lines
    // One token in 64 begins with a hyphen.
    #[arg(long, global = true, hide_env_values = true, allow_hyphen_values = true)]
    #[arg(conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// File that contains the token [default: admin.token in the state directory]
    #[arg(long, global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// State directory of the gateway, which contains its token [default: $STATE_DIRECTORY, else ./ucs-gateway.state]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// The address of the admin API, with the scheme if it was written as a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress {
    pub(super) address: Address<HostPort>,
    scheme: Option<Scheme>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<AdminAddress, String> {
        let (scheme, address) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(address), _) => (Some(Scheme::Http), address),
            (_, Some(address)) => (Some(Scheme::Https), address),
            (None, None) => (None, text),
        };
        // As the address bar of a browser shows it.
        let address = if scheme.is_some() { address.strip_suffix('/').unwrap_or(address) } else { address };
        if scheme.is_some() && address.contains('/') {
            return Err("write HOST:PORT or unix:PATH without a path behind it, as it is or after http:// or https://"
                .to_owned());
        }
        let address = address.parse().map_err(|error| format!("{error}, as it is or after http:// or https://"))?;
        match (scheme, &address) {
            (Some(_), Address::Unix(_)) => Err("write unix:PATH without http://".to_owned()),
            (_, _) => Ok(AdminAddress { address, scheme }),
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot read the token from {}: {source}; name it with --token-file, UCS_GATEWAY_TOKEN or --state-dir, and run as a user who may read it", path.display())]
    Token { path: PathBuf, source: io::Error },
    #[error("the token is invalid: it contains a line break or another control character")]
    BadToken,
    #[error("cannot reach the gateway's admin API at {address}: {source}; is it running, and is --admin right?")]
    Connect { address: Address<HostPort>, source: io::Error },
    #[error(transparent)]
    Tls(TlsError),
    #[error("https:// requires --admin-ca FILE, the CA of the admin port's certificate")]
    NoCa,
    #[error("http:// is clear text, and --admin-ca is for TLS: write https://")]
    ClearText,
    #[error("the connection to the admin API failed: {0}")]
    Broken(String),
    /// The response is a problem document.
    #[error("{}", .0.detail())]
    Refused(Box<Refusal>),
}

/// A problem document.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) document: Value,
}

impl Refusal {
    fn detail(&self) -> String {
        let detail = self.document["detail"].as_str().map(str::to_owned);
        detail.unwrap_or_else(|| {
            let status = self.status;
            format!("the response, {status}, is not the admin API's; does --admin name the admin port? If that speaks TLS, name its CA with --admin-ca")
        })
    }
}

pub(super) struct AdminClient {
    address: Address<HostPort>,
    tls: Option<Arc<TlsClient>>,
    /// None with a client certificate, or over a unix socket: the kernel tells the gateway who calls.
    authorization: Option<HeaderValue>,
}

impl AdminClient {
    /// Reads the token; does not connect yet.
    pub(super) fn new(arguments: &AdminArgs) -> Result<AdminClient, CallError> {
        match (arguments.admin.scheme, &arguments.admin_ca) {
            (Some(Scheme::Https), None) => return Err(CallError::NoCa),
            (Some(Scheme::Http), Some(_)) => return Err(CallError::ClearText),
            (_, _) => {}
        }
        let address = arguments.admin.address.clone();
        let has_other = matches!(address, Address::Unix(_)) || arguments.admin_cert.is_some();
        let token = match arguments.token.clone().map_or_else(|| read_token(arguments), Ok) {
            Err(CallError::Token { .. }) if has_other && arguments.token_file.is_none() => None,
            token => Some(token?),
        };
        let authorization = token.map(|token| {
            let value = HeaderValue::from_str(&format!("Bearer {}", trimmed(&token)));
            let mut value = value.map_err(|_| CallError::BadToken)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let authorization = authorization.transpose()?;
        Ok(AdminClient { address, tls: tls(arguments).map_err(CallError::Tls)?, authorization })
    }

    /// One call; `patience` bounds the wait for its response.
    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, CallError> {
        let exchange = async {
            let response = self.send(method, target, body).await?;
            let status = response.status();
            Ok((status, document(response).await?))
        };
        let (status, document) = timeout(patience, exchange).await.map_err(late)??;
        if status.is_success() && document != Value::Null {
            return Ok(document);
        }
        Err(CallError::Refused(Box::new(Refusal { status, document })))
    }

    /// Opens the event stream.
    pub(super) async fn events(&self) -> Result<EventReader, CallError> {
        let opening = timeout(CONNECT_TIMEOUT, self.send(Method::GET, "/mode/events", None));
        let response = opening.await.map_err(late)??;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(EventReader { body: response.into_body(), text: Vec::new() });
        }
        Err(CallError::Refused(Box::new(Refusal { status, document: document(response).await? })))
    }

    async fn send(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Response<Arriving>, CallError> {
        let connecting = http_client::connected(self.connect(), CONNECT_TIMEOUT).await;
        let stream = connecting.map_err(|source| CallError::Connect { address: self.address.clone(), source })?;
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(target).header(HOST, self.host());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request =
            request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(text))).map_err(broken)?;
        http_client::send(stream, request).await.map_err(broken)
    }

    async fn connect(&self) -> io::Result<Stream> {
        match (&self.tls, Stream::connect(&self.address).await?) {
            (Some(tls), Stream::Tcp(socket)) => tls.secure(socket).await,
            (_, stream) => Ok(stream),
        }
    }

    fn host(&self) -> &str {
        match &self.address {
            Address::Tcp(address) => address.as_str(),
            Address::Unix(_) => "localhost",
        }
    }
}

/// TLS for the admin port, if there are CAs to trust.
fn tls(arguments: &AdminArgs) -> Result<Option<Arc<TlsClient>>, TlsError> {
    let (Some(ca), Address::Tcp(address)) = (&arguments.admin_ca, &arguments.admin.address) else { return Ok(None) };
    let identity = arguments.admin_cert.clone().zip(arguments.admin_key.clone());
    TlsClient::load(&ClientFiles { ca: ca.clone(), identity }, address.host()).map(Some)
}

/// The body as JSON; null if it is not.
async fn document(response: Response<Arriving>) -> Result<Value, CallError> {
    let bytes = response.into_body().collect(MAX_RESPONSE).await.map_err(broken)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn broken(error: impl ToString) -> CallError {
    CallError::Broken(error.to_string())
}

fn late(_: Elapsed) -> CallError {
    CallError::Broken("no response in time".to_owned())
}

/// A reader of server-sent events.
pub(super) struct EventReader {
    body: Arriving,
    text: Vec<u8>,
}

impl EventReader {
    /// The name and data of the next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Value)>, CallError> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some(event) = read_event(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.text.len() > MAX_RESPONSE {
                return Err(CallError::Broken("an event is too large".to_owned()));
            }
            let frame = timeout(SILENCE, self.body.frame()).await;
            match frame.map_err(|_| CallError::Broken("the event stream fell silent".to_owned()))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(error)),
                Some(Ok(frame)) => self.text.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        }
    }
}

/// A block without data is a comment.
fn read_event(block: &str) -> Option<(String, Value)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    let data = serde_json::from_str(field("data:")?).ok()?;
    Some((field("event:").unwrap_or("message").to_owned(), data))
}

fn read_token(arguments: &AdminArgs) -> Result<String, CallError> {
    let path = match &arguments.token_file {
        Some(path) => path.clone(),
        None => arguments.state_dir.clone().unwrap_or_else(default_state_dir).join(TOKEN_FILE),
    };
    read_text_or_pipe(&path).map_err(|source| CallError::Token { path, source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_the_url_that_a_browser_shows() {
        for (text, scheme) in [
            ("127.0.0.1:8081", None),
            ("http://127.0.0.1:8081", Some(Scheme::Http)),
            ("http://127.0.0.1:8081/", Some(Scheme::Http)),
            ("https://127.0.0.1:8081", Some(Scheme::Https)),
        ] {
            let address = Address::Tcp("127.0.0.1:8081".parse().unwrap());
            assert_eq!(text.parse(), Ok(AdminAddress { address, scheme }), "{text}");
        }
        for text in ["http://", "http://gw", "http://gw:1/mode", "127.0.0.1:1/", "https://unix:/x", "ftp://gw:1"] {
            assert!(text.parse::<AdminAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn comments_are_not_events() {
        assert_eq!(read_event(": still here\n\n"), None);
        let (name, data) = read_event("event: record\nid: 7\ndata: {\"revision\":7}\n\n").unwrap();
        assert_eq!((name.as_str(), &data["revision"]), ("record", &Value::from(7)));
    }
}
