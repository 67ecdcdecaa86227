//! Where each answer of UCS begins and ends (RFC 9112, 4 to 7): its head, and the framing of its body. Pure: it takes bytes
//! from a buffer that others fill. It reads no request and judges no header but those of framing.
//!
//! hyper's own client was here before: a task, two channels and a copy of the head for each request, a quarter of what a
//! forwarded request cost (benches/README.md). Whatever is not plainly one answer is a fault.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::WireFault;
use super::chunks::{ChunkEvent, Chunks};
use super::fields::{FieldPlace, Fields};
use super::head::Trailers;
use super::limits::WireLimits;
use super::plain::{self, AnswerParts};

/// The longest head of an answer that is taken from UCS, in bytes; also the most of interim answers before it.
pub const HEAD_BYTES: usize = 256 * 1024;

/// Most header lines of an answer.
const HEADER_LINES: usize = 128;

/// Limits of an answer's trailers.
pub const ANSWER_LIMITS: WireLimits =
    WireLimits { target_bytes: 0, head_bytes: HEAD_BYTES, header_count: HEADER_LINES };

/// Why bytes of UCS are no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
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
pub fn read_head(buffer: &mut BytesMut, is_head: bool) -> Result<Option<AnswerHead>, AnswerFault> {
    loop {
        let Some(head) = one_head(buffer, is_head)? else {
            return if buffer.len() > HEAD_BYTES { Err(AnswerFault::HeadTooLong) } else { Ok(None) };
        };
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
}

fn one_head(buffer: &mut BytesMut, is_head: bool) -> Result<Option<AnswerHead>, AnswerFault> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let Some(AnswerParts { length, status, is_old, places }) = (match plain::answer(buffer, HEADER_LINES) {
        Some(plain) => Some(plain),
        None => careful(buffer)?,
    }) else {
        return Ok(None);
    };
    if length > HEAD_BYTES {
        return Err(AnswerFault::HeadTooLong);
    }
    let status = StatusCode::from_u16(status).map_err(|_| httparse::Error::Status)?;
    let fields = Fields::new(buffer.split_to(length), places);
    let body = FramedBody::framed_by(&fields, status, is_head, is_old)?;
    let keeps_open = keeps_open(&fields, is_old) && !matches!(body, FramedBody::UntilClosed);
    Ok(Some(AnswerHead { status, fields, body, keeps_open }))
}

/// Reads what is not plain: unfinished, faulty, or in a form that is allowed and rare. Apart, as its array of lines would make
/// the stack of every exchange 4 KB deeper.
#[cold]
#[inline(never)]
fn careful(bytes: &mut [u8]) -> Result<Option<AnswerParts>, AnswerFault> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, &mut lines)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let place = |line: &httparse::Header<'_>| FieldPlace::of(line.name.as_bytes(), line.value, bytes);
    let places: Vec<FieldPlace> = head.headers.iter().map(place).collect();
    let (status, is_old) = (head.code.unwrap_or_default(), head.version == Some(0));
    places.iter().for_each(|place| place.lower_name(bytes));
    Ok(Some(AnswerParts { length, status, is_old, places }))
}

/// RFC 9112, 9.3. Two framings at once are no reason to trust what follows.
fn keeps_open(fields: &Fields, is_old: bool) -> bool {
    let mut open = !is_old;
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

impl FramedBody {
    /// Chunks, none of which has come.
    pub(super) fn chunked() -> FramedBody {
        FramedBody::Chunked(ChunkedBody::default())
    }

    fn framed_by(fields: &Fields, status: StatusCode, is_head: bool, is_old: bool) -> Result<FramedBody, AnswerFault> {
        let has_none =
            status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || is_head;
        if has_none {
            return Ok(FramedBody::Length(0));
        }
        let mut codings = fields.values("transfer-encoding");
        if let Some(coding) = codings.next() {
            let alone = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            return if alone && !is_old { Ok(FramedBody::chunked()) } else { Err(AnswerFault::Encoding) };
        }
        let mut lengths = fields.values("content-length");
        let Some(first) = lengths.next() else { return Ok(FramedBody::UntilClosed) };
        // Equal ones may be repeated (RFC 9110, 8.6), differing ones may be an attack.
        if lengths.any(|other| other != first) {
            return Err(AnswerFault::Length);
        }
        length(first).map(FramedBody::Length)
    }

    /// Takes the next piece from `buffer`; trailers have the limits of a head.
    pub fn take(&mut self, buffer: &mut BytesMut, limits: &WireLimits) -> Result<Taken, AnswerFault> {
        match self {
            FramedBody::Length(0) => Ok(Taken::End),
            _ if buffer.is_empty() => Ok(Taken::More),
            FramedBody::Length(left) => {
                let length = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= length as u64;
                Ok(Taken::Data(buffer.split_to(length).freeze()))
            }
            FramedBody::UntilClosed => Ok(Taken::Data(buffer.split().freeze())),
            FramedBody::Chunked(ChunkedBody(chunks)) => {
                let piece = chunks.piece(buffer);
                buffer.advance(piece.framing);
                match piece.event {
                    ChunkEvent::Fault(fault) => Err(AnswerFault::Chunks(fault)),
                    ChunkEvent::More if piece.data > 0 => Ok(Taken::Data(buffer.split_to(piece.data).freeze())),
                    ChunkEvent::More => Ok(Taken::More),
                    ChunkEvent::LastChunk => {
                        *self = FramedBody::Trailers(TrailerLines::default());
                        self.take(buffer, limits)
                    }
                }
            }
            FramedBody::Trailers(TrailerLines(trailers)) => {
                let Some(length) = trailers.advance(buffer, limits).map_err(AnswerFault::Chunks)? else {
                    return Ok(Taken::More);
                };
                *self = FramedBody::Length(0);
                let section = buffer.split_to(length);
                Ok(if length == 2 { Taken::End } else { Taken::Trailers(trailer_map(&section)?) })
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
    pub fn end(&mut self) -> Result<(), AnswerFault> {
        match self {
            FramedBody::Length(0) => Ok(()),
            FramedBody::UntilClosed => {
                *self = FramedBody::Length(0);
                Ok(())
            }
            FramedBody::Length(_) | FramedBody::Chunked(_) | FramedBody::Trailers(_) => Err(AnswerFault::Ended),
        }
    }
}

/// The length that an answer tells, when it is one number: with HEAD and 304 it is that of a body that does not follow
/// (RFC 9110, 8.6).
pub fn told_length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.values("content-length");
    let first = lengths.next().filter(|_| !fields.contains("transfer-encoding"))?;
    if lengths.any(|other| other != first) { None } else { length(first).ok() }
}

/// RFC 9110, 8.6: digits only; a list of equal numbers is not worth taking.
fn length(value: &[u8]) -> Result<u64, AnswerFault> {
    plain::number(value).ok_or(AnswerFault::Length)
}

/// A section of trailers, with its final empty line, whose lines were checked.
fn trailer_map(section: &[u8]) -> Result<HeaderMap, AnswerFault> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::Method;

    use super::*;

    /// Status, body, number of trailers, bytes behind it, whether the connection stays open.
    type Got = (u16, Vec<u8>, usize, Vec<u8>, bool);

    /// An answer as it comes out when its bytes arrive in pieces of `size`. The end of the bytes is the end of the connection.
    fn read(bytes: &[u8], method: &Method, size: usize) -> Result<Got, AnswerFault> {
        let mut pieces = bytes.chunks(size);
        let mut buffer = BytesMut::new();
        let mut head = loop {
            if let Some(head) = read_head(&mut buffer, method == Method::HEAD)? {
                break head;
            }
            buffer.extend_from_slice(pieces.next().ok_or(AnswerFault::Ended)?);
        };
        let (mut body, mut trailers) = (Vec::new(), 0);
        while !head.body.is_over() {
            match head.body.take(&mut buffer, &ANSWER_LIMITS)? {
                Taken::Data(data) => body.extend_from_slice(&data),
                Taken::Trailers(fields) => trailers = fields.len(),
                Taken::End => break,
                Taken::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => head.body.end()?,
                },
            }
        }
        pieces.for_each(|piece| buffer.extend_from_slice(piece));
        Ok((head.status.as_u16(), body, trailers, buffer.to_vec(), head.keeps_open))
    }

    #[test]
    fn every_framing_ends_where_it_says_however_its_bytes_arrive() {
        let ok = "HTTP/1.1 200 OK\r\n";
        let cases: &[(&str, &Method, &str, usize, &str, bool)] = &[
            ("Content-Length: 5\r\n\r\nhelloHTTP", &Method::GET, "hello", 0, "HTTP", true),
            ("Content-Length: 0\r\n\r\nx", &Method::GET, "", 0, "x", true),
            ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &Method::GET, "hello", 0, "", true),
            ("Content-Length: 5\r\n\r\nx", &Method::HEAD, "", 0, "x", true),
            ("Connection: close\r\nContent-Length: 1\r\n\r\nx", &Method::GET, "x", 0, "", false),
            ("\r\nuntil the end", &Method::GET, "until the end", 0, "", false),
            (
                "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;a=b\r\n...\r\n0\r\n\r\nx",
                &Method::GET,
                "ok...",
                0,
                "x",
                true,
            ),
            ("Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nA: 1\r\nB: 2\r\n\r\nx", &Method::GET, "a", 2, "x", true),
            ("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &Method::GET, "", 0, "", false),
        ];
        for (rest, method, body, trailers, behind, keeps_open) in cases {
            let bytes = [ok, rest].concat();
            for size in [1, 2, 3, 7, bytes.len()] {
                let got = read(bytes.as_bytes(), method, size).unwrap();
                let want = (200, body.as_bytes().to_vec(), *trailers, behind.as_bytes().to_vec(), *keeps_open);
                assert_eq!(got, want, "{rest:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_old_server_keeps_the_connection_only_when_it_says_so() {
        for (line, keeps_open) in
            [("", false), ("Connection: Keep-Alive\r\n", true), ("Connection: x, close\r\n", false)]
        {
            let bytes = format!("HTTP/1.0 200 OK\r\n{line}Content-Length: 0\r\n\r\n");
            assert_eq!(read(bytes.as_bytes(), &Method::GET, 99).unwrap().4, keeps_open, "{line:?}");
        }
    }

    #[test]
    fn interim_answers_are_dropped_and_a_switch_is_not() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let bytes = format!("{interim}HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n");
        let got = read(bytes.as_bytes(), &Method::POST, 1).unwrap();
        assert_eq!((got.0, got.1.len(), got.3.len()), (204, 0, 0));
        let bytes = format!("{interim}HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes");
        assert_eq!(read(bytes.as_bytes(), &Method::GET, 5).unwrap().0, 101);
    }

    #[test]
    fn what_is_not_plainly_one_answer_is_a_fault() {
        let cases = [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
        ];
        for bytes in cases {
            for size in [1, bytes.len()] {
                let fault = read(bytes.as_bytes(), &Method::GET, size).unwrap_err();
                assert!(fault.is_malformed(), "{bytes:?}: {fault:?}");
            }
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        for size in [4096, long.len()] {
            assert!(matches!(read(long.as_bytes(), &Method::GET, size), Err(AnswerFault::HeadTooLong)), "{size}");
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_never_whole() {
        let whole = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        ];
        for bytes in whole {
            for length in 0..bytes.len() {
                let fault = read(&bytes.as_bytes()[..length], &Method::GET, 64).unwrap_err();
                assert!(matches!(fault, AnswerFault::Ended), "{:?}: {fault:?}", &bytes[..length]);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_reads_a_head_as_the_careful_one_does(
            head in "HTTP/1\\.[0-2] ([0-9]{3}|[0-9]{2}) ?[ -~\\t\u{e9}]{0,6}\r?\n(([A-Za-z_-]{1,9}|[ -~]{0,3})(:|: | :|:\t)[ -~\\t\u{e9}]{0,9}\r?\n){0,4}\r?\n?.{0,3}",
        ) {
            let (mut short, mut long) = (head.clone().into_bytes(), head.into_bytes());
            let plain = plain::answer(&mut short, HEADER_LINES);
            // The careful way gets what the short way has touched.
            let after = careful(&mut short.clone()).map(|answer| answer.map(|answer| (answer.length, answer.places.len())));
            let untouched = careful(&mut long.clone()).map(|answer| answer.map(|answer| (answer.length, answer.places.len())));
            proptest::prop_assert_eq!(format!("{after:?}"), format!("{untouched:?}"));
            if let Some(plain) = plain {
                let careful = careful(&mut long).unwrap().unwrap();
                let told = |bytes: &[u8], answer: &AnswerParts| {
                    let pair = |place: &FieldPlace| {
                        let (name, value) = place.of_head(bytes);
                        (name.to_vec(), value.to_vec())
                    };
                    (answer.length, answer.status, answer.is_old, answer.places.iter().map(pair).collect::<Vec<_>>())
                };
                proptest::prop_assert_eq!(told(&short, &plain), told(&long, &careful));
            }
        }
    }
}
