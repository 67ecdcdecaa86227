//! The gateway's own calls to UCS: one connection per call, with limits on time and size. It does not interpret responses.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, Response};

use super::credentials::{SharedCredentials, UpstreamCredentials};
use crate::http_client::{self, Arriving};
use crate::transport::Upstream;

/// The largest accepted response body: more than any status document or schema.
const LONGEST_BODY: usize = 4 << 20;

/// The client for the gateway's own calls.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamClient {
    /// UCS.
    pub upstream: Upstream,
    /// The login, if UCS requires one.
    pub credentials: Option<SharedCredentials>,
    pub connect_timeout: Duration,
    /// The timeout of a whole call, connecting included, unless a call has its own.
    pub total_timeout: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct CallResponse {
    pub status: u16,
    pub body: Bytes,
}

/// The reason why there is no complete response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// UCS cannot be reached, so it has not received the call.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// Host and port.
        authority: String,
        source: std::io::Error,
    },
    /// No complete response in time; UCS may have carried out the call.
    #[error("no response within {0:.0?}")]
    Timeout(Duration),
    /// The connection broke; UCS may have carried out the call.
    #[error("the connection broke: {}", cause(.0))]
    Broken(#[source] hyper::Error),
    #[error("cannot read the response: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The path or the credentials are not valid HTTP.
    #[error("cannot build the request: {0}")]
    Request(#[from] hyper::http::Error),
}

/// The cause of an error, which its own text hides.
fn cause(error: &hyper::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl UpstreamClient {
    /// `GET` of a path below the URL's base.
    pub(crate) async fn get(&self, path: &str) -> Result<CallResponse, CallError> {
        self.call(Method::GET, path, Bytes::new(), self.total_timeout).await
    }

    /// `POST` of a JSON document, with a timeout of its own.
    pub(crate) async fn post_json(
        &self,
        path: &str,
        json: String,
        timeout: Duration,
    ) -> Result<CallResponse, CallError> {
        self.call(Method::POST, path, Bytes::from(json), timeout).await
    }

    /// Where UCS redirects a `GET`, as it says: status and `Location`.
    pub(crate) async fn redirect(&self, path: &str) -> Option<(u16, String)> {
        let asking = async { self.response(self.request(Method::GET, path, Bytes::new()).ok()?).await.ok() };
        let response = tokio::time::timeout(self.total_timeout, asking).await.ok()??;
        let to = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
        Some((response.status().as_u16(), to.to_str().ok()?.to_owned()))
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
        let response = self.response(self.request(method, path, body)?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect(LONGEST_BODY).await.map_err(CallError::Body)?;
        Ok(CallResponse { status, body })
    }

    async fn response(&self, request: Request<Full<Bytes>>) -> Result<Response<Arriving>, CallError> {
        let failed = |source| CallError::Connect { authority: self.upstream.url.place(), source };
        let stream = http_client::connected(self.upstream.connect(), self.connect_timeout).await.map_err(failed)?;
        http_client::send(stream, request).await.map_err(CallError::Broken)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.upstream.url.base_path))
            .header(HOST, &self.upstream.url.authority)
            .header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(credentials) = &self.credentials {
            let UpstreamCredentials { user, password } = &**credentials.load();
            let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {token}")).map_err(hyper::http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request.body(Full::new(body))?)
    }
}
