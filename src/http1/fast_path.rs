//! The fast path for usual bytes: it parses a complete, correct field line or response head in one pass. It rejects nothing:
//! for all other bytes it returns `None`, and the complete parsers in `head` and `response` decide.

use super::fields::{Capitals, FieldPlace, Span};
use super::syntax::{LOWER_TOKEN, find_control};

/// Room for this many field lines is reserved at once: most responses have fewer.
const PLANNED_FIELDS: usize = 12;

/// The length of `HTTP/1.1 200 `, with which every status line begins.
pub(super) const STATUS_LINE_BYTES: usize = 13;

/// Parses the plain field lines of `bytes` from `start` on, at most `most` of them, and adds their places. Returns the start of
/// the next line, which is not plain, is empty, or is incomplete. The bytes are unchanged: the caller lowers the case of names.
pub(super) fn fields(bytes: &[u8], mut start: usize, most: usize, places: &mut Vec<FieldPlace>) -> usize {
    for _ in 0..most {
        let Some((place, next)) = field(bytes, start) else { break };
        places.push(place);
        start = next;
    }
    start
}

/// Parses `name: value` with one space, a CR LF, and no other white space around the value.
#[inline]
fn field(bytes: &[u8], start: usize) -> Option<(FieldPlace, usize)> {
    let line = bytes.get(start..)?;
    let (colon, capitals) = name(line);
    let Some([b':', b' ', value @ ..]) = line.get(colon..).filter(|_| colon > 0) else { return None };
    let cr = find_control(value)?;
    let (text, [b'\r', b'\n', ..]) = value.split_at_checked(cr)? else { return None };
    if is_blank(*text.first()?) || is_blank(*text.last()?) {
        return None;
    }
    let value = start + colon + 2;
    let (name, value_place) = (Span::new(start, start + colon)?, Span::new(value, value + cr)?);
    let place = FieldPlace { name, value: value_place, capitals };
    Some((place, value + cr + 2))
}

/// The length of the token that `line` begins with, and its capital letters.
#[inline]
fn name(line: &[u8]) -> (usize, Capitals) {
    let (mut length, mut capitals) = (0, Capitals::default());
    for byte in line {
        let lower = LOWER_TOKEN[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        capitals.note(length, lower != *byte);
        length += 1;
    }
    (length, capitals)
}

/// The parts of a response head.
pub(super) struct ResponseParts {
    /// The length of the head, with its empty line.
    pub(crate) length: usize,
    pub(crate) status: u16,
    /// Whether its version is HTTP/1.0.
    pub(crate) is_http10: bool,
    pub(crate) places: Vec<FieldPlace>,
}

/// Parses the response head at the beginning of `bytes`, with at most `most` field lines.
pub(super) fn response_head(bytes: &mut [u8], most: usize) -> Option<ResponseParts> {
    let line = bytes.first_chunk::<STATUS_LINE_BYTES>()?;
    let is_http10 = match line.first_chunk()? {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return None,
    };
    let status = number(line[9..].strip_suffix(b" ")?)? as u16;
    let reason = &bytes[STATUS_LINE_BYTES..];
    let cr = find_control(reason).filter(|&cr| reason[cr..].starts_with(b"\r\n"))?;
    let mut places = Vec::with_capacity(PLANNED_FIELDS);
    let end = fields(bytes, STATUS_LINE_BYTES + cr + 2, most, &mut places);
    if !bytes[end..].starts_with(b"\r\n") {
        return None;
    }
    places.iter().for_each(|place| place.lower_name(bytes));
    Some(ResponseParts { length: end + 2, status, is_http10, places })
}

/// Parses a decimal number below 10^19, with or without leading zeros.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let append = |number: u64, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    let number = digits.iter().try_fold(0, append)?;
    (!digits.is_empty() && number < 10_u64.pow(19)).then_some(number)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
