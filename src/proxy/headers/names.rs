//! Field names in lower case: hop-by-hop fields, and fields that could make UCS handle another request than the classified one.
//! Lists only; `headers` decides about them.

/// The field that marks responses of the gateway. It is dropped from the messages of clients and UCS, so it cannot be forged.
pub(crate) const UCS_GATEWAY: &str = "UCS-Gateway";

/// Whether it is that field.
#[inline]
pub(super) fn is_mark(name: &[u8]) -> bool {
    name == b"ucs-gateway"
}

/// Fields that describe the message and not the hop.
pub(crate) fn is_end_to_end(name: &[u8]) -> bool {
    matches!(name, b"host" | b"content-length" | b"transfer-encoding" | b"trailer")
}

/// Fields of one hop only, whether or not `Connection` names them. `TE` is one of them: the gateway forwards trailers, but does
/// not ask UCS for them. `Trailer` is not, as trailers are forwarded.
#[inline]
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
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

/// Fields that could make UCS, or a server in front of it, handle another request than the classified one, or take it for that of
/// another client; for names that begin with `x-`, see [`is_override`].
pub(crate) fn is_unwanted_upstream(name: &[u8]) -> bool {
    is_mark(name)
        || name == b"ucs-gateway-bypass"
        || is_claimed_address(name)
        || (name.contains(&b'_') && is_disguised(name))
}

/// Overrides of the method, and of the path or prefix, that servlet filters and proxies support; and claims about the client's
/// address.
pub(crate) fn is_override(name: &[u8]) -> bool {
    is_plain_override(name) || is_claimed_address(name) || (name.contains(&b'_') && is_disguised(name))
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

/// Fields that state the client's address and that anybody can send. `X-Forwarded-For` is not one: the gateway appends to it.
fn is_claimed_address(name: &[u8]) -> bool {
    matches!(
        name,
        b"forwarded"
            | b"x-real-ip"
            | b"true-client-ip"
            | b"x-client-ip"
            | b"x-cluster-client-ip"
            | b"cf-connecting-ip"
            | b"fastly-client-ip"
    )
}

/// Whether a name with underscores is a field that matters for framing, routing or trust, for servers that read underscores as
/// dashes. Other names with underscores pass.
#[cold]
fn is_disguised(name: &[u8]) -> bool {
    let dashed: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    is_hop_by_hop(&dashed)
        || is_plain_override(&dashed)
        || is_claimed_address(&dashed)
        || dashed.starts_with(b"x-forwarded-")
        || matches!(&dashed[..], b"content-length" | b"ucs-gateway" | b"ucs-gateway-bypass" | b"x-request-id")
}
