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

/// Each token character in lower case, and 0 for all other bytes.
pub(super) const LOWER_TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        if CLASSES[byte] & TOKEN != 0 {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

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

/// Sets a bit in each byte below 0x20 or equal to 0x7f; only the lowest set bit is reliable. 0 if there is no such byte.
fn control_or_tab(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES * 0x80;
    let delete = word ^ (ONES * 0x7f);
    ((word.wrapping_sub(ONES * 0x20) & !word) | (delete.wrapping_sub(ONES) & !delete)) & HIGHS
}
