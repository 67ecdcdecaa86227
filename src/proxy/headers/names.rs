//! Names of headers, in lower case: which end at the gateway, and which would have UCS do something else than what was
//! classified. Pure lists; what is done about them is decided in `headers`.

use hyper::header::HeaderName;

/// The gateway's own mark: it spoke, and not UCS, which never sends it. No client can make UCS or a log believe in it.
pub const UCS_GATEWAY: HeaderName = HeaderName::from_static("ucs-gateway");

/// What describes the message that goes on, and not the hop.
pub fn is_of_the_message(name: &[u8]) -> bool {
    matches!(name, b"host" | b"content-length" | b"transfer-encoding" | b"trailer")
}

/// Headers that mean one hop only, whether or not `Connection` names them. `TE` goes as well: trailers are forwarded as
/// they come, and the gateway asks UCS for none. `Trailer` stays, because the trailers do.
#[inline]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"te"
            | b"transfer-encoding"
            | b"upgrade"
            | b"http2-settings"
    )
}

/// What would make UCS, or a server in front of it, do something else than what was classified; names that begin with
/// `x-` are for [`is_override`].
pub fn is_unwanted_upstream(name: &[u8]) -> bool {
    name == UCS_GATEWAY.as_str().as_bytes() || (memchr::memchr(b'_', name).is_some() && is_disguised(name))
}

/// Overrides of the method, and of the path or prefix that servlet filters and proxies honour.
pub fn is_override(name: &[u8]) -> bool {
    is_plain_override(name) || (memchr::memchr(b'_', name).is_some() && is_disguised(name))
}

fn is_plain_override(name: &[u8]) -> bool {
    matches!(
        name,
        b"x-http-method-override"
            | b"x-http-method"
            | b"x-method-override"
            | b"x-method"
            | b"x-original-url"
            | b"x-original-uri"
            | b"x-original-method"
            | b"x-original-host"
            | b"x-rewrite-url"
            | b"x-rewrite-uri"
            | b"x-forwarded-prefix"
            | b"x-forwarded-path"
            | b"x-forwarded-uri"
            | b"x-forwarded-method"
            | b"x-envoy-original-path"
            | b"x-envoy-original-host"
            | b"x-envoy-original-method"
            | b"x-script-name"
            | b"x-servlet-path"
    )
}

/// Whether a name with underscores is, for servers that take these for dashes, a header that matters to framing, routing
/// or trust. Other underscore names are the client's business.
#[cold]
fn is_disguised(name: &[u8]) -> bool {
    let dashed: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    is_hop_by_hop(&dashed)
        || is_plain_override(&dashed)
        || dashed.starts_with(b"x-forwarded-")
        || matches!(&dashed[..], b"content-length" | b"ucs-gateway" | b"x-real-ip" | b"x-request-id")
}
