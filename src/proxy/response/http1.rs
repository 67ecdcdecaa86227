//! Encodes a response as an HTTP/1.1 message: status line, fields, and the framing that the client understands (RFC 9112, 6).

use hyper::StatusCode;
use hyper::body::Body;

use super::{Response, ResponseBody, length_of_nothing};
use crate::http1::encode::write_all;
use crate::http1::writer::{BodyFraming, CHUNKED, MessageWriter, Parts, write_length};
use crate::http1::{FieldNames, copied_part};

/// Capacity for the date and the framing of a response, in bytes.
const FRAMING_BYTES: usize = 128;

/// The framing of a response, as the client's request demands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseFraming {
    /// The request's method is HEAD.
    pub(crate) is_head: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) is_http10: bool,
    /// The connection closes after the response.
    pub(crate) closes: bool,
    /// The client accepts trailers.
    pub(crate) takes_trailers: bool,
}

impl ResponseFraming {
    /// The framing of a response to a malformed request.
    pub(crate) fn last() -> ResponseFraming {
        ResponseFraming { is_head: false, is_http10: false, closes: true, takes_trailers: false }
    }
}

/// Encodes a response, behind the rest of its interim responses; `date` is for one that has none (RFC 9110, 6.6.1).
pub(crate) fn encode(
    response: Response,
    interim: &[u8],
    framing: ResponseFraming,
    date: &str,
) -> MessageWriter<ResponseBody> {
    let Response { status, lines: mut head, meta, length: declared_length, closes, body, .. } = response;
    let size = body.size_hint().exact();
    head.reserve(FRAMING_BYTES + copied_part(size));
    if !interim.is_empty() {
        head.splice(..0, interim.iter().copied());
    }
    let has_no_body = framing.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let ends_by_closing = !has_no_body && size.is_none() && framing.is_http10;
    let closes = framing.closes || ends_by_closing || closes;
    if !meta.dated {
        write_all(&mut head, [b"Date: ", date.as_bytes(), b"\r\n"]);
    }
    let body_framing = if has_no_body {
        if let Some(length) = length_of_nothing(status, declared_length, size) {
            write_length(&mut head, length);
        }
        BodyFraming::Counted
    } else if let Some(length) = size {
        write_length(&mut head, length);
        BodyFraming::Counted
    } else if framing.is_http10 {
        BodyFraming::Counted
    } else {
        head.extend_from_slice(CHUNKED);
        let trailers = if framing.takes_trailers { meta.trailers } else { FieldNames::default() };
        BodyFraming::Chunked { trailers, piece_ends: false }
    };
    head.extend_from_slice(end_of_head(closes, framing.is_http10));
    let over = has_no_body || body.is_end_stream();
    // A client may retry when a connection closes without a byte, some even for a POST. A truncated response shows that UCS was
    // reached.
    let sends_beginning = true;
    MessageWriter::new(Parts { head, framing: body_framing, body, over, closes, ends_by_closing, sends_beginning })
}

/// The line `Connection` where the client needs it, and the empty line.
fn end_of_head(closes: bool, is_http10: bool) -> &'static [u8] {
    match (closes, is_http10) {
        (true, _) => b"Connection: close\r\n\r\n",
        (false, true) => b"Connection: keep-alive\r\n\r\n",
        (false, false) => b"\r\n",
    }
}
