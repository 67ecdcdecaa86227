//! The errors of a request's bytes, each with its reason word, its status and a sentence for people.

use hyper::http::StatusCode;

macro_rules! errors {
    ($($variant:ident: $reason:literal, $text:literal;)+) => {
        /// Why a request is rejected. The text names the error and, where it helps, the correct form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum RequestError {
            $(#[doc = $text] #[error($text)] $variant,)+
        }

        impl RequestError {
            /// One word for logs, metrics and the problem document.
            pub fn reason(self) -> &'static str {
                match self {
                    $(RequestError::$variant => $reason,)+
                }
            }
        }
    };
}

errors! {
    EmptyLines: "empty_lines", "More than two empty lines precede the request line; send the request line first.";
    Method: "method", "The method is not a token of 1 to 32 characters (RFC 9110, 9.1).";
    Connect: "connect", "CONNECT is not supported; no tunnels are opened here.";
    Version: "version", "The request line does not end in HTTP/1.1 or HTTP/1.0, the supported versions.";
    Http2Preface: "http2_preface", "HTTP/2 with prior knowledge is not supported; use HTTP/1.1.";
    Target: "target",
        "The request target is not a valid path or http(s) URL: escape spaces, controls and non-ASCII characters.";
    Fragment: "fragment",
        "The request target contains a fragment (#), which must not be sent; escape # as %23 if it is data.";
    Asterisk: "asterisk", "The request target * is only valid with OPTIONS.";
    TargetTooLong: "target_too_long", "The request target is longer than this server accepts.";
    HeadTooLarge: "head_too_large", "The request head is longer than this server accepts.";
    TooManyHeaders: "too_many_headers", "The request has more header lines than this server accepts.";
    HeaderTimeout: "header_timeout", "The request head was not complete in time.";
    FrameFlood: "frame_flood", "The client sends too many PING or SETTINGS frames.";
    BareLf: "bare_lf", "A line ends in LF without CR; end lines with CR LF.";
    BareCr: "bare_cr", "A CR is not followed by LF.";
    ObsFold: "obs_fold", "A header line begins with white space (obsolete line folding); write each header on one line.";
    SpaceBeforeColon: "space_before_colon", "There is white space between a header name and its colon.";
    MissingColon: "missing_colon", "A header line has no colon.";
    HeaderName: "header_name", "A header name is empty or not a token (RFC 9110, 5.1).";
    ControlCharacter: "control_character", "A header line contains a control character.";
    ConnectionTooLong: "connection_too_long", "Connection has more than 100 entries.";
    HostMissing: "host_missing", "The Host header is missing; HTTP/1.1 requires exactly one.";
    HostRepeated: "host_repeated", "There is more than one Host header; send exactly one.";
    HostInvalid: "host_invalid", "The Host header is not a host name or address with an optional port.";
    Expectation: "expectation", "Expect has a value other than 100-continue, the only expectation that is supported.";
    LengthAndEncoding: "length_and_encoding",
        "Content-Length and Transfer-Encoding are mutually exclusive; send one of them.";
    LengthRepeated: "length_repeated", "Content-Length is given more than once; send it once.";
    LengthInvalid: "length_invalid", "Content-Length is not a decimal number below 2^63 without leading zeros.";
    EncodingUnsupported: "encoding_unsupported", "Transfer-Encoding must be a single \"chunked\".";
    EncodingOnHttp10: "encoding_on_http10",
        "Transfer-Encoding is not part of HTTP/1.0; send Content-Length or use HTTP/1.1.";
    ChunkSize: "chunk_size", "A chunk size is not a hexadecimal number of 1 to 16 digits followed by CR LF.";
    ChunkExtension: "chunk_extension", "A chunk extension is not `name`, `name=token` or `name=\"text\"`, or they exceed 1 KiB.";
    ChunkEnd: "chunk_end", "A chunk's data is not followed by CR LF; its size and its data disagree.";
    TrailerForbidden: "trailer_forbidden", "The trailers contain a field that is only allowed in the head.";
    TrailersTooLarge: "trailers_too_large", "The trailers are longer than this server accepts.";
    BodyTruncated: "body_truncated", "The request body ended before its announced end.";
}

impl RequestError {
    /// The status of the response to it: 400, 408, 414, 417, 431 or 501.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            RequestError::TargetTooLong => StatusCode::URI_TOO_LONG,
            RequestError::HeadTooLarge | RequestError::TooManyHeaders | RequestError::TrailersTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            RequestError::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            RequestError::Expectation => StatusCode::EXPECTATION_FAILED,
            RequestError::Connect => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
