//! The stand-in's responses: JSON, text, bytes, or an error in UCS's format. It decides nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::mode_switch::RunningRequest;
use super::record::OpenExchange;

pub(super) type OperationResult = Result<Response<Bytes>, UcsError>;

pub(super) fn bytes(status: u16, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = empty(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *response.body_mut() = body;
    response
}

pub(super) fn json(status: u16, body: &Value) -> Response<Bytes> {
    bytes(status, "application/json;charset=UTF-8", Bytes::from(body.to_string()))
}

/// 201 with a `Location`. An unusual id in the request can make a value that no header may hold; it is then left out.
pub(super) fn created(location: &str, body: &Value) -> Response<Bytes> {
    let mut response = json(201, body);
    response.headers_mut().extend(HeaderValue::try_from(location).ok().map(|location| (LOCATION, location)));
    response
}

pub(super) fn empty(status: u16) -> Response<Bytes> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// The error of a request that failed.
#[derive(Debug)]
pub(super) struct UcsError {
    pub(super) status: u16,
    description: String,
    header: Option<(HeaderName, String)>,
}

impl UcsError {
    pub(super) fn new(status: u16, description: impl Into<String>) -> UcsError {
        UcsError { status, description: description.into(), header: None }
    }

    pub(super) fn bad_request(description: impl Into<String>) -> UcsError {
        UcsError::new(400, description)
    }

    /// Documented for operations that need the profile schema.
    pub(super) fn no_profile_schema() -> UcsError {
        UcsError::new(404, "no profile schema is defined")
    }

    pub(super) fn not_found(noun: &str, name: &str) -> UcsError {
        UcsError::new(404, format!("{noun} \"{name}\" does not exist"))
    }

    pub(super) fn wrong_method(allowed: &str) -> UcsError {
        let header = Some((ALLOW, allowed.to_owned()));
        UcsError { header, ..UcsError::new(405, format!("this resource accepts only {allowed}")) }
    }

    pub(super) fn login_required() -> UcsError {
        let header = Some((WWW_AUTHENTICATE, "Basic realm=\"Context Services\"".to_owned()));
        UcsError { header, ..UcsError::new(401, "user name and password are required") }
    }

    /// The error document. Documented are only that it is JSON, is called `error`, begins with the HTTP method and
    /// holds a code and a description; the names of the members are the stand-in's guess.
    pub(super) fn into_response(self, method: &str, uri: &str) -> Response<Bytes> {
        let body = json!({"error": {
            "http_method": method, "uri": uri, "code": self.status, "description": self.description
        }});
        let mut response = json(self.status, &body);
        let header = self.header.and_then(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
        response.headers_mut().extend(header);
        response
    }
}

/// Ends together with the response. The exchange is recorded as ended before its request stops running.
pub(super) struct ResponseGuard {
    pub(super) _exchange: OpenExchange,
    pub(super) _running: Option<RunningRequest>,
}

/// The body of a response. It holds a guard until it is sent or given up.
pub(super) struct ResponseBody {
    bytes: Bytes,
    guard: Option<ResponseGuard>,
}

impl ResponseBody {
    /// The response with this body, and with its length, which a HEAD request also asks for.
    pub(super) fn guarded(response: Response<Bytes>, guard: Option<ResponseGuard>) -> Response<ResponseBody> {
        let (mut head, bytes) = response.into_parts();
        if head.status != StatusCode::NO_CONTENT {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        Response::from_parts(head, ResponseBody { bytes, guard })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.guard = None;
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
