//! The fast path for usual bytes: it parses a complete, correct field line or response head in one pass. It rejects nothing:
//! for all other bytes it returns `None`, and the complete parsers in `head` and `response` decide.

use super::fields::{FieldPlace, Places, Span};
use super::known_names::{KnownName, name_of};
use super::syntax::find_control;

/// Room for this many field lines is reserved at once: most responses have fewer.
const PLANNED_FIELDS: usize = 12;

/// The length of `HTTP/1.1 200 `, with which every status line begins.
pub(super) const STATUS_LINE_BYTES: usize = 13;

/// Parses the plain field lines of `bytes` from `start` on, at most `most` of them, and adds their places. Returns the start of
/// the next line, which is not plain, is empty, or is incomplete.
pub(super) fn fields(bytes: &[u8], mut start: usize, most: usize, places: &mut Places) -> usize {
    // Places are 32 bits wide.
    let Some(mut rest) = bytes.get(start..).filter(|_| u32::try_from(bytes.len()).is_ok()) else { return start };
    for _ in 0..most {
        let Some(PlainField { colon, length, known }) = field(rest) else { break };
        let (name, value) = (start..start + colon, start + colon + 2..start + length - 2);
        places.push(FieldPlace { name: Span::narrow(name), value: Span::narrow(value), known, is_plain: true });
        start += length;
        rest = &rest[length..];
    }
    start
}

/// A plain field line.
struct PlainField {
    /// The length of its name.
    colon: usize,
    /// Its length, with its line end.
    length: usize,
    known: KnownName,
}

/// Parses `name: value` with one space, a CR LF, and no other white space around the value.
#[inline]
fn field(line: &[u8]) -> Option<PlainField> {
    let (colon, known) = name_of(line)?;
    let [b':', b' ', value @ ..] = line.get(colon..)? else { return None };
    let cr = find_control(value)?;
    let [first, .., b'\r', b'\n'] = value.get(..cr + 2)? else { return None };
    if is_blank(*first) || is_blank(*value[..cr].last()?) {
        return None;
    }
    Some(PlainField { colon, length: colon + cr + 4, known })
}

/// The parts of a response head.
pub(super) struct ResponseParts {
    /// The length of the head, with its empty line.
    pub(crate) length: usize,
    pub(crate) status: u16,
    /// Whether its version is HTTP/1.0.
    pub(crate) is_http10: bool,
    pub(crate) places: Places,
}

/// Parses the response head at the beginning of `bytes`, with at most `most` field lines.
pub(super) fn response_head(bytes: &[u8], most: usize) -> Option<ResponseParts> {
    let line = bytes.first_chunk::<STATUS_LINE_BYTES>()?;
    let is_http10 = match line.first_chunk()? {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return None,
    };
    let status = number(line[9..].strip_suffix(b" ")?)? as u16;
    let reason = &bytes[STATUS_LINE_BYTES..];
    let cr = find_control(reason).filter(|&cr| reason[cr..].starts_with(b"\r\n"))?;
    let mut places = Places::with_room(PLANNED_FIELDS);
    let end = fields(bytes, STATUS_LINE_BYTES + cr + 2, most, &mut places);
    if !bytes[end..].starts_with(b"\r\n") {
        return None;
    }
    Some(ResponseParts { length: end + 2, status, is_http10, places })
}

/// Parses a decimal number below 10^19, with or without leading zeros.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    // As many digits as are accepted fit, so no sum is checked.
    let significant = &digits[zeros..];
    if digits.is_empty() || significant.len() > 19 {
        return None;
    }
    let append = |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'));
    significant.iter().try_fold(0, append)
}

/// Whether the byte of a value is white space: no value has control characters other than tab.
fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_up_to_nineteen_digits_and_any_zeros_before_them() {
        for (digits, expected) in
            [("0", 0), ("7", 7), ("00", 0), ("1024", 1024), ("9999999999999999999", 10_u64.pow(19) - 1)]
        {
            assert_eq!(number(digits.as_bytes()), Some(expected), "{digits}");
            assert_eq!(number(format!("{}{digits}", "0".repeat(30)).as_bytes()), Some(expected), "{digits}");
        }
        for other in ["", "1a", "a", "0a", "-1", "+1", "1 ", "10000000000000000000", "0x1", "/", ":"] {
            assert_eq!(number(other.as_bytes()), None, "{other}");
        }
    }
}
