//! The same tests over TLS: with `UCS_GATEWAY_IT_TLS=1` every gateway speaks TLS on its data port and to UCS, and tunnels
//! stand between it and clients and upstreams that do not.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::tls::{self, Authority, Identity};

struct Everywhere {
    authority: Authority,
    identity: Identity,
}

/// `None` in an ordinary run.
fn everywhere() -> Option<&'static Everywhere> {
    static EVERYWHERE: OnceLock<Option<Everywhere>> = OnceLock::new();
    let make = || {
        std::env::var_os("UCS_GATEWAY_IT_TLS")?;
        let authority = Authority::new("everywhere");
        let identity = authority.issue("server");
        Some(Everywhere { authority, identity })
    };
    EVERYWHERE.get_or_init(make).as_ref()
}

/// The flags of the upstream.
pub fn upstream(upstream: SocketAddr) -> Vec<String> {
    let Some(everywhere) = everywhere() else { return vec!["--upstream".into(), format!("http://{upstream}")] };
    let address = tls::terminator(upstream, Arc::new(everywhere.identity.server(None)));
    let ca = everywhere.authority.certificate().display().to_string();
    vec!["--upstream".into(), format!("https://{address}"), "--upstream-ca".into(), ca]
}

/// The flags of the data port.
pub fn listener() -> Vec<String> {
    everywhere().map(|everywhere| everywhere.identity.flags("--tls")).unwrap_or_default()
}

/// Where a client connects that speaks no TLS.
pub fn entrance(data: SocketAddr) -> SocketAddr {
    everywhere().map_or(data, |everywhere| tls::tunnel(data, everywhere.authority.client(None)))
}
