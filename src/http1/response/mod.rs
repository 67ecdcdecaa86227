//! Parses the heads of responses (RFC 9112, 4 to 6) and finds the framing of their bodies. It takes bytes from a buffer that the
//! caller fills, and interprets no fields but those of framing. Bytes that are not clearly one response are an error.
//!
//! hyper's client did this before: a task, two channels and a copy of the head for each request made up a quarter of the cost
//! of a forwarded request (benches/README.md).

use std::mem::MaybeUninit;

use bytes::BytesMut;
use hyper::StatusCode;

use super::body::FramedBody;
use super::error::RequestError;
use super::fast_path::{self, ResponseParts, STATUS_LINE_BYTES};
use super::fields::{FieldPlace, Fields, Places};
use super::known_names::KnownName;
use super::limits::{HeadLimits, LIST_ENTRIES};

/// The longest accepted head of a response, in bytes; also the limit of the interim responses before it.
pub(crate) const HEAD_BYTES: usize = 256 * 1024;

/// The most field lines of a response.
const HEADER_LINES: usize = 128;

/// The limits of a response's trailers.
pub const RESPONSE_LIMITS: HeadLimits =
    HeadLimits { target_bytes: 0, head_bytes: HEAD_BYTES, header_count: HEADER_LINES };

/// Why a response could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The head is not HTTP/1.
    #[error("its head is not HTTP/1: {0}")]
    Head(#[from] httparse::Error),
    /// The head, or the interim responses before it, are longer than 256 KiB.
    #[error("its head is too long")]
    HeadTooLong,
    /// More than 100 entries in `Connection`.
    #[error("its Connection field has too many entries")]
    Connection,
    /// A length that is not a number, or several that differ.
    #[error("its Content-Length is not one number")]
    Length,
    /// A transfer coding other than chunked, or one in HTTP/1.0.
    #[error("its Transfer-Encoding is not a single \"chunked\"")]
    Encoding,
    /// Invalid chunks or trailers.
    #[error("its chunks are invalid: {0}")]
    Chunks(#[from] RequestError),
    /// The server closed the connection before the response was complete.
    #[error("it ended early")]
    Ended,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broke(#[source] std::io::Error),
    /// The caller aborted the exchange.
    #[error("the exchange was aborted")]
    GaveUp,
}

impl ResponseError {
    /// Whether the server sent invalid bytes, rather than too few.
    pub(crate) fn is_malformed(&self) -> bool {
        !matches!(self, ResponseError::Ended | ResponseError::Broke(_) | ResponseError::GaveUp)
    }
}

#[derive(Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    /// The field lines, as received.
    pub fields: Fields,
    pub body: FramedBody,
    /// Whether the connection stays open after the response.
    pub keeps_open: bool,
}

impl ResponseHead {
    /// Whether more responses to the same request follow (RFC 9110, 15.2). After 101 there is no HTTP any more.
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// The fields of a response know its status line.
impl Fields {
    /// The reason phrase of this response, as received.
    pub(crate) fn reason_phrase(&self) -> &[u8] {
        self.first_line().get(STATUS_LINE_BYTES..).unwrap_or_default()
    }

    /// Whether this response was received in HTTP/1.0.
    pub(crate) fn is_of_http10_response(&self) -> bool {
        self.without_empty_lines().starts_with(b"HTTP/1.0 ")
    }
}

/// Takes the head of the next response from `buffer`, interim or final; `is_head` says that the request was HEAD. `None` means
/// that more bytes are needed.
pub fn read_response_head(buffer: &mut BytesMut, is_head: bool) -> Result<Option<ResponseHead>, ResponseError> {
    let head = one_head(buffer, is_head)?;
    if head.is_none() && buffer.len() > HEAD_BYTES {
        return Err(ResponseError::HeadTooLong);
    }
    Ok(head)
}

fn one_head(buffer: &mut BytesMut, is_head: bool) -> Result<Option<ResponseHead>, ResponseError> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let Some(ResponseParts { length, status, is_http10, places }) =
        (match fast_path::response_head(buffer, HEADER_LINES) {
            Some(plain) => Some(plain),
            None => careful(buffer)?,
        })
    else {
        return Ok(None);
    };
    if length > HEAD_BYTES {
        return Err(ResponseError::HeadTooLong);
    }
    let status = StatusCode::from_u16(status).map_err(|_| httparse::Error::Status)?;
    let fields = Fields::new(buffer.split_to(length), places);
    let has_none = has_no_body(status, is_head);
    let body = if has_none { FramedBody::Length(0) } else { framed_by(&fields, is_http10)? };
    // An old server may send the body that it declares all the same, perhaps after the next request, which would take it for its
    // response.
    let is_certain = if has_none { !declares_body(&fields) } else { !matches!(body, FramedBody::UntilClosed) };
    let keeps_open = keeps_open(&fields, is_http10)? && is_certain;
    Ok(Some(ResponseHead { status, fields, body, keeps_open }))
}

/// Parses a head that the fast path leaves: incomplete, invalid, or in a rare form. A function of its own, because its array of
/// lines would add 4 KB to the stack of every exchange.
#[cold]
#[inline(never)]
fn careful(bytes: &[u8]) -> Result<Option<ResponseParts>, ResponseError> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, &mut lines)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut places = Places::with_room(head.headers.len());
    head.headers.iter().for_each(|line| places.push(FieldPlace::of(line.name.as_bytes(), line.value, bytes)));
    let (status, is_http10) = (head.code.unwrap_or_default(), head.version == Some(0));
    Ok(Some(ResponseParts { length, status, is_http10, places }))
}

/// Whether the response has no body, whatever its fields declare (RFC 9112, 6.3).
fn has_no_body(status: StatusCode, is_head: bool) -> bool {
    is_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the fields of a response without a body declare one.
fn declares_body(fields: &Fields) -> bool {
    fields.has(KnownName::TransferEncoding) || fields.values_of(KnownName::ContentLength).any(|length| length != b"0")
}

/// Whether the connection stays open (RFC 9112, 9.3). After two framings at once, the bytes that follow are not trusted.
fn keeps_open(fields: &Fields, is_http10: bool) -> Result<bool, ResponseError> {
    let (mut open, mut closes, mut entries) = (!is_http10, false, 0);
    for value in fields.values_of(KnownName::Connection) {
        // The usual value, before the list is split.
        if value == b"keep-alive" {
            open = true;
            continue;
        }
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            entries += 1;
            if entries > LIST_ENTRIES {
                return Err(ResponseError::Connection);
            }
            closes |= token.eq_ignore_ascii_case(b"close");
            open |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    Ok(open && !closes && !(fields.has(KnownName::TransferEncoding) && fields.has(KnownName::ContentLength)))
}

fn framed_by(fields: &Fields, is_http10: bool) -> Result<FramedBody, ResponseError> {
    let mut codings = fields.values_of(KnownName::TransferEncoding);
    if let Some(coding) = codings.next() {
        let alone = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        return if alone && !is_http10 { Ok(FramedBody::chunked_response()) } else { Err(ResponseError::Encoding) };
    }
    let mut lengths = fields.values_of(KnownName::ContentLength);
    let Some(first) = lengths.next() else { return Ok(FramedBody::UntilClosed) };
    // Equal values may be repeated (RFC 9110, 8.6); different ones may be an attack.
    if lengths.any(|other| other != first) {
        return Err(ResponseError::Length);
    }
    length(first).map(FramedBody::Length)
}

/// The declared length of a response, if it is a single number. With HEAD and 304 no body of this length follows (RFC 9110, 8.6).
pub(crate) fn declared_length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.values_of(KnownName::ContentLength);
    let first = lengths.next().filter(|_| !fields.has(KnownName::TransferEncoding))?;
    if lengths.any(|other| other != first) { None } else { length(first).ok() }
}

/// Parses a length (RFC 9110, 8.6): digits only, and no list of equal numbers.
fn length(value: &[u8]) -> Result<u64, ResponseError> {
    fast_path::number(value).ok_or(ResponseError::Length)
}

#[cfg(test)]
mod tests;
