//! SHA-256 in hex: the form in which tokens, route tables and journal entries are compared and written down.

use sha2::{Digest, Sha256};

/// The 32 bytes that 64 hex digits stand for.
pub(crate) fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    // The parser of numbers takes a sign too.
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The SHA-256 of a text or of bytes, in 64 lower-case digits.
pub(crate) fn sha256_hex(text: impl AsRef<[u8]>) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
