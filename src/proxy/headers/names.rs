//! Field names: hop-by-hop fields, and fields that could make UCS handle another request than the classified one.
//! Lists only; `headers` decides about them.

use crate::http1::KnownName;

/// The field that marks responses of the gateway. It is dropped from the messages of clients and UCS, so it cannot be forged.
pub(crate) const UCS_GATEWAY: &str = "UCS-Gateway";

/// The field that asks for a bypass.
pub(crate) const UCS_GATEWAY_BYPASS: &str = "UCS-Gateway-Bypass";

/// Whether it is that field, in any case.
pub(super) fn is_mark(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(UCS_GATEWAY.as_bytes())
}

/// Whether a field is the gateway's own: it never passes.
pub(super) fn is_own(name: &[u8]) -> bool {
    is_mark(name) || name.eq_ignore_ascii_case(UCS_GATEWAY_BYPASS.as_bytes())
}

/// Fields that describe the message and not the hop.
pub(crate) fn is_end_to_end(name: KnownName) -> bool {
    matches!(name, KnownName::Host | KnownName::ContentLength | KnownName::TransferEncoding | KnownName::Trailer)
}

/// Fields of one hop only, whether or not `Connection` names them. `TE` is one of them: the gateway forwards trailers, but does
/// not ask UCS for them. `Trailer` is not, as trailers are forwarded.
#[inline]
pub(crate) fn is_hop_by_hop(name: KnownName) -> bool {
    matches!(
        name,
        KnownName::Connection
            | KnownName::KeepAlive
            | KnownName::ProxyConnection
            | KnownName::ProxyAuthenticate
            | KnownName::ProxyAuthorization
            | KnownName::Te
            | KnownName::TransferEncoding
            | KnownName::Upgrade
            | KnownName::Http2Settings
    )
}

/// Fields that could make UCS, or a server in front of it, handle another request than the classified one, or take it for that of
/// another client.
#[inline]
pub(crate) fn is_unwanted_upstream(name: KnownName) -> bool {
    is_override(name) || is_claimed_address(name)
}

/// Overrides of the method, and of the path or prefix, that servlet filters and proxies support.
fn is_override(name: KnownName) -> bool {
    matches!(
        name,
        KnownName::XHttpMethodOverride
            | KnownName::XHttpMethod
            | KnownName::XMethodOverride
            | KnownName::XMethod
            | KnownName::XOriginalUrl
            | KnownName::XOriginalUri
            | KnownName::XOriginalMethod
            | KnownName::XOriginalHost
            | KnownName::XRewriteUrl
            | KnownName::XRewriteUri
            | KnownName::XForwardedPrefix
            | KnownName::XForwardedPath
            | KnownName::XForwardedUri
            | KnownName::XForwardedMethod
            | KnownName::XEnvoyOriginalPath
            | KnownName::XEnvoyOriginalHost
            | KnownName::XEnvoyOriginalMethod
            | KnownName::XScriptName
            | KnownName::XServletPath
    )
}

/// Fields that state the client's address and that anybody can send. `X-Forwarded-For` is not one: the gateway appends to it.
fn is_claimed_address(name: KnownName) -> bool {
    matches!(
        name,
        KnownName::Forwarded
            | KnownName::XRealIp
            | KnownName::TrueClientIp
            | KnownName::XClientIp
            | KnownName::XClusterClientIp
            | KnownName::CfConnectingIp
            | KnownName::FastlyClientIp
    )
}

/// Whether a name with underscores is a field that matters for framing, routing or trust, for servers that read underscores as
/// dashes. Other names with underscores pass.
#[cold]
pub(super) fn is_disguised(name: &[u8]) -> bool {
    let dashed: Vec<u8> =
        name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }).collect();
    let known = KnownName::of(&dashed);
    name.contains(&b'_')
        && (is_hop_by_hop(known)
            || is_unwanted_upstream(known)
            || is_own(&dashed)
            || dashed.starts_with(b"x-forwarded-")
            || matches!(known, KnownName::ContentLength | KnownName::XRequestId))
}
