//! The settings of the data plane: the upstream, limits and deadlines. It has no defaults: see `config`.

use std::time::Duration;

use super::upstream::exchange::ExchangeTimeouts;
use super::upstream::pool::PoolLimits;
use crate::http1::HeadLimits;
use crate::upstream::UpstreamUrl;

/// The settings of every worker.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// The URL of UCS.
    pub upstream: UpstreamUrl,
    /// Deadlines of an exchange.
    pub timeouts: ExchangeTimeouts,
    /// Limits of each worker's pool.
    pub pool: PoolLimits,
    /// Limits of a request's head.
    pub wire: HeadLimits,
    /// Deadlines of a client's connection.
    pub clients: ClientTimeouts,
    /// The longest request body, in bytes.
    pub max_body: u64,
    /// The most client connections of all workers together; a further one is closed at once.
    pub max_connections: usize,
    /// The longest `Retry-After` of a refusal.
    pub max_retry_after: Duration,
}

/// Deadlines of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From the first byte of a request head to its end.
    pub header: Duration,
    /// How long a connection may be idle between requests, or before the first.
    pub idle: Duration,
    /// How long requests in flight may continue after shutdown is requested.
    pub stop: Duration,
}
