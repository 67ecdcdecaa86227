//! The errors of forwarding, and their outcome in the metrics.

use super::exchange::GaveUp;
use super::pool::ConnectError;
use crate::http1::ResponseError;
use crate::telemetry::{Outcome, UpstreamFault};

/// The reason why there is no response of UCS to pass on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// UCS closed the connection, or its response is not HTTP.
    #[error("invalid response from UCS: {0}")]
    Broken(#[from] ResponseError),
    /// UCS's response to a local operation cannot be read.
    #[error("the response from UCS cannot be read, or is too long")]
    BadDocument,
    /// UCS switched protocols without being asked: `Upgrade` is not forwarded.
    #[error("UCS switched to another protocol without being asked")]
    Switched,
    /// A deadline passed, or a flip cut the exchange.
    #[error("given up: {0:?}")]
    GaveUp(GaveUp),
    /// The request's body has bad framing, or the client disconnected.
    #[error("the request's body ended early")]
    BadBody,
    #[error("the request's body is longer than allowed")]
    BodyTooLarge,
}

impl ForwardError {
    /// The outcome in the metrics, of a refusal or of a response that ended early.
    pub(crate) fn outcome(&self) -> Outcome {
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
                GaveUp::Overload => Outcome::Overload,
            },
            ForwardError::BadBody => Outcome::BadRequest,
            ForwardError::BodyTooLarge => Outcome::TooLarge,
        }
    }

    /// The kind of failure, if UCS failed.
    pub(crate) fn upstream_fault(&self) -> Option<UpstreamFault> {
        match self {
            ForwardError::Connect(ConnectError::TimedOut(_)) => Some(UpstreamFault::ConnectTimeout),
            ForwardError::Connect(ConnectError::Overload) | ForwardError::GaveUp(GaveUp::Overload) => {
                Some(UpstreamFault::PoolFull)
            }
            ForwardError::Connect(_) => Some(UpstreamFault::Connect),
            ForwardError::Broken(error) if error.is_malformed() => Some(UpstreamFault::Malformed),
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
