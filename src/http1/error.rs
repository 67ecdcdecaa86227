//! The errors of a request's bytes, each with its reason word, its status and a sentence for people.

use hyper::http::StatusCode;

/// Why a request is rejected. The text names the error and, where it helps, the correct form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// More than two empty lines before the request line.
    #[error("More than two empty lines precede the request line; send the request line first.")]
    EmptyLines,
    /// The method is empty, longer than 32 bytes, or not a token.
    #[error("The method is not a token of 1 to 32 characters (RFC 9110, 9.1).")]
    Method,
    /// CONNECT: tunnels are not supported.
    #[error("CONNECT is not supported; no tunnels are opened here.")]
    Connect,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("The request line does not end in HTTP/1.1 or HTTP/1.0, the supported versions.")]
    Version,
    /// The HTTP/2 preface on a connection that speaks HTTP/1.1.
    #[error("HTTP/2 with prior knowledge is not supported; use HTTP/1.1.")]
    Http2Preface,
    /// The target is neither in origin form nor an http(s) URL, or contains a character that must be escaped.
    #[error("The request target is not a valid path or http(s) URL: escape spaces, controls and non-ASCII characters.")]
    Target,
    /// The target contains `#`.
    #[error("The request target contains a fragment (#), which must not be sent; escape # as %23 if it is data.")]
    Fragment,
    /// `*` with a method other than OPTIONS.
    #[error("The request target * is only valid with OPTIONS.")]
    Asterisk,
    /// The target is longer than the limit.
    #[error("The request target is longer than this server accepts.")]
    TargetTooLong,
    /// The head is longer than the limit.
    #[error("The request head is longer than this server accepts.")]
    HeadTooLarge,
    /// More header lines than the limit.
    #[error("The request has more header lines than this server accepts.")]
    TooManyHeaders,
    /// The head was not complete in time.
    #[error("The request head was not complete in time.")]
    HeaderTimeout,
    /// A line ends in LF without CR.
    #[error("A line ends in LF without CR; end lines with CR LF.")]
    BareLf,
    /// CR without LF.
    #[error("A CR is not followed by LF.")]
    BareCr,
    /// A header line begins with white space.
    #[error("A header line begins with white space (obsolete line folding); write each header on one line.")]
    ObsFold,
    /// White space between a header's name and its colon.
    #[error("There is white space between a header name and its colon.")]
    SpaceBeforeColon,
    /// A header line without a colon.
    #[error("A header line has no colon.")]
    MissingColon,
    /// An empty header name, or one that is not a token.
    #[error("A header name is empty or not a token (RFC 9110, 5.1).")]
    HeaderName,
    /// NUL or another control character in a header line.
    #[error("A header line contains a control character.")]
    ControlCharacter,
    /// No Host on HTTP/1.1.
    #[error("The Host header is missing; HTTP/1.1 requires exactly one.")]
    HostMissing,
    /// More than one Host.
    #[error("There is more than one Host header; send exactly one.")]
    HostRepeated,
    /// A Host that is not a host with an optional port.
    #[error("The Host header is not a host name or address with an optional port.")]
    HostInvalid,
    /// Both Content-Length and Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding are mutually exclusive; send one of them.")]
    LengthAndEncoding,
    /// Several Content-Length values, in several lines or a list, even equal ones.
    #[error("Content-Length is given more than once; send it once.")]
    LengthRepeated,
    /// Content-Length is not a decimal number, or too large.
    #[error("Content-Length is not a decimal number below 2^63.")]
    LengthInvalid,
    /// Transfer-Encoding is not exactly one `chunked`.
    #[error("Transfer-Encoding must be a single \"chunked\".")]
    EncodingUnsupported,
    /// Transfer-Encoding on HTTP/1.0.
    #[error("Transfer-Encoding is not part of HTTP/1.0; send Content-Length or use HTTP/1.1.")]
    EncodingOnHttp10,
    /// A chunk size that is not a hexadecimal number of at most 16 digits with CR LF or an extension behind it.
    #[error("A chunk size is not a hexadecimal number of 1 to 16 digits followed by CR LF.")]
    ChunkSize,
    /// A chunk extension with a control character, or more than 1 KiB of them in one body.
    #[error("The chunk extensions contain a control character or exceed 1 KiB.")]
    ChunkExtension,
    /// No CR LF after a chunk's data.
    #[error("A chunk's data is not followed by CR LF; its size and its data disagree.")]
    ChunkEnd,
    /// A field in the trailers that belongs in the head.
    #[error("The trailers contain a field that is only allowed in the head.")]
    TrailerForbidden,
    /// Trailers longer than the limit.
    #[error("The trailers are longer than this server accepts.")]
    TrailersTooLarge,
    /// The client's stream ended inside a body.
    #[error("The request body ended before its announced end.")]
    BodyTruncated,
}

impl RequestError {
    /// One word for logs, metrics and the problem document.
    pub fn reason(self) -> &'static str {
        match self {
            RequestError::EmptyLines => "empty_lines",
            RequestError::Method => "method",
            RequestError::Connect => "connect",
            RequestError::Version => "version",
            RequestError::Http2Preface => "http2_preface",
            RequestError::Target => "target",
            RequestError::Fragment => "fragment",
            RequestError::Asterisk => "asterisk",
            RequestError::TargetTooLong => "target_too_long",
            RequestError::HeadTooLarge => "head_too_large",
            RequestError::TooManyHeaders => "too_many_headers",
            RequestError::HeaderTimeout => "header_timeout",
            RequestError::BareLf => "bare_lf",
            RequestError::BareCr => "bare_cr",
            RequestError::ObsFold => "obs_fold",
            RequestError::SpaceBeforeColon => "space_before_colon",
            RequestError::MissingColon => "missing_colon",
            RequestError::HeaderName => "header_name",
            RequestError::ControlCharacter => "control_character",
            RequestError::HostMissing => "host_missing",
            RequestError::HostRepeated => "host_repeated",
            RequestError::HostInvalid => "host_invalid",
            RequestError::LengthAndEncoding => "length_and_encoding",
            RequestError::LengthRepeated => "length_repeated",
            RequestError::LengthInvalid => "length_invalid",
            RequestError::EncodingUnsupported => "encoding_unsupported",
            RequestError::EncodingOnHttp10 => "encoding_on_http10",
            RequestError::ChunkSize => "chunk_size",
            RequestError::ChunkExtension => "chunk_extension",
            RequestError::ChunkEnd => "chunk_end",
            RequestError::TrailerForbidden => "trailer_forbidden",
            RequestError::TrailersTooLarge => "trailers_too_large",
            RequestError::BodyTruncated => "body_truncated",
        }
    }

    /// The status of the response to it: 400, 408, 414 or 431.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            RequestError::TargetTooLong => StatusCode::URI_TOO_LONG,
            RequestError::HeadTooLarge | RequestError::TooManyHeaders | RequestError::TrailersTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            RequestError::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
