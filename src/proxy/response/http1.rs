//! A response as a message of HTTP/1.1: its status line, and the framing that its client understands (RFC 9112, 6).

use std::rc::Rc;

use hyper::StatusCode;
use hyper::body::Body;

use super::{Response, ResponseBody};
use crate::http1::encode::{write_all, write_line};
use crate::http1::writer::{BodyFraming, CHUNKED, MessageWriter, Parts, write_length};
use crate::http1::{Buffers, FieldNames, room_for};

/// What a client's request says of the form of its answer.
#[derive(Clone, Copy, Debug)]
pub struct ResponseFraming {
    /// It asked for the head alone.
    pub is_head: bool,
    /// It speaks HTTP/1.0.
    pub is_http10: bool,
    /// Its connection ends with the answer.
    pub closes: bool,
    /// It takes trailers.
    pub takes_trailers: bool,
}

impl ResponseFraming {
    /// For the response to bytes that are no request.
    pub fn last() -> ResponseFraming {
        ResponseFraming { is_head: false, is_http10: false, closes: true, takes_trailers: false }
    }
}

/// The response on its way; `date` is for one that has none (RFC 9110, 6.6.1).
pub(crate) fn sending(
    reply: Response,
    terms: ResponseFraming,
    date: &str,
    buffers: &Rc<Buffers>,
) -> MessageWriter<ResponseBody> {
    let Response { status, fields, told, length: declared_length, closes, body, leaves_body: _ } = reply;
    let size = body.size_hint().exact();
    let mut head = buffers.take(room_for(size) + fields.len());
    let reason = status.canonical_reason().unwrap_or("Unknown");
    write_all(&mut head, [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n", &fields]);
    drop(fields);
    let has_no_body = terms.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let ends_by_closing = !has_no_body && size.is_none() && terms.is_http10;
    let closes = terms.closes || ends_by_closing || closes;
    if !told.dated {
        write_line(&mut head, b"date", date.as_bytes());
    }
    let framing = if has_no_body {
        if let Some(length) = length_of_nothing(status, declared_length, size) {
            write_length(&mut head, length);
        }
        BodyFraming::Counted
    } else if let Some(length) = size {
        write_length(&mut head, length);
        BodyFraming::Counted
    } else if terms.is_http10 {
        BodyFraming::Counted
    } else {
        head.extend_from_slice(CHUNKED);
        let trailers = if terms.takes_trailers { told.trailers } else { FieldNames::default() };
        BodyFraming::Chunked { trailers, piece_ends: false }
    };
    if closes {
        head.extend_from_slice(b"connection: close\r\n");
    } else if terms.is_http10 {
        head.extend_from_slice(b"connection: keep-alive\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let over = has_no_body || body.is_end_stream();
    // A client that sees a connection end without one byte may take that for leave to ask again, and some do so even for a
    // POST. Half a response says that UCS was reached.
    let sends_beginning = true;
    MessageWriter::new(Parts { head, framing, body, over, closes, ends_by_closing, sends_beginning })
}

/// RFC 9110, 8.6: the length that the answer to a GET would have; never with 204.
fn length_of_nothing(status: StatusCode, told: Option<u64>, size: Option<u64>) -> Option<u64> {
    if status == StatusCode::NO_CONTENT { None } else { told.or(size.filter(|&size| size > 0)) }
}
