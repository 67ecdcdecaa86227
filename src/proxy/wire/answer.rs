//! Where each answer of UCS begins and ends (RFC 9112, 4 to 7): its head, and the framing of its body. Pure: it takes bytes
//! from a buffer that others fill. It reads no request and judges no header but those of framing.
//!
//! hyper's own client was here before: a task, two channels and a copy of the head for each request, a quarter of what a
//! forwarded request cost (benches/README.md). Whatever is not plainly one answer is a fault.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::http::response::Parts;
use hyper::{Method, Response, StatusCode};

use super::WireFault;
use super::chunks::{ChunkEvent, Chunks};
use super::head::Trailers;
use super::scan::WireLimits;

/// The longest head of an answer that is taken from UCS, in bytes.
const HEAD_BYTES: usize = 256 * 1024;

/// Most header lines of an answer.
const HEADER_LINES: usize = 128;

const TRAILER_LIMITS: WireLimits = WireLimits { target_bytes: 0, head_bytes: HEAD_BYTES, header_count: HEADER_LINES };

/// Why bytes of UCS are no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The head is not HTTP/1.
    #[error("its head is not HTTP/1: {0}")]
    Head(#[from] httparse::Error),
    /// The head is longer than 256 KiB.
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
    Chunks(#[source] WireFault),
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

impl AnswerFault {
    /// Whether UCS said something wrong, rather than too little.
    pub fn is_malformed(&self) -> bool {
        !matches!(self, AnswerFault::Ended | AnswerFault::Broke(_) | AnswerFault::GaveUp)
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// Status and headers, as UCS sent them.
    pub parts: Parts,
    /// How its body is framed.
    pub body: AnswerBody,
    /// Whether UCS keeps the connection open behind it.
    pub keeps_open: bool,
}

/// Takes the head of the final answer to a request with `method` from `buffer`; `None`: more bytes are needed. Interim
/// answers are dropped, but for 101, which comes out like a final one.
pub fn read_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, AnswerFault> {
    loop {
        let Some(head) = one_head(buffer, method)? else {
            return if buffer.len() > HEAD_BYTES { Err(AnswerFault::HeadTooLong) } else { Ok(None) };
        };
        if !head.parts.status.is_informational() || head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
}

fn one_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, AnswerFault> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, buffer, &mut lines)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    if length > HEAD_BYTES {
        return Err(AnswerFault::HeadTooLong);
    }
    let is_old = head.version == Some(0);
    let status = StatusCode::from_u16(head.code.unwrap_or_default()).map_err(|_| httparse::Error::Status)?;
    // Where each name and value lies: the bytes cannot be taken while they are borrowed.
    let begin = buffer.as_ptr() as usize;
    let place = |part: &[u8]| (part.as_ptr() as usize - begin)..(part.as_ptr() as usize - begin + part.len());
    let places: Vec<_> = head.headers.iter().map(|line| (place(line.name.as_bytes()), place(line.value))).collect();
    let bytes = buffer.split_to(length).freeze();
    // Room for what the gateway adds.
    let mut headers = HeaderMap::with_capacity(places.len() + 1);
    for (name, value) in places {
        let name = HeaderName::from_bytes(&bytes[name]).map_err(|_| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value)).map_err(|_| httparse::Error::HeaderValue)?;
        headers.append(name, value);
    }
    let body = AnswerBody::framed_by(&headers, status, method, is_old)?;
    let keeps_open = keeps_open(&headers, is_old) && !matches!(body, AnswerBody::UntilClosed);
    let mut parts = Response::new(()).into_parts().0;
    (parts.status, parts.headers) = (status, headers);
    Ok(Some(AnswerHead { parts, body, keeps_open }))
}

/// RFC 9112, 9.3. Two framings at once are no reason to trust what follows.
fn keeps_open(headers: &HeaderMap, is_old: bool) -> bool {
    let mut open = !is_old;
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            open |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    open && !(headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH))
}

/// The body of an answer, by its framing (RFC 9112, 6.3).
#[derive(Debug)]
pub enum AnswerBody {
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
pub enum Taken {
    /// Data.
    Data(Bytes),
    /// Trailers: the body is over.
    Trailers(HeaderMap),
    /// The body is over.
    End,
    /// More bytes are needed.
    More,
}

impl AnswerBody {
    fn framed_by(
        headers: &HeaderMap,
        status: StatusCode,
        method: &Method,
        is_old: bool,
    ) -> Result<AnswerBody, AnswerFault> {
        let has_none = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || method == Method::HEAD;
        if has_none {
            return Ok(AnswerBody::Length(0));
        }
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next() {
            let alone = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            return if alone && !is_old {
                Ok(AnswerBody::Chunked(ChunkedBody::default()))
            } else {
                Err(AnswerFault::Encoding)
            };
        }
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let Some(first) = lengths.next() else { return Ok(AnswerBody::UntilClosed) };
        // Equal ones may be repeated (RFC 9110, 8.6), differing ones may be an attack.
        if lengths.any(|other| other != first) {
            return Err(AnswerFault::Length);
        }
        length(first.as_bytes()).map(AnswerBody::Length)
    }

    /// Takes the next piece from `buffer`.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, AnswerFault> {
        match self {
            AnswerBody::Length(0) => Ok(Taken::End),
            _ if buffer.is_empty() => Ok(Taken::More),
            AnswerBody::Length(left) => {
                let length = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= length as u64;
                Ok(Taken::Data(buffer.split_to(length).freeze()))
            }
            AnswerBody::UntilClosed => Ok(Taken::Data(buffer.split().freeze())),
            AnswerBody::Chunked(ChunkedBody(chunks)) => {
                let piece = chunks.piece(buffer);
                buffer.advance(piece.framing);
                match piece.event {
                    ChunkEvent::Fault(fault) => Err(AnswerFault::Chunks(fault)),
                    ChunkEvent::More if piece.data > 0 => Ok(Taken::Data(buffer.split_to(piece.data).freeze())),
                    ChunkEvent::More => Ok(Taken::More),
                    ChunkEvent::LastChunk => {
                        *self = AnswerBody::Trailers(TrailerLines::default());
                        self.take(buffer)
                    }
                }
            }
            AnswerBody::Trailers(TrailerLines(trailers)) => {
                let Some(length) = trailers.advance(buffer, &TRAILER_LIMITS).map_err(AnswerFault::Chunks)? else {
                    return Ok(Taken::More);
                };
                *self = AnswerBody::Length(0);
                let section = buffer.split_to(length);
                Ok(if length == 2 { Taken::End } else { Taken::Trailers(fields(&section)?) })
            }
        }
    }

    /// Whether all of it was taken.
    pub fn is_over(&self) -> bool {
        matches!(self, AnswerBody::Length(0))
    }

    /// Bytes that are still to come, where the head said so.
    pub fn left(&self) -> Option<u64> {
        if let AnswerBody::Length(left) = *self { Some(left) } else { None }
    }

    /// UCS has closed the connection: right for some bodies, too early for others.
    pub fn end(&mut self) -> Result<(), AnswerFault> {
        match self {
            AnswerBody::Length(0) => Ok(()),
            AnswerBody::UntilClosed => {
                *self = AnswerBody::Length(0);
                Ok(())
            }
            AnswerBody::Length(_) | AnswerBody::Chunked(_) | AnswerBody::Trailers(_) => Err(AnswerFault::Ended),
        }
    }
}

/// RFC 9110, 8.6: digits only; a list of equal numbers is not worth taking.
fn length(value: &[u8]) -> Result<u64, AnswerFault> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(AnswerFault::Length)
}

/// A section of trailers, with its final empty line, whose lines were checked.
fn fields(section: &[u8]) -> Result<HeaderMap, AnswerFault> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES];
    let parsed = httparse::parse_headers(section, &mut lines)?;
    let httparse::Status::Complete((_, lines)) = parsed else { return Err(AnswerFault::Ended) };
    let mut trailers = HeaderMap::new();
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
        trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| httparse::Error::HeaderValue)?);
    }
    Ok(trailers)
}
