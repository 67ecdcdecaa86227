//! Parses request heads line by line, in place, and continues where it stopped when more bytes arrive. It rejects whatever
//! RFC 9112 forbids and whatever two servers could understand differently.

use bytes::BytesMut;
use hyper::Method;
use memchr::{memchr, memchr_iter};

use super::error::RequestError;
use super::fast_path;
use super::fields::FieldPlace;
use super::known_names::KnownName;
use super::limits::{HeadLimits, LIST_ENTRIES};
use super::lines::{TooLong, field};
use super::request_head::{Framing, RequestHead};
use super::request_line::{LINE_BESIDE_TARGET, is_authority, line_too_long, request_line};
use super::syntax::is_token;

/// RFC 9112, 2.2: a server should ignore at least one empty line before a request; some old clients send an extra one after
/// a body.
const EMPTY_LINES: u8 = 2;

/// Room for this many field lines is reserved at once: most requests have fewer.
const PLANNED_FIELDS: usize = 16;

impl RequestHead {
    /// Parses the lines that were completed since the last call; `bytes` begin at the head's first byte. Returns the head's
    /// length and framing once its empty line has arrived.
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(usize, Framing)>, RequestError> {
        loop {
            if self.reading.lines.number == 0 {
                first_byte(bytes, self.reading.lines.start)?;
            } else {
                self.plain_fields(bytes, limits)?;
            }
            let lines = &mut self.reading.lines;
            let line_limit =
                if lines.number == 0 { limits.target_bytes.saturating_add(LINE_BESIDE_TARGET) } else { usize::MAX };
            let line = match lines.next(bytes, line_limit, limits.head_bytes) {
                Ok(Some(line)) => line?,
                Ok(None) => return Ok(None),
                Err(TooLong::Line) => return Err(line_too_long(&bytes[lines.start..])),
                Err(TooLong::Section) => return Err(RequestError::HeadTooLarge),
            };
            if line.is_empty() && lines.number == 1 {
                lines.number = 0;
                self.reading.empty_lines += 1;
                if self.reading.empty_lines > EMPTY_LINES {
                    return Err(RequestError::EmptyLines);
                }
            } else if lines.number == 1 {
                let line = request_line(line, bytes, limits)?;
                (self.reading.method, self.target, self.is_http10) = (line.method, line.target, line.is_http10);
            } else if line.is_empty() {
                let length = lines.start;
                return self.framing().map(|framing| Some((length, framing)));
            } else {
                let (name, value) = field(line)?;
                self.field(FieldPlace::of(name, value, bytes), bytes, limits)?;
            }
        }
    }

    /// Takes the bytes of the head, and only these, once [`advance`](Self::advance) has found its end.
    pub(crate) fn complete(&mut self, bytes: BytesMut) -> Result<(), RequestError> {
        self.method = Method::from_bytes(&bytes[self.reading.method.range()]).map_err(|_| RequestError::Method)?;
        self.fields.complete(bytes);
        Ok(())
    }

    /// Clears the head for the connection's next request, and returns its emptied buffer.
    pub(crate) fn clear(&mut self) -> BytesMut {
        // In place: the head is larger than what is left of it.
        let RequestHead { method, is_http10, fields, asks, target, reading } = self;
        *method = Method::default();
        (*is_http10, *asks, *target, *reading) = Default::default();
        fields.clear()
    }

    /// The fast path for usual lines; `Lines::next` takes the others.
    fn plain_fields(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<(), RequestError> {
        let places = self.fields.places_mut();
        let known = places.lines().len();
        if known == 0 {
            places.reserve(PLANNED_FIELDS.min(limits.header_count));
        }
        self.reading.lines.take_plain_fields(bytes, limits, places);
        let mut at = known;
        while let Some(&place) = self.fields.places_mut().lines().get(at) {
            self.note(place, bytes)?;
            at += 1;
        }
        Ok(())
    }

    fn field(&mut self, place: FieldPlace, head: &[u8], limits: &HeadLimits) -> Result<(), RequestError> {
        let places = self.fields.places_mut();
        if places.lines().len() >= limits.header_count {
            return Err(RequestError::TooManyHeaders);
        }
        places.push(place);
        self.note(place, head)
    }

    /// Notes the line's effect on the framing and on the connection.
    fn note(&mut self, place: FieldPlace, head: &[u8]) -> Result<(), RequestError> {
        let value = place.value(head);
        match place.known {
            KnownName::Te => self.asks.trailers |= has_token(value, b"trailers"),
            // RFC 9110, 10.1.1: ignored in HTTP/1.0.
            KnownName::Expect if !self.is_http10 => {
                if members(value).any(|expectation| !expectation.eq_ignore_ascii_case(b"100-continue")) {
                    return Err(RequestError::Expectation);
                }
                self.asks.continues |= members(value).next().is_some();
            }
            KnownName::Connection => self.note_options(value)?,
            KnownName::Host => {
                if self.reading.host.is_some() {
                    return Err(RequestError::HostRepeated);
                }
                self.reading.host = Some(place.value);
                if !is_authority(value) {
                    return Err(RequestError::HostInvalid);
                }
            }
            KnownName::ContentLength => {
                if self.reading.length.is_some() {
                    return Err(RequestError::LengthRepeated);
                }
                self.reading.length = Some(content_length(value)?);
            }
            KnownName::TransferEncoding => {
                if self.reading.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(RequestError::EncodingUnsupported);
                }
                self.reading.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes the members of a `Connection` line, and how many there are in all lines.
    fn note_options(&mut self, value: &[u8]) -> Result<(), RequestError> {
        self.reading.options += 1 + memchr_iter(b',', value).count();
        if self.reading.options > LIST_ENTRIES {
            return Err(RequestError::ConnectionTooLong);
        }
        self.asks.close |= has_token(value, b"close");
        self.asks.keep_alive |= has_token(value, b"keep-alive");
        Ok(())
    }

    /// The framing, checked across all lines of the head.
    fn framing(&self) -> Result<Framing, RequestError> {
        if self.reading.host.is_none() && !self.is_http10 {
            return Err(RequestError::HostMissing);
        }
        match (self.reading.chunked, self.reading.length) {
            (true, Some(_)) => Err(RequestError::LengthAndEncoding),
            (true, None) if self.is_http10 => Err(RequestError::EncodingOnHttp10),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Rejects a first byte that cannot begin a method at once: a TLS handshake, for one, may never contain a line end.
fn first_byte(bytes: &[u8], start: usize) -> Result<(), RequestError> {
    match bytes.get(start) {
        Some(b'\r' | b'\n') | None => Ok(()),
        Some(&byte) if is_token(byte) => Ok(()),
        Some(_) => Err(RequestError::Method),
    }
}

fn content_length(value: &[u8]) -> Result<u64, RequestError> {
    // A length with leading zeros is octal to some servers, one beyond the signed range negative.
    let is_plain = value.len() < 2 || !value.starts_with(b"0");
    let number = fast_path::number(value).filter(|&number| is_plain && i64::try_from(number).is_ok());
    number.ok_or_else(|| {
        let is_list = memchr(b',', value).is_some();
        if is_list { RequestError::LengthRepeated } else { RequestError::LengthInvalid }
    })
}

/// The members of a list (RFC 9110, 5.6.1), without the empty ones.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    members(value).any(|member| member.eq_ignore_ascii_case(token))
}
