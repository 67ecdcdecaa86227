//! The settings of the data plane: where UCS is, limits and deadlines. It has no defaults: see `config`.

use std::time::Duration;

use super::upstream::exchange::ExchangeTimeouts;
use super::upstream::pool::PoolLimits;
use crate::http1::HeadLimits;
use crate::upstream::UpstreamUrl;

/// What every worker is told.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// The UCS behind the gateway.
    pub upstream: UpstreamUrl,
    /// Deadlines of an exchange.
    pub timeouts: ExchangeTimeouts,
    /// Limits of each worker's pool.
    pub pool: PoolLimits,
    /// Limits of a request's head.
    pub wire: HeadLimits,
    /// Deadlines of a client's connection.
    pub clients: ClientTimeouts,
    /// The longest body of a request, in bytes.
    pub max_body: u64,
    /// Client connections of all workers together; a further one is closed at once.
    pub max_connections: usize,
}

/// Deadlines of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From the first byte of a head to its end.
    pub header: Duration,
    /// How long a connection may be idle between requests, or before the first.
    pub idle: Duration,
    /// How long running requests may go on after the stop was asked for.
    pub stop: Duration,
}
