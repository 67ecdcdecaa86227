//! The short way for what is usual: a field line, or the head of an answer, that is there whole and has no fault, in one
//! pass. It refuses nothing: whatever is not plain is `None`, and judged by the careful readers in `head` and `answer`.

use super::fields::{FieldPlace, Span};
use super::syntax::{LOWER_TOKEN, find_control};

/// Most answers have fewer lines: room for so many is made at once.
const PLANNED_FIELDS: usize = 12;

/// `HTTP/1.1 200 `, without which there is no status line.
const STATUS_LINE_BYTES: usize = 13;

/// Reads the plain field lines that `bytes` hold from `start` on, but `most` of them at the most, and adds their places: up
/// to where it came. The next line is not plain, or empty, or its end has not come. Names are in lower case from now on,
/// also that of the next line.
pub(super) fn fields(bytes: &mut [u8], mut start: usize, most: usize, places: &mut Vec<FieldPlace>) -> usize {
    for _ in 0..most {
        let Some((place, next)) = field(bytes, start) else { break };
        places.push(place);
        start = next;
    }
    start
}

/// `name: value` with one blank, an end, and no other white space around the value.
#[inline]
fn field(bytes: &mut [u8], start: usize) -> Option<(FieldPlace, usize)> {
    let line = bytes.get_mut(start..)?;
    let colon = lower_name(line);
    let Some([b':', b' ', value @ ..]) = line.get(colon..).filter(|_| colon > 0) else { return None };
    let cr = find_control(value)?;
    let (text, [b'\r', b'\n', ..]) = value.split_at_checked(cr)? else { return None };
    if is_blank(*text.first()?) || is_blank(*text.last()?) {
        return None;
    }
    let value = start + colon + 2;
    let place = FieldPlace { name: Span::new(start, start + colon)?, value: Span::new(value, value + cr)? };
    Some((place, value + cr + 2))
}

/// The length of the token that `line` begins with, which is in lower case from now on.
fn lower_name(line: &mut [u8]) -> usize {
    let mut length = 0;
    for byte in line {
        let lower = LOWER_TOKEN[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        *byte = lower;
        length += 1;
    }
    length
}

/// What was read of an answer's head.
pub(super) struct ResponseParts {
    /// Its length, with the empty line.
    pub length: usize,
    /// Its status.
    pub status: u16,
    /// Whether it is of HTTP/1.0.
    pub is_http10: bool,
    /// Its field lines.
    pub places: Vec<FieldPlace>,
}

/// The head of an answer that `bytes` begin with, of at most `most` field lines.
pub(super) fn answer(bytes: &mut [u8], most: usize) -> Option<ResponseParts> {
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
    bytes[end..].starts_with(b"\r\n").then_some(ResponseParts { length: end + 2, status, is_http10, places })
}

/// The number below 10^19 that digits stand for, zeros before it or not; `None` when that is not what they are.
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
