//! Request heads and trailers, line by line: what RFC 9112 demands and what more than one server could read in more than
//! one way. It works on the bytes where they lie, and goes on where it stopped when more of them come.

use bytes::BytesMut;
use hyper::Method;
use memchr::memchr;

use super::classes::{has_control, is_control, is_token};
use super::client::RequestHead;
use super::fault::WireFault;
use super::fields::{FieldPlace, Span};
use super::limits::WireLimits;
use super::plain;
use super::request_line::{LINE_BESIDE_TARGET, is_authority, request_line};

/// RFC 9112, 2.2: a server should ignore at least one empty line before a request; some old clients send one too many
/// after a body.
const EMPTY_LINES: u8 = 2;

/// The longest trailer section, whatever the limit of heads.
const TRAILER_BYTES: usize = 8 * 1024;

/// Fields that no trailer may hold: framing, routing, connection and authentication (RFC 9110, 6.5.1).
const NOT_IN_TRAILERS: [&str; 14] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; also 0 when nothing announces a body.
    Length(u64),
    /// Chunked, with trailers.
    Chunked,
}

/// Room for this many field lines is made at once: most requests have fewer.
const PLANNED_FIELDS: usize = 16;

/// How far a head was read, and what it has said of its framing.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    lines: Lines,
    empty_lines: u8,
    method: Span,
    pub(super) host: Option<Span>,
    chunked: bool,
    length: Option<u64>,
}

impl RequestHead {
    /// Reads the complete lines that came since the last call; `bytes` begin at the head's first byte. Answers with the
    /// head's length and framing once its empty line is there.
    pub(super) fn advance(
        &mut self,
        bytes: &mut [u8],
        limits: &WireLimits,
    ) -> Result<Option<(usize, Framing)>, WireFault> {
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
                Err(TooLong::Line) => return Err(WireFault::TargetTooLong),
                Err(TooLong::Section) => return Err(WireFault::HeadTooLarge),
            };
            if line.is_empty() && lines.number == 1 {
                lines.number = 0;
                self.reading.empty_lines += 1;
                if self.reading.empty_lines > EMPTY_LINES {
                    return Err(WireFault::EmptyLines);
                }
            } else if lines.number == 1 {
                let line = request_line(line, bytes, limits)?;
                (self.reading.method, self.target, self.is_old) = (line.method, line.target, line.is_old);
            } else if line.is_empty() {
                let length = lines.start;
                return self.framing().map(|framing| Some((length, framing)));
            } else {
                let (name, value) = field(line)?;
                let place = FieldPlace::of(name, value, bytes);
                place.lower_name(bytes);
                self.field(place, bytes, limits)?;
            }
        }
    }

    /// Takes its bytes, once [`advance`](Self::advance) has found its end: `bytes` are the head alone.
    pub(super) fn complete(&mut self, bytes: BytesMut) -> Result<(), WireFault> {
        self.method = Method::from_bytes(&bytes[self.reading.method.range()]).map_err(|_| WireFault::Method)?;
        // RFC 9110, 10.1.1: means nothing in HTTP/1.0.
        self.asks.continues &= !self.is_old;
        self.fields.complete(bytes);
        Ok(())
    }

    /// Gives its bytes back, to be the next head of the connection with what memory it has.
    pub(super) fn clear(&mut self) -> BytesMut {
        let (bytes, fields) = std::mem::take(&mut self.fields).clear();
        *self = RequestHead { fields, ..RequestHead::default() };
        bytes
    }

    /// The short way for lines that are as usual: see `plain`. What it leaves, [`Lines::next`] decides on.
    fn plain_fields(&mut self, bytes: &mut [u8], limits: &WireLimits) -> Result<(), WireFault> {
        let places = self.fields.places_mut();
        let known = places.len();
        if known == 0 {
            places.reserve(PLANNED_FIELDS.min(limits.header_count));
        }
        self.reading.lines.take_plain_fields(bytes, limits, places);
        let mut at = known;
        while let Some(place) = self.fields.places_mut().get(at) {
            let place = *place;
            self.note(place, bytes)?;
            at += 1;
        }
        Ok(())
    }

    fn field(&mut self, place: FieldPlace, head: &[u8], limits: &WireLimits) -> Result<(), WireFault> {
        let places = self.fields.places_mut();
        if places.len() >= limits.header_count {
            return Err(WireFault::TooManyHeaders);
        }
        places.push(place);
        self.note(place, head)
    }

    /// What the line says of the framing and of the connection.
    fn note(&mut self, place: FieldPlace, head: &[u8]) -> Result<(), WireFault> {
        let (name, value) = place.of_head(head);
        match name {
            b"te" => self.asks.trailers |= has_token(value, b"trailers"),
            b"expect" => self.asks.continues |= value.eq_ignore_ascii_case(b"100-continue"),
            b"connection" => {
                self.asks.close |= has_token(value, b"close");
                self.asks.keep_alive |= has_token(value, b"keep-alive");
            }
            b"host" => {
                if self.reading.host.is_some() {
                    return Err(WireFault::HostRepeated);
                }
                self.reading.host = Some(place.value);
                if !is_authority(value) {
                    return Err(WireFault::HostInvalid);
                }
            }
            b"content-length" => {
                if self.reading.length.is_some() {
                    return Err(WireFault::LengthRepeated);
                }
                self.reading.length = Some(content_length(value)?);
            }
            b"transfer-encoding" => {
                if self.reading.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(WireFault::EncodingUnsupported);
                }
                self.reading.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What only the whole head shows.
    fn framing(&self) -> Result<Framing, WireFault> {
        if self.reading.host.is_none() && !self.is_old {
            return Err(WireFault::HostMissing);
        }
        match (self.reading.chunked, self.reading.length) {
            (true, Some(_)) => Err(WireFault::LengthAndEncoding),
            (true, None) if self.is_old => Err(WireFault::EncodingOnHttp10),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Trailers that are being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Trailers {
    lines: Lines,
}

impl Trailers {
    /// As [`RequestHead::advance`]; answers with the length of the section.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &WireLimits) -> Result<Option<usize>, WireFault> {
        loop {
            let line = match self.lines.next(bytes, usize::MAX, limits.head_bytes.min(TRAILER_BYTES)) {
                Ok(Some(line)) => line?,
                Ok(None) => return Ok(None),
                Err(_) => return Err(WireFault::TrailersTooLarge),
            };
            if line.is_empty() {
                return Ok(Some(self.lines.start));
            }
            if self.lines.number > limits.header_count {
                return Err(WireFault::TrailersTooLarge);
            }
            let (name, _) = field(line)?;
            if NOT_IN_TRAILERS.iter().any(|forbidden| is_spelling_of(name, forbidden)) {
                return Err(WireFault::TrailerForbidden);
            }
        }
    }
}

/// Finds line ends. Every verdict hangs on offsets in the section alone, never on where a read happened to end.
#[derive(Clone, Debug, Default)]
struct Lines {
    /// Where the unfinished line begins.
    start: usize,
    /// Up to where LF was looked for.
    searched: usize,
    /// How many lines were read.
    number: usize,
}

enum TooLong {
    Line,
    Section,
}

impl Lines {
    /// The next complete line without its CR LF, if there is one; limits hold for unfinished lines too. `line_limit` is
    /// without CR LF, `section_limit` with it.
    fn next<'b>(
        &mut self,
        bytes: &'b [u8],
        line_limit: usize,
        section_limit: usize,
    ) -> Result<Option<Result<&'b [u8], WireFault>>, TooLong> {
        let rest = &bytes[self.searched..];
        // The empty line at the end of most heads needs no search.
        let offset = if rest.starts_with(b"\r\n") { Some(1) } else { memchr(b'\n', rest) };
        let found = offset.map(|offset| self.searched + offset);
        let end = found.map_or(bytes.len(), |lf| lf + 1);
        let line_end = self.start.saturating_add(line_limit).saturating_add(2);
        if end > line_end.min(section_limit) {
            return Err(if line_end <= section_limit { TooLong::Line } else { TooLong::Section });
        }
        self.searched = end;
        let Some(lf) = found else { return Ok(None) };
        let line = &bytes[self.start..lf];
        self.start = end;
        self.number += 1;
        Ok(Some(line.strip_suffix(b"\r").ok_or(WireFault::BareLf)))
    }

    /// Takes the plain field lines that are there, within the limits. A line that was looked at before is left to
    /// [`Lines::next`], so that one that comes byte by byte is not read again and again.
    fn take_plain_fields(&mut self, bytes: &mut [u8], limits: &WireLimits, fields: &mut Vec<FieldPlace>) {
        if self.searched == self.start {
            let known = fields.len();
            let within = bytes.len().min(limits.head_bytes);
            let most = limits.header_count.saturating_sub(known);
            self.start = plain::fields(&mut bytes[..within], self.start, most, fields);
            self.searched = self.start;
            self.number += fields.len() - known;
        }
    }
}

/// A first byte that cannot begin a method is refused at once: a TLS greeting, for one, may never hold a line end.
fn first_byte(bytes: &[u8], start: usize) -> Result<(), WireFault> {
    match bytes.get(start) {
        Some(b'\r' | b'\n') | None => Ok(()),
        Some(&byte) if is_token(byte) => Ok(()),
        Some(_) => Err(WireFault::Method),
    }
}

/// Splits a header line into its name and its value without the white space around it, and checks both.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), WireFault> {
    let name_end = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
    if name_end == 0 || line.get(name_end) != Some(&b':') {
        return Err(no_name(line, name_end));
    }
    let value = &line[name_end + 1..];
    if has_control(value) {
        return Err(control_fault(value));
    }
    Ok((&line[..name_end], value.trim_ascii()))
}

/// Why a line has no proper name; `token_end` is where its leading token ends.
#[cold]
fn no_name(line: &[u8], token_end: usize) -> WireFault {
    let after = &line[token_end..];
    match after.first() {
        Some(b' ' | b'\t') if token_end == 0 => WireFault::ObsFold,
        Some(b' ' | b'\t') if after.trim_ascii_start().starts_with(b":") => WireFault::SpaceBeforeColon,
        _ if has_control(line) => control_fault(line),
        _ if memchr(b':', line).is_none() => WireFault::MissingColon,
        _ => WireFault::HeaderName,
    }
}

#[cold]
fn control_fault(bytes: &[u8]) -> WireFault {
    match bytes.iter().find(|&&byte| is_control(byte)) {
        Some(b'\r') => WireFault::BareCr,
        _ => WireFault::ControlCharacter,
    }
}

fn content_length(value: &[u8]) -> Result<u64, WireFault> {
    if memchr(b',', value).is_some() {
        return Err(WireFault::LengthRepeated);
    }
    // A greater one than a signed number holds is negative to some servers.
    let number = plain::number(value).filter(|&number| i64::try_from(number).is_ok());
    number.ok_or(WireFault::LengthInvalid)
}

/// Whether `name` is `canonical`, in any case and with underscores for dashes (which CGI-like servers take as equal).
fn is_spelling_of(name: &[u8], canonical: &str) -> bool {
    name.len() == canonical.len()
        && name
            .iter()
            .zip(canonical.bytes())
            .all(|(&byte, wanted)| byte.to_ascii_lowercase() == wanted || (byte == b'_' && wanted == b'-'))
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}
