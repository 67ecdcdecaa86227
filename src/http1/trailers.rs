//! Trailers of a chunked message: it finds the end of the section and rejects forbidden fields (RFC 9110, 6.5.1).

use super::error::RequestError;
use super::limits::HeadLimits;
use super::lines::{Lines, field};

/// The longest trailer section, even if heads may be longer.
const TRAILER_BYTES: usize = 8 * 1024;

/// Fields that are forbidden in trailers: framing, routing, connection and authentication (RFC 9110, 6.5.1).
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

/// The parser of one trailer section.
#[derive(Clone, Debug, Default)]
pub(super) struct Trailers {
    lines: Lines,
}

impl Trailers {
    /// Parses the lines that were completed since the last call; `bytes` begin at the section's first byte. Returns the
    /// section's length once its empty line has arrived.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, RequestError> {
        loop {
            let line = match self.lines.next(bytes, usize::MAX, limits.head_bytes.min(TRAILER_BYTES)) {
                Ok(Some(line)) => line?,
                Ok(None) => return Ok(None),
                Err(_) => return Err(RequestError::TrailersTooLarge),
            };
            if line.is_empty() {
                return Ok(Some(self.lines.start));
            }
            if self.lines.number > limits.header_count {
                return Err(RequestError::TrailersTooLarge);
            }
            let (name, _) = field(line)?;
            check_trailer(name)?;
        }
    }
}

/// Rejects a field that is forbidden in trailers.
pub(crate) fn check_trailer(name: &[u8]) -> Result<(), RequestError> {
    let is_forbidden = NOT_IN_TRAILERS.iter().any(|forbidden| is_spelling_of(name, forbidden));
    if is_forbidden { Err(RequestError::TrailerForbidden) } else { Ok(()) }
}

/// Whether `name` is `canonical`, in any case and with underscores for dashes, which CGI-like servers treat as equal.
fn is_spelling_of(name: &[u8], canonical: &str) -> bool {
    name.len() == canonical.len()
        && name
            .iter()
            .zip(canonical.bytes())
            .all(|(&byte, wanted)| byte.to_ascii_lowercase() == wanted || (byte == b'_' && wanted == b'-'))
}
