//! Pages of other origins (Fetch, 3.2): with `--allow-origin` they may read the gateway's own responses, and so tell maintenance
//! from an outage, and get responses to the preflights of refused routes. Responses of UCS keep their own fields.

use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::classify::RouteMatch;
use super::context::Worker;
use super::headers::UCS_GATEWAY;
use super::origins::{Access, AllowedOrigins};
use super::refusal::Refusal;
use super::request_log::RequestLog;
use super::response::Response;
use crate::http1::RequestHead;
use crate::policy::table::NoRoute;
use crate::telemetry::Outcome;

/// The header fields that such a page may read, beside those that every page may.
const EXPOSED: &str = "UCS-Gateway, Retry-After, Allow";

/// Adds the fields of a response of the gateway itself.
pub(crate) fn mark(origins: &AllowedOrigins, response: &mut Response, head: &RequestHead) {
    if origins.is_varied() {
        response.add("Vary", "Origin");
    }
    let Some(access) = origins.access(head) else { return };
    match access {
        Access::Listed(origin) => {
            response.add("Access-Control-Allow-Origin", origin);
            response.add("Access-Control-Allow-Credentials", "true");
        }
        Access::Any => response.add("Access-Control-Allow-Origin", "*"),
    }
    response.add("Access-Control-Expose-Headers", EXPOSED);
}

/// Whether this is the preflight of a request that would get this refusal: it must succeed, so that the page can read that.
pub(crate) fn takes_preflight(origins: &AllowedOrigins, head: &RequestHead, refusal: &Refusal) -> bool {
    head.method == Method::OPTIONS
        && matches!(refusal, Refusal::Mode(_) | Refusal::NoSchema(_) | Refusal::NoRoute(NoRoute::Path))
        && head.fields.contains("access-control-request-method")
        && origins.access(head).is_some()
}

/// Responds to a preflight. The browser keeps the response for no later request: after a flip, UCS's own rules hold.
pub(crate) fn preflight(
    worker: &Worker,
    head: &RequestHead,
    matched: Option<&RouteMatch>,
    request_log: &mut RequestLog,
) -> Box<Response> {
    request_log.outcome = Outcome::Answered;
    let table = worker.gate.table();
    request_log.class_slot = match matched {
        Some(matched) => worker.class_slot(&matched.table, matched.class()),
        None => worker.class_slot(&table, None),
    };
    let mut response = Response::own(StatusCode::NO_CONTENT, Bytes::new(), &worker.buffers);
    for (asked, allowed) in [
        ("access-control-request-method", "Access-Control-Allow-Methods"),
        ("access-control-request-headers", "Access-Control-Allow-Headers"),
    ] {
        head.fields.values(asked).for_each(|value| response.add(allowed, value));
    }
    response.add("Access-Control-Max-Age", "0");
    response.add(UCS_GATEWAY, "answered");
    response
}
