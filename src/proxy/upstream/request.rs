//! Encodes a request to UCS: its head with the framing of this hop, and its body.

use hyper::body::Body;

use crate::http1::copied_part;
use crate::http1::writer::{BodyFraming, CHUNKED, MessageWriter, Parts, write_length};
use crate::proxy::headers::UpstreamHead;
use crate::proxy::upstream::body::RequestBody;

/// Capacity for the framing of a request, in bytes.
const FRAMING_BYTES: usize = 48;

/// Encodes a request with this head and body. Of the client's framing only the length of an empty body is kept.
pub(crate) fn encode(head: UpstreamHead, body: RequestBody) -> MessageWriter<RequestBody> {
    let UpstreamHead { mut bytes, says_length, trailers, .. } = head;
    let size = body.size_hint().exact();
    bytes.reserve(FRAMING_BYTES + copied_part(size));
    let over = matches!(body, RequestBody::Empty);
    let framing = match size {
        Some(length) => {
            if !over || says_length {
                write_length(&mut bytes, length);
            }
            BodyFraming::Counted
        }
        None => {
            bytes.extend_from_slice(CHUNKED);
            BodyFraming::Chunked { trailers, piece_ends: false }
        }
    };
    bytes.extend_from_slice(b"\r\n");
    // UCS need not receive the beginning of a request whose body failed.
    let sends_beginning = false;
    MessageWriter::new(Parts {
        head: bytes,
        framing,
        body,
        over,
        closes: false,
        ends_by_closing: false,
        sends_beginning,
    })
}
