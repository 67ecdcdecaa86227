//! Character classes of HTTP/1.1, as tables and fast searches.

pub(super) const TOKEN: u8 = 1;
pub(super) const PATH: u8 = 2;
pub(super) const QUERY: u8 = 4;
pub(super) const HOST: u8 = 8;

/// The classes of each byte. Paths and queries may contain whatever `http::Uri` accepts except `#`, so backslashes, escapes and
/// braces pass.
pub(super) const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        let alphanumeric = byte.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric
            || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_')
            || matches!(byte, b'`' | b'|' | b'~')
        {
            class |= TOKEN;
        }
        if !matches!(byte, b'#' | b'<' | b'>' | b'?' | b'`') {
            class |= PATH;
        }
        if !matches!(byte, b'"' | b'#' | b'<' | b'>') {
            class |= QUERY;
        }
        if alphanumeric || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        table[byte as usize] = class;
        byte += 1;
    }
    table
}

/// Whether names and methods may contain the byte (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// Whether this is a control character other than tab.
pub(super) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// Whether there is a control character other than tab.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    find_control(bytes).is_some()
}

/// Finds the first control character other than tab: eight bytes at a time, single bytes only after a tab.
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let hits = control_or_tab(u64::from_le_bytes(*word));
        if hits != 0 {
            at += hits.trailing_zeros() as usize / 8;
            if bytes[at] != b'\t' {
                return Some(at);
            }
            break;
        }
        at += 8;
    }
    bytes[at..].iter().position(|&byte| is_control(byte)).map(|offset| at + offset)
}

/// A bit in each of eight bytes.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES * 0x80;

/// Sets a bit in each byte below 0x20 or equal to 0x7f; only the lowest set bit is reliable. 0 if there is no such byte.
fn control_or_tab(word: u64) -> u64 {
    let delete = word ^ (ONES * 0x7f);
    ((word.wrapping_sub(ONES * 0x20) & !word) | (delete.wrapping_sub(ONES) & !delete)) & HIGHS
}

/// The number of letters, digits and dashes with which eight bytes begin, the first of them lowest.
#[inline]
pub(super) fn plain_name(word: u64) -> usize {
    // Sums of seven bits each do not reach the next byte.
    let (ascii, lower) = (word & !HIGHS, (word & !HIGHS) | (ONES * 0x20));
    let within = |word: u64, first: u8, last: u8| {
        (word + ONES * u64::from(0x80 - first)) & !(word + ONES * u64::from(0x7f - last)) & HIGHS
    };
    let plain = within(lower, b'a', b'z') | within(ascii, b'0', b'9') | within(ascii, b'-', b'-');
    let others = (!plain | word) & HIGHS;
    others.trailing_zeros() as usize / 8
}

/// The number of bytes before the first colon of eight, and a mask of these bytes; `None` if there is no colon.
#[inline]
pub(super) fn before_colon(word: u64) -> Option<(usize, u64)> {
    let colons = word ^ (ONES * u64::from(b':'));
    // Only the lowest set bit is reliable.
    let hits = colons.wrapping_sub(ONES) & !colons & HIGHS;
    let first = hits & hits.wrapping_neg();
    (hits != 0).then(|| (hits.trailing_zeros() as usize / 8, (first >> 7) - 1))
}

/// Eight bytes with ASCII letters in lower case.
#[inline]
pub(super) fn lower_case(word: u64) -> u64 {
    // Bytes without the bit of letters, such as control characters, stay what they are.
    word | ((word >> 1) & (ONES * 0x20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_ends_before_the_first_other_byte() {
        for end in 0..=8 {
            for other in (0..=255).filter(|byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'-') {
                let mut bytes = *b"aZ-09zAq";
                bytes[end..].fill(other);
                assert_eq!(plain_name(u64::from_le_bytes(bytes)), end, "{bytes:?}");
            }
        }
    }

    #[test]
    fn the_first_colon_ends_a_name() {
        for end in 0..=8 {
            for other in (0..=255).filter(|byte| *byte != b':') {
                let mut bytes = [other; 8];
                bytes[end..].fill(b':');
                let expected = (end < 8).then(|| (end, (1 << (8 * end)) - 1));
                assert_eq!(before_colon(u64::from_le_bytes(bytes)), expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn letters_and_no_other_names_are_changed_to_lower_case() {
        for byte in 0..=255 {
            let [lower, rest @ ..] = lower_case(u64::from_le_bytes([byte, 0, 0xff, 0, 0, 0xff, 0, b'A'])).to_le_bytes();
            assert_eq!(rest, [0, 0xff, 0, 0, 0xff, 0, b'a']);
            let is_name = lower.is_ascii_lowercase() || lower.is_ascii_digit() || lower == b'-';
            assert!(lower == byte.to_ascii_lowercase() || !is_name, "{byte}");
        }
    }
}
