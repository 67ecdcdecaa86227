//! The settings of the data plane: the upstream, limits and deadlines. It has no defaults: see `config`.

use std::sync::Arc;
use std::time::Duration;

use super::headers::TrustedProxies;
use super::origins::AllowedOrigins;
use super::upstream::exchange::ExchangeTimeouts;
use super::upstream::pool::PoolLimits;
use crate::http1::HeadLimits;
use crate::transport::{TlsServer, Upstream};

/// The settings of every worker.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// UCS.
    pub(crate) upstream: Upstream,
    /// TLS of the data port.
    pub(crate) tls: Option<Arc<TlsServer>>,
    /// Whether clients may speak HTTP/2 without TLS.
    pub(crate) h2c: bool,
    pub(crate) timeouts: ExchangeTimeouts,
    /// Limits of each worker's pool.
    pub(crate) pool: PoolLimits,
    /// Limits of a request's head.
    pub(crate) wire: HeadLimits,
    /// Deadlines of a client's connection.
    pub(crate) clients: ClientTimeouts,
    /// The longest request body, in bytes.
    pub(crate) max_body: u64,
    /// The most client connections of all workers together; a further one is closed at once.
    pub max_connections: usize,
    /// The longest `Retry-After` of a 503.
    pub max_retry_after: Duration,
    /// The origins whose pages may read the gateway's own responses.
    pub(crate) origins: AllowedOrigins,
    /// The proxies whose fields name the client.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Whether the gateway itself responds to `GET /livez`.
    pub livez: bool,
}

/// Deadlines of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTimeouts {
    /// From the first byte of a request head to its end.
    pub(crate) header: Duration,
    /// How long a connection may be idle between requests, or before the first.
    pub(crate) idle: Duration,
    /// The same once the gateway is stopping.
    pub(crate) linger: Duration,
}
