//! Parses responses (RFC 9112, 4 to 7): the head, and the body by its framing, which is that of requests too. It takes bytes
//! from a buffer that the caller fills, and interprets no fields but those of framing. Bytes that are not clearly one response
//! are an error.
//!
//! hyper's client did this before: a task, two channels and a copy of the head for each request made up a quarter of the cost
//! of a forwarded request (benches/README.md).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::chunks::{ChunkEvent, Chunks};
use super::error::RequestError;
use super::fast_path::{self, ResponseParts};
use super::fields::{FieldPlace, Fields};
use super::limits::HeadLimits;
use super::trailers::Trailers;

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
    /// A length that is not a number, or several that differ.
    #[error("its Content-Length is not one number")]
    Length,
    /// A transfer coding other than chunked, or one in HTTP/1.0.
    #[error("its Transfer-Encoding is not a single \"chunked\"")]
    Encoding,
    /// Invalid chunks or trailers.
    #[error("its chunks are invalid: {0}")]
    Chunks(#[source] RequestError),
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

/// The head of a response.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The field lines, as received.
    pub fields: Fields,
    /// The body, by its framing.
    pub body: FramedBody,
    /// Whether the connection stays open after the response.
    pub keeps_open: bool,
}

/// Takes the head of the final response to a request from `buffer`; `is_head` says that the request was HEAD. `None` means that
/// more bytes are needed. Interim responses are dropped, except 101, which is returned like a final one.
pub fn read_response_head(buffer: &mut BytesMut, is_head: bool) -> Result<Option<ResponseHead>, ResponseError> {
    loop {
        let Some(head) = one_head(buffer, is_head)? else {
            return if buffer.len() > HEAD_BYTES { Err(ResponseError::HeadTooLong) } else { Ok(None) };
        };
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
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
    let body = if has_none { FramedBody::Length(0) } else { FramedBody::framed_by(&fields, is_http10)? };
    // An old server may send the body that it declares all the same, perhaps after the next request, which would take it for its
    // response.
    let is_certain = if has_none { !declares_body(&fields) } else { !matches!(body, FramedBody::UntilClosed) };
    let keeps_open = is_certain && keeps_open(&fields, is_http10);
    Ok(Some(ResponseHead { status, fields, body, keeps_open }))
}

/// Parses a head that the fast path leaves: incomplete, invalid, or in a rare form. A function of its own, because its array of
/// lines would add 4 KB to the stack of every exchange.
#[cold]
#[inline(never)]
fn careful(bytes: &mut [u8]) -> Result<Option<ResponseParts>, ResponseError> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, &mut lines)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let place = |line: &httparse::Header<'_>| FieldPlace::of(line.name.as_bytes(), line.value, bytes);
    let places: Vec<FieldPlace> = head.headers.iter().map(place).collect();
    let (status, is_http10) = (head.code.unwrap_or_default(), head.version == Some(0));
    places.iter().for_each(|place| place.lower_name(bytes));
    Ok(Some(ResponseParts { length, status, is_http10, places }))
}

/// Whether the response has no body, whatever its fields declare (RFC 9112, 6.3).
fn has_no_body(status: StatusCode, is_head: bool) -> bool {
    is_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the fields of a response without a body declare one.
fn declares_body(fields: &Fields) -> bool {
    fields.contains("transfer-encoding") || fields.values("content-length").any(|length| length != b"0")
}

/// Whether the connection stays open (RFC 9112, 9.3). After two framings at once, the bytes that follow are not trusted.
fn keeps_open(fields: &Fields, is_http10: bool) -> bool {
    let mut open = !is_http10;
    for value in fields.values("connection") {
        // The usual value, before the list is split.
        if value == b"keep-alive" {
            open = true;
            continue;
        }
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            open |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    open && !(fields.contains("transfer-encoding") && fields.contains("content-length"))
}

/// The body of a message, by its framing (RFC 9112, 6.3).
#[derive(Debug)]
pub enum FramedBody {
    /// The number of bytes that are still to come.
    Length(u64),
    /// Chunks are to come.
    Chunked(ChunkedBody),
    /// The trailers of a chunked body are to come.
    Trailers(TrailerLines),
    /// It ends when the peer closes the connection.
    UntilClosed,
}

/// The parser of a chunked body.
#[derive(Debug, Default)]
pub struct ChunkedBody(Chunks);

/// The parser of its trailers.
#[derive(Debug, Default)]
pub struct TrailerLines(Trailers);

/// The next part of a body.
#[derive(Debug)]
pub enum BodyEvent {
    /// Data.
    Data(Bytes),
    /// Trailers, with which the body ends.
    Trailers(HeaderMap),
    /// The end of the body.
    End,
    /// More bytes are needed.
    More,
}

impl FramedBody {
    /// The chunked body of a request, of which no byte has been read.
    pub(crate) fn chunked() -> FramedBody {
        FramedBody::Chunked(ChunkedBody::default())
    }

    /// The body of a response that has one.
    fn framed_by(fields: &Fields, is_http10: bool) -> Result<FramedBody, ResponseError> {
        let mut codings = fields.values("transfer-encoding");
        if let Some(coding) = codings.next() {
            let alone = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            return if alone && !is_http10 {
                Ok(FramedBody::Chunked(ChunkedBody(Chunks::of_response())))
            } else {
                Err(ResponseError::Encoding)
            };
        }
        let mut lengths = fields.values("content-length");
        let Some(first) = lengths.next() else { return Ok(FramedBody::UntilClosed) };
        // Equal values may be repeated (RFC 9110, 8.6); different ones may be an attack.
        if lengths.any(|other| other != first) {
            return Err(ResponseError::Length);
        }
        length(first).map(FramedBody::Length)
    }

    /// Takes the next part from `buffer`; `limits` hold for trailers.
    pub fn take(&mut self, buffer: &mut BytesMut, limits: &HeadLimits) -> Result<BodyEvent, ResponseError> {
        match self {
            FramedBody::Length(0) => Ok(BodyEvent::End),
            _ if buffer.is_empty() => Ok(BodyEvent::More),
            FramedBody::Length(left) => {
                let length = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= length as u64;
                Ok(BodyEvent::Data(buffer.split_to(length).freeze()))
            }
            FramedBody::UntilClosed => Ok(BodyEvent::Data(buffer.split().freeze())),
            FramedBody::Chunked(ChunkedBody(chunks)) => {
                let piece = chunks.piece(buffer);
                buffer.advance(piece.framing);
                match piece.event {
                    ChunkEvent::Error(error) => Err(ResponseError::Chunks(error)),
                    ChunkEvent::More if piece.data > 0 => Ok(BodyEvent::Data(buffer.split_to(piece.data).freeze())),
                    ChunkEvent::More => Ok(BodyEvent::More),
                    ChunkEvent::LastChunk => {
                        *self = FramedBody::Trailers(TrailerLines::default());
                        self.take(buffer, limits)
                    }
                }
            }
            FramedBody::Trailers(TrailerLines(trailers)) => {
                let Some(length) = trailers.advance(buffer, limits).map_err(ResponseError::Chunks)? else {
                    return Ok(BodyEvent::More);
                };
                *self = FramedBody::Length(0);
                let section = buffer.split_to(length);
                Ok(if length == 2 { BodyEvent::End } else { BodyEvent::Trailers(trailer_map(&section)?) })
            }
        }
    }

    /// Skips the part of the body at the beginning of `bytes`, and returns its length. Trailers are skipped as a whole: while
    /// they are incomplete, pass the same bytes again.
    pub(crate) fn skip(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<usize, RequestError> {
        let mut skipped = 0;
        loop {
            let rest = &bytes[skipped..];
            match self {
                FramedBody::Length(left) => {
                    let length = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= length as u64;
                    return Ok(skipped + length);
                }
                FramedBody::UntilClosed => return Ok(bytes.len()),
                FramedBody::Chunked(_) if rest.is_empty() => return Ok(skipped),
                FramedBody::Chunked(ChunkedBody(chunks)) => {
                    let piece = chunks.piece(rest);
                    skipped += piece.framing + piece.data;
                    match piece.event {
                        ChunkEvent::Error(error) => return Err(error),
                        ChunkEvent::LastChunk => *self = FramedBody::Trailers(TrailerLines::default()),
                        ChunkEvent::More => {}
                    }
                }
                FramedBody::Trailers(TrailerLines(trailers)) => {
                    let Some(length) = trailers.advance(rest, limits)? else { return Ok(skipped) };
                    *self = FramedBody::Length(0);
                    return Ok(skipped + length);
                }
            }
        }
    }

    /// Whether all of the body has been taken.
    pub fn is_over(&self) -> bool {
        matches!(self, FramedBody::Length(0))
    }

    /// The number of bytes still to come, if the head declared it.
    pub(crate) fn left(&self) -> Option<u64> {
        if let FramedBody::Length(left) = *self { Some(left) } else { None }
    }

    /// The peer has closed the connection, which ends some bodies and truncates others.
    pub fn end(&mut self) -> Result<(), ResponseError> {
        match self {
            FramedBody::Length(0) => Ok(()),
            FramedBody::UntilClosed => {
                *self = FramedBody::Length(0);
                Ok(())
            }
            FramedBody::Length(_) | FramedBody::Chunked(_) | FramedBody::Trailers(_) => Err(ResponseError::Ended),
        }
    }
}

/// The declared length of a response, if it is a single number. With HEAD and 304 no body of this length follows (RFC 9110, 8.6).
pub(crate) fn declared_length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.values("content-length");
    let first = lengths.next().filter(|_| !fields.contains("transfer-encoding"))?;
    if lengths.any(|other| other != first) { None } else { length(first).ok() }
}

/// Parses a length (RFC 9110, 8.6): digits only, and no list of equal numbers.
fn length(value: &[u8]) -> Result<u64, ResponseError> {
    fast_path::number(value).ok_or(ResponseError::Length)
}

/// The fields of a trailer section, which is complete and checked.
fn trailer_map(section: &[u8]) -> Result<HeaderMap, ResponseError> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES];
    let parsed = httparse::parse_headers(section, &mut lines)?;
    let httparse::Status::Complete((_, lines)) = parsed else { return Err(ResponseError::Ended) };
    let mut trailers = HeaderMap::new();
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
        trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| httparse::Error::HeaderValue)?);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests;
