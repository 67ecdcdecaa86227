//! `Max-Forwards` (RFC 9110, 7.6.2): how many more times a request of OPTIONS or TRACE may be forwarded.

use hyper::Method;

use crate::http1::encode::write_number;
use crate::http1::{Fields, KnownName};

/// Whether the field is defined for this method; in other requests it is passed on unchanged.
pub(crate) fn is_counted(method: &Method) -> bool {
    matches!(*method, Method::OPTIONS | Method::TRACE)
}

/// Whether the gateway is the last recipient.
pub(crate) fn is_used_up(method: &Method, fields: &Fields) -> bool {
    is_counted(method) && fields.values_of(KnownName::MaxForwards).any(|value| number(value) == Some(0))
}

/// Writes the field for the next recipient; an invalid one ends here.
pub(super) fn write_decremented(bytes: &mut Vec<u8>, value: &[u8]) {
    if let Some(hops) = number(value) {
        write_number(bytes, b"Max-Forwards", hops.saturating_sub(1));
    }
}

/// A number too large for the type is as good as the largest.
fn number(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let append = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    is_number.then(|| value.iter().fold(0, append))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hop_counts_down_and_junk_ends() {
        let written = |value: &[u8]| {
            let mut bytes = Vec::new();
            write_decremented(&mut bytes, value);
            String::from_utf8(bytes).unwrap_or_default()
        };
        assert_eq!(written(b"7"), "Max-Forwards: 6\r\n");
        assert_eq!(written(b"007"), "Max-Forwards: 6\r\n");
        assert_eq!(written(&[b'9'; 30]), format!("Max-Forwards: {}\r\n", u64::MAX - 1));
        for junk in ["", "-1", "+1", "1, 2", "x"] {
            assert_eq!(written(junk.as_bytes()), "", "{junk:?}");
        }
    }
}
