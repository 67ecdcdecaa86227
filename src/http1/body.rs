//! The body of a request or a response, by its framing (RFC 9112, 6 and 7): it takes or skips the bytes of the body from a
//! buffer that the caller fills. The heads decide which framing it is.

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::chunks::{ChunkEvent, Chunks};
use super::error::RequestError;
use super::limits::HeadLimits;
use super::lines::field;
use super::trailers::Trailers;

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

    /// The chunked body of a response, of which no byte has been read.
    pub(super) fn chunked_response() -> FramedBody {
        FramedBody::Chunked(ChunkedBody(Chunks::of_response()))
    }

    /// Takes the next part from `buffer`; `limits` hold for trailers.
    pub fn take(&mut self, buffer: &mut BytesMut, limits: &HeadLimits) -> Result<BodyEvent, RequestError> {
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
                    ChunkEvent::Error(error) => Err(error),
                    ChunkEvent::More if piece.data > 0 => Ok(BodyEvent::Data(buffer.split_to(piece.data).freeze())),
                    ChunkEvent::More => Ok(BodyEvent::More),
                    ChunkEvent::LastChunk => {
                        *self = FramedBody::Trailers(TrailerLines::default());
                        self.take(buffer, limits)
                    }
                }
            }
            FramedBody::Trailers(TrailerLines(trailers)) => {
                let Some(length) = trailers.advance(buffer, limits)? else {
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

    /// Ends a body that lasts until the peer closes the connection; false if the close truncates the body.
    pub fn end(&mut self) -> bool {
        if matches!(self, FramedBody::UntilClosed) {
            *self = FramedBody::Length(0);
        }
        self.is_over()
    }
}

/// The fields of a trailer section, which is complete and checked.
fn trailer_map(section: &[u8]) -> Result<HeaderMap, RequestError> {
    let lines = section.split(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    let mut trailers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = field(line)?;
        let name = HeaderName::from_bytes(name).map_err(|_| RequestError::HeaderName)?;
        trailers.append(name, HeaderValue::from_bytes(value).map_err(|_| RequestError::ControlCharacter)?);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_trailers_are_kept_as_the_limits_allow() {
        let limits = HeadLimits { target_bytes: 0, head_bytes: 8192, header_count: 300 };
        let lines: String = (0..300).map(|number| format!("x-{number}: y\r\n")).collect();
        let mut buffer = BytesMut::from(format!("0\r\n{lines}\r\n").as_bytes());
        let mut body = FramedBody::chunked();
        let Ok(BodyEvent::Trailers(trailers)) = body.take(&mut buffer, &limits) else { panic!("no trailers") };
        assert_eq!((trailers.len(), &trailers["x-299"]), (300, &HeaderValue::from_static("y")));
        assert!(body.is_over() && buffer.is_empty());
    }
}
