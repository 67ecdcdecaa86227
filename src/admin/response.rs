//! Answers of the admin plane: JSON, text and problem documents (RFC 9457). One function makes every problem. It knows
//! no call and decides no status.

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

use super::connection_limits::{self, StreamPlace};

/// Bodies that the admin plane sends.
pub(super) enum AdminBody {
    /// All at once.
    Whole(Full<Bytes>),
    /// Event by event, until the sender is dropped.
    Events { events: mpsc::Receiver<Bytes>, _place: StreamPlace },
}

pub(super) type Reply = Response<AdminBody>;

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

/// A problem of the admin plane, before it is an answer.
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
    /// `reason` is one of the table in docs/admin-api.md; `detail` says what was wrong and what to do instead.
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, reason, detail: detail.into(), members: Map::new(), headers: Vec::new() }
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

    /// Adds a challenge.
    pub(super) fn challenge(mut self, challenge: &str) -> Problem {
        self.headers.push((WWW_AUTHENTICATE, challenge.to_owned()));
        self
    }

    /// The one place where a problem document is made.
    pub(super) fn reply(self) -> Reply {
        let mut document = Map::new();
        document.insert("title".to_owned(), json!(self.status.canonical_reason().unwrap_or("Problem")));
        document.insert("status".to_owned(), json!(self.status.as_u16()));
        document.insert("detail".to_owned(), json!(self.detail));
        document.insert("reason".to_owned(), json!(self.reason));
        document.extend(self.members);
        let text = Value::Object(document).to_string();
        let mut reply = whole(self.status, "application/problem+json", text);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                reply.headers_mut().append(name, value);
            }
        }
        reply
    }
}

impl From<connection_limits::Full> for Problem {
    fn from(full: connection_limits::Full) -> Problem {
        let (status, reason) = match full {
            connection_limits::Full::Connections | connection_limits::Full::Streams => {
                (StatusCode::SERVICE_UNAVAILABLE, "overload")
            }
            connection_limits::Full::Changes => (StatusCode::TOO_MANY_REQUESTS, "too_many_changes"),
            connection_limits::Full::StreamsOfPrincipal => (StatusCode::TOO_MANY_REQUESTS, "too_many_streams"),
        };
        Problem::new(status, reason, full.to_string()).retry_after(5)
    }
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Reply {
    match serde_json::to_vec(document) {
        Ok(bytes) => whole(status, "application/json", bytes),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()).reply(),
    }
}

/// A stream of events.
pub(super) fn events(events: mpsc::Receiver<Bytes>, place: StreamPlace) -> Reply {
    let mut reply = whole(StatusCode::OK, "text/event-stream", "");
    *reply.body_mut() = AdminBody::Events { events, _place: place };
    reply
}

/// Any body that is there at once. Nothing that the admin plane says may be cached, framed or sniffed.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(AdminBody::Whole(Full::new(body.into())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    reply
}
