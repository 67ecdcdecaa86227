//! A response as the client gets it, whichever protocol it speaks: status, field lines, body. UCS's, or the gateway's own. It
//! decides nothing and frames nothing: see `http1` beside it.

mod body;
pub(crate) mod http1;

use std::rc::Rc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};

use super::headers::{self, ResponseMeta, UCS_GATEWAY};
use super::request_log::RequestLog;
use super::upstream::forward::UpstreamResponse;
use crate::http1::encode::{write_line, write_number};
use crate::http1::{Buffer, Buffers, Fields, declared_length};

pub use body::ResponseBody;

/// Room for the field lines of a usual response, in bytes.
const FIELDS_ROOM: usize = 512;

/// A response. Always in a box, as it goes up through several futures.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its field lines, but for those of framing.
    pub fields: Buffer,
    /// What of the field lines is known without reading them again.
    pub told: ResponseMeta,
    /// The length that a response without a body tells (RFC 9110, 8.6).
    pub length: Option<u64>,
    /// Whether the connection ends with it.
    pub closes: bool,
    /// Whether what is left of the request's body is dropped.
    pub leaves_body: bool,
    /// Its body.
    pub body: ResponseBody,
}

impl Response {
    /// A response without field lines.
    fn new(status: StatusCode, body: ResponseBody, buffers: &Rc<Buffers>) -> Box<Response> {
        let fields = buffers.take(FIELDS_ROOM);
        Box::new(Response {
            status,
            fields,
            told: ResponseMeta::default(),
            length: None,
            closes: false,
            leaves_body: true,
            body,
        })
    }

    /// The gateway's own, without field lines.
    pub fn own(status: StatusCode, content: Bytes, buffers: &Rc<Buffers>) -> Box<Response> {
        Response::new(status, ResponseBody::own(content), buffers)
    }

    /// UCS's response.
    pub fn relay(answered: UpstreamResponse, buffers: &Rc<Buffers>) -> Box<Response> {
        let UpstreamResponse { status, fields, body } = answered;
        let has_none = body.is_end_stream();
        let mut reply = Response::new(status, ResponseBody::relay(body), buffers);
        reply.told = headers::to_downstream(&fields, &mut reply.fields);
        reply.length = if has_none { declared_length(&fields) } else { None };
        // It may go up to UCS while the response comes down.
        reply.leaves_body = false;
        reply
    }

    /// A response of UCS whose body was read here.
    pub fn read(status: StatusCode, fields: &Fields, content: Bytes, buffers: &Rc<Buffers>) -> Box<Response> {
        let mut reply = Response::own(status, content, buffers);
        reply.told = headers::to_downstream(fields, &mut reply.fields);
        reply.add(UCS_GATEWAY, "answered");
        reply
    }

    /// With the request's log, which ends with the body.
    pub fn with(mut self: Box<Response>, request_log: RequestLog) -> Box<Response> {
        self.body.log_to(request_log);
        self
    }

    /// Adds a field line; the value may hold no line end.
    pub fn add(&mut self, name: HeaderName, value: impl AsRef<[u8]>) {
        write_line(&mut self.fields, name.as_str().as_bytes(), value.as_ref());
    }

    /// Adds a field line with a number of seconds.
    pub fn add_seconds(&mut self, name: HeaderName, seconds: u64) {
        write_number(&mut self.fields, name.as_str().as_bytes(), seconds);
    }
}

/// A response of the gateway that is no refusal.
pub fn answer(status: StatusCode, json: Vec<u8>, buffers: &Rc<Buffers>) -> Box<Response> {
    let mut reply = Response::own(status, Bytes::from(json), buffers);
    reply.add(CONTENT_TYPE, "application/json");
    reply.add(CACHE_CONTROL, "no-store");
    reply.add(UCS_GATEWAY, "answered");
    reply
}
