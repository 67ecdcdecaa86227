//! Why UCS's response cannot be passed on, and how that counts.

use super::exchange::GaveUp;
use super::pool::ConnectError;
use crate::http1::ResponseError;
use crate::telemetry::{Outcome, UpstreamFault};

/// Why there is no answer of UCS to pass on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// UCS closed the connection, or answered what is not HTTP.
    #[error("UCS's answer is broken: {0}")]
    Broken(#[from] ResponseError),
    /// UCS's answer to an operation that the gateway answers is not what it should be.
    #[error("UCS's answer cannot be read, or is too long")]
    BadDocument,
    /// UCS left HTTP, which no request that reaches it asks for: `Upgrade` ends at the gateway.
    #[error("UCS switched to another protocol, which nobody asked it for")]
    Switched,
    /// A deadline passed, or a flip cut the exchange off.
    #[error("given up: {0:?}")]
    GaveUp(GaveUp),
    /// The request's body has bad framing, or its sender went away.
    #[error("the request's body ended early")]
    BadBody,
    /// The request's body is longer than the limit.
    #[error("the request's body is longer than allowed")]
    BodyTooLarge,
}

impl ForwardError {
    /// How metrics count it, as a refusal or as the end of an answer that had begun.
    pub fn outcome(&self) -> Outcome {
        match self {
            ForwardError::Connect(ConnectError::Overload) => Outcome::Overload,
            ForwardError::Connect(ConnectError::TimedOut(_)) => Outcome::UpstreamTimeout,
            ForwardError::Connect(_) => Outcome::UpstreamUnreachable,
            ForwardError::Broken(_) | ForwardError::BadDocument | ForwardError::Switched => Outcome::UpstreamBroken,
            ForwardError::GaveUp(why) => match why {
                GaveUp::FirstByte | GaveUp::UpstreamBody => Outcome::UpstreamTimeout,
                GaveUp::ClientBody | GaveUp::ClientReading | GaveUp::ClientPace => Outcome::ClientTimeout,
                GaveUp::DrainClient => Outcome::DrainClientTimeout,
                GaveUp::Cut => Outcome::Cut,
            },
            ForwardError::BadBody => Outcome::BadRequest,
            ForwardError::BodyTooLarge => Outcome::TooLarge,
        }
    }

    /// The kind of UCS's failure, when it was UCS's.
    pub fn upstream_fault(&self) -> Option<UpstreamFault> {
        match self {
            ForwardError::Connect(ConnectError::TimedOut(_)) => Some(UpstreamFault::ConnectTimeout),
            ForwardError::Connect(ConnectError::Overload) => Some(UpstreamFault::PoolFull),
            ForwardError::Connect(_) => Some(UpstreamFault::Connect),
            ForwardError::Broken(fault) if fault.is_malformed() => Some(UpstreamFault::Malformed),
            ForwardError::Broken(_) => Some(UpstreamFault::Closed),
            ForwardError::BadDocument | ForwardError::Switched => Some(UpstreamFault::Malformed),
            ForwardError::GaveUp(GaveUp::FirstByte) => Some(UpstreamFault::FirstByteTimeout),
            ForwardError::GaveUp(GaveUp::UpstreamBody) => Some(UpstreamFault::IdleBodyTimeout),
            ForwardError::GaveUp(GaveUp::ClientBody | GaveUp::ClientReading | GaveUp::ClientPace) => None,
            ForwardError::GaveUp(GaveUp::DrainClient | GaveUp::Cut) => None,
            ForwardError::BadBody | ForwardError::BodyTooLarge => None,
        }
    }
}
