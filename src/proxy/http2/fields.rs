//! Field lines of HTTP/1.1 as h2 takes them. It drops and adds none.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use memchr::memchr;

/// The fields of a message that begins with its status line, or the rest of that. They were checked when they were read or made.
pub(super) fn fields_of(message: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let line_end = |bytes: &[u8]| memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let mut rest = &message[line_end(message)..];
    while !rest.is_empty() {
        let (line, after) = rest.split_at(line_end(rest));
        rest = after;
        let Some(colon) = memchr(b':', line) else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}
