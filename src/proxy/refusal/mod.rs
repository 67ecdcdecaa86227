//! The refusals of the data port: one enum, and for each refusal its status, its machine-readable reason, and its text. It makes
//! no bytes: see `page` and `respond`.

pub(crate) mod cache;
pub(crate) mod log;
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
use crate::policy::fleet::Closed;
use crate::policy::mode::{ModeRecord, Phase};
use crate::policy::path::PathRefusal;
use crate::policy::table::NoRoute;
use crate::telemetry::{Outcome, UpstreamFault};

/// The reason why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request is malformed, or late.
    #[error(transparent)]
    Request(RequestError),
    #[error(transparent)]
    Path(PathRefusal),
    /// No route takes the method and path.
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    /// It has passed through gateways before.
    #[error("the request has passed through this gateway before: --upstream leads back to it")]
    Loop,
    /// The mode, a flip in progress, or a local close does not admit the request.
    #[error("the mode does not admit the request")]
    Mode(Arc<Published>),
    /// A bypass where UCS enforces the mode itself, or may.
    #[error(
        "UCS enforces its Server Mode itself, so a bypass would not help; validate with operations that both modes admit"
    )]
    UpstreamEnforces(Arc<Published>),
    #[error("no profile schema is defined")]
    NoSchema(Arc<Published>),
    /// The class has reached its limit.
    #[error(transparent)]
    ClassFull(ClassFull),
    /// Set Server Mode in a form that a page of another site can send, with the reason.
    #[error("a page of another site may not set the mode: {0}")]
    CrossSite(&'static str),
    /// Set Server Mode without valid credentials.
    #[error(transparent)]
    Access(AccessError),
    #[error("the principal lacks the permission {0}")]
    Forbidden(&'static str),
    /// Set Server Mode with an invalid body.
    #[error("{0}")]
    BadModeRequest(String),
    /// The mode change failed.
    #[error(transparent)]
    Change(ChangeError),
    /// UCS sent no usable response, or the client's body is bad.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("the gateway is shutting down")]
    Stopping,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::Request(error) => error.status(),
            Refusal::Path(_) | Refusal::BadModeRequest(_) => StatusCode::BAD_REQUEST,
            Refusal::NoRoute(NoRoute::Path) | Refusal::NoSchema(_) => StatusCode::NOT_FOUND,
            Refusal::NoRoute(NoRoute::Method { .. }) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NoRoute(NoRoute::UnknownMethod) => StatusCode::NOT_IMPLEMENTED,
            Refusal::Loop => StatusCode::LOOP_DETECTED,
            Refusal::Mode(_) | Refusal::ClassFull(_) | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Access(AccessError::Throttled { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Access(_) => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden(_) | Refusal::CrossSite(_) => StatusCode::FORBIDDEN,
            Refusal::UpstreamEnforces(_) => StatusCode::CONFLICT,
            Refusal::Change(error) => change_status(error),
            Refusal::Forward(error) => forward_status(error),
        }
    }

    /// The machine-readable reason: stable, snake case, part of the contract.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Refusal::Request(error) => error.reason(),
            Refusal::Path(refusal) => refusal.reason(),
            Refusal::NoRoute(no_route) => no_route.reason(),
            Refusal::Loop => "loop",
            Refusal::Mode(published) => mode_reason(published),
            Refusal::UpstreamEnforces(_) => "upstream_enforces",
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

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Refusal::Request(error) if error.status() == StatusCode::REQUEST_TIMEOUT => Outcome::ClientTimeout,
            Refusal::Request(_) | Refusal::Path(_) | Refusal::BadModeRequest(_) | Refusal::Loop => Outcome::BadRequest,
            Refusal::NoRoute(_) => Outcome::Unmatched,
            Refusal::Mode(published) if published.local.is_some() => Outcome::RefusedLocalClose,
            Refusal::Mode(published) if is_switching(published) => Outcome::RefusedSwitching,
            Refusal::Mode(_) | Refusal::UpstreamEnforces(_) | Refusal::Stopping => Outcome::RefusedMode,
            Refusal::NoSchema(_) => Outcome::RefusedNoSchema,
            Refusal::ClassFull(_) => Outcome::Overload,
            Refusal::Access(_) => Outcome::Unauthorized,
            Refusal::Forbidden(_) | Refusal::CrossSite(_) => Outcome::Forbidden,
            Refusal::Change(_) => Outcome::Answered,
            Refusal::Forward(error) => error.outcome(),
        }
    }

    /// The mode record behind the refusal, if there is one.
    pub(crate) fn record(&self) -> Option<Arc<ModeRecord>> {
        match self {
            Refusal::Mode(published) | Refusal::UpstreamEnforces(published) | Refusal::NoSchema(published) => {
                published.record.clone()
            }
            Refusal::Change(error) => error.record(),
            Refusal::Request(_)
            | Refusal::Path(_)
            | Refusal::NoRoute(_)
            | Refusal::Loop
            | Refusal::ClassFull(_)
            | Refusal::Access(_)
            | Refusal::Forbidden(_)
            | Refusal::CrossSite(_)
            | Refusal::BadModeRequest(_)
            | Refusal::Forward(_)
            | Refusal::Stopping => None,
        }
    }

    /// The kind of failure, if UCS failed.
    pub(crate) fn upstream_fault(&self) -> Option<UpstreamFault> {
        if let Refusal::Forward(error) = self { error.upstream_fault() } else { None }
    }

    /// Whether the connection closes after the response: the start of the next request is unknown, or the client was too slow
    /// (RFC 9110, 15.5.9).
    pub(crate) fn closes(&self) -> bool {
        match self {
            Refusal::Request(_) | Refusal::Stopping => true,
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
        // Before the others: neither a flip nor its end opens this gateway.
        _ if published.local.is_some() => "local_close",
        None => "mode_unknown",
        Some(record) if record.phase == Phase::Switching => "switching",
        Some(_) => match published.closed {
            None => "mode",
            Some(Closed::Fenced) => "fenced",
            Some(Closed::Behind | Closed::NoSchema) => "upstream_behind",
            Some(Closed::AnotherStore) => "store_unavailable",
            Some(Closed::Joining | Closed::Leaving) => "mode_unknown",
        },
    }
}

fn change_status(error: &ChangeError) -> StatusCode {
    match error {
        // Documented: while UCS is switching, every request gets 503, including Set Server Mode (CV.WS.MODE).
        ChangeError::Busy(_) | ChangeError::Cancelled(_) | ChangeError::Stale(_) => StatusCode::SERVICE_UNAVAILABLE,
        ChangeError::MemberMissing { .. } | ChangeError::StoreUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        ChangeError::NotInFleet(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            GaveUp::DrainClient | GaveUp::Cut | GaveUp::Overload => StatusCode::SERVICE_UNAVAILABLE,
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
            GaveUp::Overload => "overload",
        },
        ForwardError::BadBody => "bad_body",
        ForwardError::BodyTooLarge => "body_too_large",
    }
}
