//! The gateway's own few calls to UCS: one connection a call, everything bounded. It judges no answer.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::upstream::UpstreamUrl;

/// More than any status document or schema; an answer beyond it is an error.
const LONGEST_BODY: usize = 4 << 20;

/// How the gateway's own calls reach UCS.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamClient {
    /// Where UCS is.
    pub url: UpstreamUrl,
    /// A login, where UCS demands one.
    pub credentials: Option<UpstreamCredentials>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for a whole answer, connecting included, unless a call has its own.
    pub total_timeout: Duration,
}

/// Sent as Basic credentials with every one of the gateway's own calls.
#[derive(Clone)]
pub(crate) struct UpstreamCredentials {
    /// The user at UCS.
    pub user: String,
    /// Its password; never shown.
    pub password: String,
}

impl fmt::Debug for UpstreamCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamCredentials({}, …)", self.user)
    }
}

/// What UCS answered.
#[derive(Clone, Debug)]
pub(crate) struct CallResponse {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// UCS cannot be reached: it has seen nothing of the call.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// To where.
        authority: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// No whole answer in time; UCS may have done what was asked.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The exchange broke off; UCS may have done what was asked.
    #[error("the exchange broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// The answer's body could not be read.
    #[error("the answer cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The path or the credentials cannot be sent.
    #[error("the call cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
}

impl UpstreamClient {
    /// `GET` of a path below the URL's base.
    pub async fn get(&self, path: &str) -> Result<CallResponse, CallError> {
        self.call(Method::GET, path, Bytes::new(), self.total_timeout).await
    }

    /// `POST` of a JSON document, with a timeout of its own.
    pub async fn post_json(&self, path: &str, json: String, timeout: Duration) -> Result<CallResponse, CallError> {
        self.call(Method::POST, path, Bytes::from(json), timeout).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<CallResponse, CallError> {
        let exchange = self.exchange(method, path, body);
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<CallResponse, CallError> {
        let request = self.request(method, path, body)?;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(CallError::Broken)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LONGEST_BODY).collect().await.map_err(CallError::Body)?;
            Ok(CallResponse { status, body: body.to_bytes() })
        };
        // The connection is driven here and not on a task, so that dropping the call drops the connection.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    }

    async fn connect(&self) -> Result<TcpStream, CallError> {
        let connecting = TcpStream::connect((self.url.host.as_str(), self.url.port));
        let failed = |source| CallError::Connect { authority: self.url.authority.clone(), source };
        let timed_out = || failed(std::io::Error::from(std::io::ErrorKind::TimedOut));
        tokio::time::timeout(self.connect_timeout, connecting).await.map_err(|_| timed_out())?.map_err(failed)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.base_path))
            .header(HOST, &self.url.authority)
            .header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(UpstreamCredentials { user, password }) = &self.credentials {
            let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {token}")).map_err(hyper::http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request.body(Full::new(body))?)
    }
}
