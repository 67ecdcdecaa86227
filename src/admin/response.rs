//! Responses of the admin API: JSON, text and problem documents (RFC 9457). One function builds every problem document. It
//! knows no call.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::connection_limits::{LimitReached, StreamSlot};

pub(super) enum AdminBody {
    Whole(Full<Bytes>),
    /// Events, until the sender is dropped.
    Events {
        events: mpsc::Receiver<Bytes>,
        _place: StreamSlot,
    },
}

pub(super) type AdminResponse = Response<AdminBody>;

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            AdminBody::Whole(body) => Pin::new(body).poll_frame(context),
            AdminBody::Events { events, .. } => {
                events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AdminBody::Whole(body) => body.is_end_stream(),
            AdminBody::Events { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AdminBody::Whole(body) => body.size_hint(),
            AdminBody::Events { .. } => SizeHint::default(),
        }
    }
}

/// A problem, not yet rendered as a response.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    reason: &'static str,
    detail: String,
    /// Further members, e.g. `record` and `report`.
    members: Map<String, Value>,
    headers: Vec<(HeaderName, String)>,
}

impl Problem {
    /// `reason` is one of those in docs/admin-api.md; `detail` names the fault and the remedy.
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, reason, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    /// 400: the body is malformed, or asks for a change that is not possible.
    pub(super) fn bad_body<D: Into<String>>(detail: D) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_body", detail)
    }

    /// Adds a member.
    pub(super) fn with(mut self, name: &str, value: impl Serialize) -> Problem {
        self.members.insert(name.to_owned(), json!(value));
        self
    }

    /// Adds `Allow`.
    pub(super) fn allow(mut self, methods: &str) -> Problem {
        self.headers.push((ALLOW, methods.to_owned()));
        self
    }

    /// Adds `Retry-After`, in seconds.
    pub(super) fn retry_after(mut self, seconds: u64) -> Problem {
        self.headers.push((RETRY_AFTER, seconds.to_string()));
        self
    }

    pub(super) fn challenge(mut self, challenge: &str) -> Problem {
        self.headers.push((WWW_AUTHENTICATE, challenge.to_owned()));
        self
    }

    /// Renders the problem document.
    pub(super) fn into_response(self) -> AdminResponse {
        let mut document = Map::new();
        document.insert("title".to_owned(), json!(self.status.canonical_reason().unwrap_or("Problem")));
        document.insert("status".to_owned(), json!(self.status.as_u16()));
        document.insert("detail".to_owned(), json!(self.detail));
        document.insert("reason".to_owned(), json!(self.reason));
        document.extend(self.members);
        let text = Value::Object(document).to_string();
        let mut response = whole(self.status, "application/problem+json", text);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

impl From<LimitReached> for Problem {
    fn from(limit: LimitReached) -> Problem {
        let (status, reason) = match limit {
            LimitReached::Connections | LimitReached::Streams => (StatusCode::SERVICE_UNAVAILABLE, "overload"),
            LimitReached::Changes => (StatusCode::TOO_MANY_REQUESTS, "too_many_changes"),
            LimitReached::StreamsOfPrincipal => (StatusCode::TOO_MANY_REQUESTS, "too_many_streams"),
        };
        Problem::new(status, reason, limit.to_string()).retry_after(5)
    }
}

pub(super) fn json(status: StatusCode, document: &impl Serialize) -> AdminResponse {
    match serde_json::to_vec(document) {
        Ok(bytes) => whole(status, "application/json", bytes),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()).into_response(),
    }
}

pub(super) fn events(events: mpsc::Receiver<Bytes>, slot: StreamSlot) -> AdminResponse {
    let mut response = whole(StatusCode::OK, "text/event-stream", "");
    // nginx would hold events back until some kilobytes of them are there.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    *response.body_mut() = AdminBody::Events { events, _place: slot };
    response
}

/// A response with a complete body. No response may be cached, framed or sniffed.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> AdminResponse {
    let mut response = Response::new(AdminBody::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    response
}
