//! A response to a client, independent of the protocol: status, field lines, body. UCS's or the gateway's own. It decides
//! nothing and frames nothing: see `http1` beside it, and `proxy::http2`.

mod body;
pub(crate) mod http1;

use std::rc::Rc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Body;

use super::headers::{self, ResponseMeta, UCS_GATEWAY};
use super::request_log::RequestLog;
use super::upstream::forward::UpstreamResponse;
use crate::http1::encode::{write_all, write_line, write_number};
use crate::http1::{Buffer, Buffers, Fields, declared_length};

pub(crate) use body::ResponseBody;

/// Capacity for the head of a typical response, in bytes.
const HEAD_ROOM: usize = 1024;

/// A response. Always boxed, as it is returned through several futures.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// Its status line and field lines in HTTP/1.1, without those of framing. The encoder goes on behind them.
    pub(crate) lines: Buffer,
    /// Facts about the field lines that the encoder needs.
    pub(crate) meta: ResponseMeta,
    /// The length that a response without a body declares (RFC 9110, 8.6).
    pub(crate) length: Option<u64>,
    /// Whether the connection closes after it.
    pub(crate) closes: bool,
    /// Whether the rest of the request's body is discarded.
    pub(crate) discards_body: bool,
    /// Whether the gateway made it, and UCS none of it.
    pub(crate) is_own: bool,
    pub(crate) body: ResponseBody,
}

impl Response {
    /// A response without field lines.
    fn new(status: StatusCode, phrase: &[u8], body: ResponseBody, buffers: &Rc<Buffers>) -> Box<Response> {
        let mut lines = buffers.take(HEAD_ROOM);
        write_all(&mut lines, [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", phrase, b"\r\n"]);
        Box::new(Response {
            status,
            lines,
            meta: ResponseMeta::default(),
            length: None,
            closes: false,
            discards_body: true,
            is_own: false,
            body,
        })
    }

    /// A response of the gateway itself, without field lines.
    pub(crate) fn own(status: StatusCode, content: Bytes, buffers: &Rc<Buffers>) -> Box<Response> {
        let phrase = status.canonical_reason().unwrap_or_default();
        let mut response = Response::new(status, phrase.as_bytes(), ResponseBody::own(content), buffers);
        response.is_own = true;
        response
    }

    /// A response of UCS whose body is streamed.
    pub(crate) fn relay(upstream_response: UpstreamResponse, buffers: &Rc<Buffers>) -> Box<Response> {
        let UpstreamResponse { status, fields, body } = upstream_response;
        let has_none = body.is_end_stream();
        let mut response = Response::new(status, fields.reason_phrase(), ResponseBody::relay(body), buffers);
        response.meta = headers::to_downstream(&fields, &mut response.lines);
        response.length = if has_none { declared_length(&fields) } else { None };
        // UCS may still receive the request's body while it responds.
        response.discards_body = false;
        response
    }

    /// A response of UCS whose body was read into memory.
    pub(crate) fn read(status: StatusCode, fields: &Fields, content: Bytes, buffers: &Rc<Buffers>) -> Box<Response> {
        let mut response = Response::new(status, fields.reason_phrase(), ResponseBody::own(content), buffers);
        response.meta = headers::to_downstream(fields, &mut response.lines);
        response.add(UCS_GATEWAY, "answered");
        response
    }

    /// Attaches the request's record, which ends with the body.
    pub(crate) fn with(mut self: Box<Response>, request_log: RequestLog) -> Box<Response> {
        self.body.log_to(request_log);
        self
    }

    /// Adds a field line; the value must not contain a line break.
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        write_line(&mut self.lines, name.as_bytes(), value.as_ref());
    }

    /// Adds a field line with a number of seconds.
    pub(crate) fn add_seconds(&mut self, name: &str, seconds: u64) {
        write_number(&mut self.lines, name.as_bytes(), seconds);
    }
}

/// A JSON response of the gateway that is not a refusal.
pub(crate) fn json(status: StatusCode, document: Vec<u8>, buffers: &Rc<Buffers>) -> Box<Response> {
    let mut response = Response::own(status, Bytes::from(document), buffers);
    response.add("Content-Type", "application/json");
    response.add("Cache-Control", "no-store");
    response.add(UCS_GATEWAY, "answered");
    response
}

/// The length that a response without a body declares: that of the response to a GET (RFC 9110, 8.6); never with 204.
pub(super) fn length_of_nothing(status: StatusCode, declared: Option<u64>, size: Option<u64>) -> Option<u64> {
    if status == StatusCode::NO_CONTENT { None } else { declared.or(size.filter(|&size| size > 0)) }
}
