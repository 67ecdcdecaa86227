//! What can be wrong with the bytes of a request, each with its reason word, its status and a sentence for people.

use hyper::http::StatusCode;

/// Why the guard stopped a connection. The text says what was wrong and what to send instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// More than two empty lines before the request line.
    #[error("More than two empty lines stand before the request line; send the request line first.")]
    EmptyLines,
    /// The method is empty, longer than 32 bytes, or not a token.
    #[error("The method is not a token of 1 to 32 characters (RFC 9110, 9.1).")]
    Method,
    /// CONNECT: the gateway is no tunnel.
    #[error("CONNECT is refused: this gateway forwards to one server and opens no tunnels.")]
    Connect,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("The request line does not end in HTTP/1.1 or HTTP/1.0, the versions spoken here.")]
    Version,
    /// The HTTP/2 preface on a connection that speaks HTTP/1.1.
    #[error("HTTP/2 with prior knowledge is not spoken here; use HTTP/1.1.")]
    Http2Preface,
    /// The target is no origin form and no http(s) absolute form, or holds a character that must be escaped.
    #[error("The request target is not a valid path or http(s) URL: escape spaces, controls and non-ASCII characters.")]
    Target,
    /// The target holds `#`.
    #[error("The request target holds a fragment (#), which must not be sent; escape it as %23 if it is data.")]
    Fragment,
    /// `*` with a method other than OPTIONS.
    #[error("The request target * is for OPTIONS alone.")]
    Asterisk,
    /// The target is longer than the limit.
    #[error("The request target is longer than this gateway accepts.")]
    TargetTooLong,
    /// The head is longer than the limit.
    #[error("The request head is longer than this gateway accepts.")]
    HeadTooLarge,
    /// More header lines than the limit.
    #[error("The request has more header lines than this gateway accepts.")]
    TooManyHeaders,
    /// The head was not complete in time.
    #[error("The request head was not complete in time.")]
    HeaderTimeout,
    /// A line ends in LF without CR.
    #[error("A line ends in LF alone; end lines in CR LF.")]
    BareLf,
    /// CR without LF.
    #[error("A CR stands without its LF.")]
    BareCr,
    /// A header line begins with white space.
    #[error("A header line begins with white space (obsolete line folding); write each header on one line.")]
    ObsFold,
    /// White space between a header's name and its colon.
    #[error("White space stands between a header name and its colon.")]
    SpaceBeforeColon,
    /// A header line without a colon.
    #[error("A header line has no colon.")]
    MissingColon,
    /// An empty header name, or one that is not a token.
    #[error("A header name is empty or not a token (RFC 9110, 5.1).")]
    HeaderName,
    /// NUL or another control character in a header line.
    #[error("A header line holds a control character.")]
    ControlCharacter,
    /// No Host on HTTP/1.1.
    #[error("The Host header is missing; HTTP/1.1 requires exactly one.")]
    HostMissing,
    /// More than one Host.
    #[error("There is more than one Host header; send exactly one.")]
    HostRepeated,
    /// A Host that is no host with an optional port.
    #[error("The Host header is not a host name or address with an optional port.")]
    HostInvalid,
    /// Both Content-Length and Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding exclude each other; send one of them.")]
    LengthAndEncoding,
    /// Content-Length more than once, also as a list, also when equal.
    #[error("Content-Length is given more than once; send it once.")]
    LengthRepeated,
    /// Content-Length is no decimal number, or too large for one.
    #[error("Content-Length is not a decimal number below 2^63.")]
    LengthInvalid,
    /// Transfer-Encoding is not exactly one `chunked`.
    #[error("Transfer-Encoding must be a single \"chunked\".")]
    EncodingUnsupported,
    /// Transfer-Encoding on HTTP/1.0.
    #[error("Transfer-Encoding is not part of HTTP/1.0; send Content-Length, or HTTP/1.1.")]
    EncodingOnHttp10,
    /// A chunk size that is no hexadecimal number of at most 16 digits, followed by CR LF or an extension.
    #[error("A chunk size is not a hexadecimal number of 1 to 16 digits that ends in CR LF.")]
    ChunkSize,
    /// A chunk extension with a control character, or more than 1 KiB of them in one body.
    #[error("The chunk extensions hold a control character or exceed 1 KiB.")]
    ChunkExtension,
    /// No CR LF after a chunk's data.
    #[error("A chunk's data is not followed by CR LF; its size and its data disagree.")]
    ChunkEnd,
    /// A field in the trailers that belongs in the head.
    #[error("The trailers hold a field that is only allowed in the head.")]
    TrailerForbidden,
    /// Trailers longer than the limit.
    #[error("The trailers are longer than this gateway accepts.")]
    TrailersTooLarge,
    /// The client ended its stream inside a body.
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

    /// The status that the gateway answers with: 400, 408, 414 or 431.
    pub fn status(self) -> StatusCode {
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
