//! Where each answer of UCS begins and ends (RFC 9112, 4 to 7): its head, and the framing of its body. Pure: it takes bytes
//! from a buffer that others fill. It reads no request and judges no header but those of framing.
//!
//! hyper's own client was here before: a task, two channels and a copy of the head for each request, a quarter of what a
//! forwarded request cost (benches/README.md). Whatever is not plainly one answer is a fault.

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

/// The longest head of an answer that is taken from UCS, in bytes; also the most of interim answers before it.
pub const HEAD_BYTES: usize = 256 * 1024;

/// Most header lines of an answer.
const HEADER_LINES: usize = 128;

/// Limits of an answer's trailers.
pub const RESPONSE_LIMITS: HeadLimits =
    HeadLimits { target_bytes: 0, head_bytes: HEAD_BYTES, header_count: HEADER_LINES };

/// Why bytes of UCS are no answer.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The head is not HTTP/1.
    #[error("its head is not HTTP/1: {0}")]
    Head(#[from] httparse::Error),
    /// The head, or what came of interim answers before it, is longer than 256 KiB.
    #[error("its head is too long")]
    HeadTooLong,
    /// Lengths that contradict each other, or are none.
    #[error("its Content-Length is not one number")]
    Length,
    /// A transfer coding that the gateway did not ask for, or one in HTTP/1.0.
    #[error("its Transfer-Encoding is not chunked alone")]
    Encoding,
    /// Bad chunks or trailers.
    #[error("its chunks cannot be read: {0}")]
    Chunks(#[source] RequestError),
    /// UCS closed the connection before the answer was whole.
    #[error("it ended early")]
    Ended,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broke(#[source] std::io::Error),
    /// The gateway gave up on the exchange.
    #[error("the gateway gave up on it")]
    GaveUp,
}

impl ResponseError {
    /// Whether UCS said something wrong, rather than too little.
    pub fn is_malformed(&self) -> bool {
        !matches!(self, ResponseError::Ended | ResponseError::Broke(_) | ResponseError::GaveUp)
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct ResponseHead {
    /// Its status.
    pub status: StatusCode,
    /// Its field lines, as UCS sent them.
    pub fields: Fields,
    /// How its body is framed.
    pub body: FramedBody,
    /// Whether UCS keeps the connection open behind it.
    pub keeps_open: bool,
}

/// Takes the head of the final answer to a request, perhaps one for HEAD, from `buffer`; `None`: more bytes are needed.
/// Interim answers are dropped, but for 101, which comes out like a final one.
pub fn read_head(buffer: &mut BytesMut, is_head: bool) -> Result<Option<ResponseHead>, ResponseError> {
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
    let Some(ResponseParts { length, status, is_http10, places }) = (match fast_path::answer(buffer, HEADER_LINES) {
        Some(plain) => Some(plain),
        None => careful(buffer)?,
    }) else {
        return Ok(None);
    };
    if length > HEAD_BYTES {
        return Err(ResponseError::HeadTooLong);
    }
    let status = StatusCode::from_u16(status).map_err(|_| httparse::Error::Status)?;
    let fields = Fields::new(buffer.split_to(length), places);
    let has_none = has_no_body(status, is_head);
    let body = if has_none { FramedBody::Length(0) } else { FramedBody::framed_by(&fields, is_http10)? };
    // An old server may send the body that it speaks of, perhaps after the next request: that would get it for its answer.
    let is_certain = if has_none { !speaks_of_body(&fields) } else { !matches!(body, FramedBody::UntilClosed) };
    let keeps_open = is_certain && keeps_open(&fields, is_http10);
    Ok(Some(ResponseHead { status, fields, body, keeps_open }))
}

/// Reads what is not plain: unfinished, faulty, or in a form that is allowed and rare. Apart, as its array of lines would make
/// the stack of every exchange 4 KB deeper.
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

/// RFC 9112, 6.3: whatever the head says of one.
fn has_no_body(status: StatusCode, is_head: bool) -> bool {
    is_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the head of an answer without a body has the framing of one.
fn speaks_of_body(fields: &Fields) -> bool {
    fields.contains("transfer-encoding") || fields.values("content-length").any(|length| length != b"0")
}

/// RFC 9112, 9.3. Two framings at once are no reason to trust what follows.
fn keeps_open(fields: &Fields, is_http10: bool) -> bool {
    let mut open = !is_http10;
    for value in fields.values("connection") {
        // The usual word, before the words are taken apart.
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
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks are to come.
    Chunked(ChunkedBody),
    /// The trailers of a chunked body are to come.
    Trailers(TrailerLines),
    /// It ends when UCS closes the connection.
    UntilClosed,
}

/// Where a chunked body is.
#[derive(Debug, Default)]
pub struct ChunkedBody(Chunks);

/// Where the trailers are.
#[derive(Debug, Default)]
pub struct TrailerLines(Trailers);

/// What was taken of a body.
#[derive(Debug)]
pub enum BodyEvent {
    /// Data.
    Data(Bytes),
    /// Trailers: the body is over.
    Trailers(HeaderMap),
    /// The body is over.
    End,
    /// More bytes are needed.
    More,
}

impl FramedBody {
    /// Chunks of a client, none of which has come.
    pub(crate) fn chunked() -> FramedBody {
        FramedBody::Chunked(ChunkedBody::default())
    }

    /// Of an answer that has a body.
    fn framed_by(fields: &Fields, is_http10: bool) -> Result<FramedBody, ResponseError> {
        let mut codings = fields.values("transfer-encoding");
        if let Some(coding) = codings.next() {
            let alone = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            return if alone && !is_http10 {
                Ok(FramedBody::Chunked(ChunkedBody(Chunks::of_ucs())))
            } else {
                Err(ResponseError::Encoding)
            };
        }
        let mut lengths = fields.values("content-length");
        let Some(first) = lengths.next() else { return Ok(FramedBody::UntilClosed) };
        // Equal ones may be repeated (RFC 9110, 8.6), differing ones may be an attack.
        if lengths.any(|other| other != first) {
            return Err(ResponseError::Length);
        }
        length(first).map(FramedBody::Length)
    }

    /// Takes the next piece from `buffer`; trailers have the limits of a head.
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
                    ChunkEvent::Fault(fault) => Err(ResponseError::Chunks(fault)),
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

    /// Passes over what `bytes` begin with of the body; how many bytes that is. Trailers are passed over as a whole only: those
    /// that are not complete are to be shown again.
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
                        ChunkEvent::Fault(fault) => return Err(fault),
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

    /// Whether all of it was taken.
    pub fn is_over(&self) -> bool {
        matches!(self, FramedBody::Length(0))
    }

    /// Bytes that are still to come, where the head said so.
    pub fn left(&self) -> Option<u64> {
        if let FramedBody::Length(left) = *self { Some(left) } else { None }
    }

    /// UCS has closed the connection: right for some bodies, too early for others.
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

/// The length that an answer tells, when it is one number: with HEAD and 304 it is that of a body that does not follow
/// (RFC 9110, 8.6).
pub fn declared_length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.values("content-length");
    let first = lengths.next().filter(|_| !fields.contains("transfer-encoding"))?;
    if lengths.any(|other| other != first) { None } else { length(first).ok() }
}

/// RFC 9110, 8.6: digits only; a list of equal numbers is not worth taking.
fn length(value: &[u8]) -> Result<u64, ResponseError> {
    fast_path::number(value).ok_or(ResponseError::Length)
}

/// A section of trailers, with its final empty line, whose lines were checked.
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
