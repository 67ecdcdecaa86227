//! SHA-256 in hex: the form in which tokens, route tables and journal entries are compared and written down.

use sha2::{Digest, Sha256};

/// The SHA-256 of a text or of bytes, in 64 lower-case digits.
pub(crate) fn sha256_hex(text: impl AsRef<[u8]>) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
