//! Everything that the gateway answers by itself on the data port: one enum, and for each the status, the reason that
//! machines read, and the words that people read. It makes no bytes: see `reply`.

pub(crate) mod cache;
pub(crate) mod page;
pub(crate) mod respond;

use std::sync::Arc;

use hyper::StatusCode;

use super::class_limits::ClassFull;
use super::upstream::error::ForwardError;
use super::upstream::exchange::GaveUp;
use super::upstream::pool::ConnectError;
use crate::access::AccessError;
use crate::control_handle::ChangeError;
use crate::gate::Published;
use crate::http1::RequestError;
use crate::policy::mode::{ModeRecord, Phase};
use crate::policy::path::PathRefusal;
use crate::telemetry::{Outcome, UpstreamFault};

/// Why a request was not answered by UCS.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its bytes are not unambiguous HTTP/1.1.
    #[error(transparent)]
    Wire(RequestError),
    /// Its path could be read in more than one way.
    #[error(transparent)]
    Path(PathRefusal),
    /// No route takes it.
    #[error("no route of the gateway takes this method and path")]
    Unmatched,
    /// The mode, or a flip under way, does not admit it.
    #[error("the mode does not admit it")]
    Mode(Arc<Published>),
    /// UCS has no profile schema.
    #[error("no profile schema is defined")]
    NoSchema(Arc<Published>),
    /// Its class has no room.
    #[error(transparent)]
    ClassFull(ClassFull),
    /// Set Server Mode as only a page of another site would send it: what about it.
    #[error("a page of another site may not set the mode: {0}")]
    CrossSite(&'static str),
    /// Set Server Mode without the right.
    #[error(transparent)]
    Access(AccessError),
    /// A known principal without this permission.
    #[error("the principal lacks the permission {0}")]
    Forbidden(&'static str),
    /// Set Server Mode with a body that it does not take.
    #[error("{0}")]
    BadModeRequest(String),
    /// Set Server Mode that did not succeed.
    #[error(transparent)]
    Change(ChangeError),
    /// No answer of UCS, or a bad body of the client.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Wire(fault) => fault.status(),
            Refusal::Path(_) | Refusal::BadModeRequest(_) => StatusCode::BAD_REQUEST,
            Refusal::Unmatched | Refusal::NoSchema(_) => StatusCode::NOT_FOUND,
            Refusal::Mode(_) | Refusal::ClassFull(_) | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Access(AccessError::Throttled { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Access(_) => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden(_) | Refusal::CrossSite(_) => StatusCode::FORBIDDEN,
            Refusal::Change(error) => change_status(error),
            Refusal::Forward(error) => forward_status(error),
        }
    }

    /// The reason for machines: stable, snake case, part of the contract.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Wire(fault) => fault.reason(),
            Refusal::Path(refusal) => refusal.reason(),
            Refusal::Unmatched => "unmatched",
            Refusal::Mode(published) => mode_reason(published),
            Refusal::NoSchema(_) => "no_profile_schema",
            Refusal::ClassFull(_) => "overload",
            Refusal::Access(AccessError::Throttled { .. }) => "too_many_attempts",
            Refusal::Access(_) => "unauthorized",
            Refusal::Forbidden(_) => "forbidden",
            Refusal::CrossSite(_) => "cross_site",
            Refusal::BadModeRequest(_) => "bad_mode_request",
            Refusal::Change(error) => error.reason(),
            Refusal::Forward(error) => forward_reason(error),
            Refusal::Stopping => "shutting_down",
        }
    }

    /// How metrics count it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Refusal::Wire(fault) if fault.status() == StatusCode::REQUEST_TIMEOUT => Outcome::ClientTimeout,
            Refusal::Wire(_) | Refusal::Path(_) | Refusal::BadModeRequest(_) => Outcome::BadRequest,
            Refusal::Unmatched => Outcome::Unmatched,
            Refusal::Mode(published) if is_switching(published) => Outcome::RefusedSwitching,
            Refusal::Mode(_) | Refusal::Stopping => Outcome::RefusedMode,
            Refusal::NoSchema(_) => Outcome::RefusedNoSchema,
            Refusal::ClassFull(_) => Outcome::Overload,
            Refusal::Access(_) => Outcome::Unauthorized,
            Refusal::Forbidden(_) | Refusal::CrossSite(_) => Outcome::Forbidden,
            Refusal::Change(_) => Outcome::Answered,
            Refusal::Forward(error) => error.outcome(),
        }
    }

    /// The record that it was refused by, where that matters.
    pub fn record(&self) -> Option<Arc<ModeRecord>> {
        match self {
            Refusal::Mode(published) | Refusal::NoSchema(published) => published.record.clone(),
            Refusal::Change(error) => error.record(),
            Refusal::Wire(_)
            | Refusal::Path(_)
            | Refusal::Unmatched
            | Refusal::ClassFull(_)
            | Refusal::Access(_)
            | Refusal::Forbidden(_)
            | Refusal::CrossSite(_)
            | Refusal::BadModeRequest(_)
            | Refusal::Forward(_)
            | Refusal::Stopping => None,
        }
    }

    /// The kind of UCS's failure, when it was UCS's.
    pub fn upstream_fault(&self) -> Option<UpstreamFault> {
        if let Refusal::Forward(error) = self { error.upstream_fault() } else { None }
    }

    /// Whether the connection ends with it, whatever is left of the request: nobody can tell where a next one would begin, or
    /// the client was waited for in vain (RFC 9110, 15.5.9).
    pub fn closes(&self) -> bool {
        match self {
            Refusal::Wire(_) | Refusal::Stopping => true,
            Refusal::Forward(_) => self.status() == StatusCode::REQUEST_TIMEOUT,
            _ => false,
        }
    }
}

fn is_switching(published: &Published) -> bool {
    published.record.as_ref().is_some_and(|record| record.phase == Phase::Switching)
}

fn mode_reason(published: &Published) -> &'static str {
    match &published.record {
        None => "mode_unknown",
        Some(record) if record.phase == Phase::Switching => "switching",
        Some(_) => "mode",
    }
}

fn change_status(error: &ChangeError) -> StatusCode {
    match error {
        // Documented: while UCS is switching, every request gets 503, Set Server Mode too (CV.WS.MODE).
        ChangeError::Busy(_) | ChangeError::Cancelled(_) | ChangeError::Stale(_) => StatusCode::SERVICE_UNAVAILABLE,
        ChangeError::Deadline { .. } | ChangeError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ChangeError::NoSchema(_) => StatusCode::NOT_FOUND,
        ChangeError::Upstream { .. } => StatusCode::BAD_GATEWAY,
        ChangeError::NotDurable { .. } => StatusCode::INSUFFICIENT_STORAGE,
    }
}

fn forward_status(error: &ForwardError) -> StatusCode {
    match error {
        ForwardError::Connect(ConnectError::Overload) => StatusCode::SERVICE_UNAVAILABLE,
        ForwardError::Connect(ConnectError::TimedOut(_)) => StatusCode::GATEWAY_TIMEOUT,
        ForwardError::Connect(_) | ForwardError::Broken(_) => StatusCode::BAD_GATEWAY,
        ForwardError::BadDocument | ForwardError::Switched => StatusCode::BAD_GATEWAY,
        ForwardError::GaveUp(why) => match why {
            GaveUp::FirstByte | GaveUp::UpstreamBody | GaveUp::ClientReading => StatusCode::GATEWAY_TIMEOUT,
            GaveUp::ClientBody | GaveUp::ClientPace => StatusCode::REQUEST_TIMEOUT,
            GaveUp::DrainClient | GaveUp::Cut => StatusCode::SERVICE_UNAVAILABLE,
        },
        ForwardError::BadBody => StatusCode::BAD_REQUEST,
        ForwardError::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn forward_reason(error: &ForwardError) -> &'static str {
    match error {
        ForwardError::Connect(ConnectError::Overload) => "overload",
        ForwardError::Connect(ConnectError::TimedOut(_)) => "upstream_connect_timeout",
        ForwardError::Connect(_) => "upstream_unreachable",
        ForwardError::Broken(_) | ForwardError::BadDocument | ForwardError::Switched => "upstream_broken",
        ForwardError::GaveUp(why) => match why {
            GaveUp::FirstByte => "upstream_timeout",
            GaveUp::UpstreamBody => "upstream_body_timeout",
            GaveUp::ClientBody => "body_timeout",
            GaveUp::ClientReading => "read_timeout",
            GaveUp::ClientPace => "body_too_slow",
            GaveUp::DrainClient => "drain_client_timeout",
            GaveUp::Cut => "cut",
        },
        ForwardError::BadBody => "bad_body",
        ForwardError::BodyTooLarge => "body_too_large",
    }
}
