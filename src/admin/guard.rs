//! The checks before any call: `Host` (DNS rebinding), the site of the page (cross-site requests), and the credential. It
//! reads heads only.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};

use super::response::Problem;
use super::state::{AdminState, Arrival};
use crate::access::{AccessError, Permission, Principal, site};
use crate::telemetry::trace_context;

/// The site of the page behind a request, as the browser reports it (Fetch Metadata).
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Rejects foreign host names and pages of other sites. A browser cannot reach a unix socket, so any host name is accepted
/// there.
pub(super) fn check_site(
    state: &AdminState,
    arrival: &Arrival,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail);
    let host = only(headers, HOST).map_err(|()| bad("there must be exactly one Host header"))?;
    let host = host.ok_or_else(|| bad("there must be exactly one Host header"))?;
    if let Some(local) = arrival.local
        && !is_own_name(host, local, &state.parts.allowed_hosts)
    {
        let detail = format!(
            "the admin API does not accept the host name {host:?}; use its address, or add the name with --admin-host"
        );
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", detail));
    }
    let origin = only(headers, ORIGIN).map_err(|()| bad("there must be at most one Origin header"))?;
    let cross_site = |page: &str| {
        let detail = format!("{page} may not call the admin API; use the page that the gateway serves");
        Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail))
    };
    if let Some(origin) = origin.filter(|origin| !site::is_same_site(origin, host)) {
        return cross_site(&format!("a page of {origin:?}"));
    }
    // Safe methods do no harm: the page cannot read the response, and following a link is such a request.
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let elsewhere = |site: &HeaderValue| site.to_str().map_or(true, site::is_fetched_from_elsewhere);
    if !method.is_safe() && sites.any(elsewhere) {
        return cross_site("a page of another site");
    }
    Ok(())
}

/// Who makes a call: the principal, and the ids of the call's trace, which its events carry.
pub(super) struct Caller {
    pub(super) name: Arc<str>,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
}

impl Caller {
    fn of(principal: &Principal, headers: &HeaderMap) -> Caller {
        let parents = headers.get_all("traceparent").iter().map(HeaderValue::as_bytes);
        let (trace_id, span_id) = trace_context::trace_and_span(parents);
        let [trace_id, span_id] = [trace_id, span_id].map(|id| id.map(str::to_owned));
        Caller { name: principal.name.clone(), trace_id, span_id }
    }
}

/// Authenticates the caller and checks the permission.
pub(super) async fn check_access(
    state: &AdminState,
    arrival: &Arrival,
    headers: &HeaderMap,
    wanted: Permission,
) -> Result<Caller, Problem> {
    let malformed = || denied(headers, &AccessError::Malformed);
    let authorization = only(headers, AUTHORIZATION).map_err(|()| malformed())?;
    // A credential in the request decides before the certificate, which a browser sends by itself.
    let certificate = arrival.certificate.as_ref().filter(|_| authorization.is_none());
    let principal = match certificate.and_then(|certificate| state.parts.access.by_certificate(certificate)) {
        Some(principal) => Ok(principal),
        None => {
            arrival.slot.begin_check();
            let principal = state.parts.access.authenticate(authorization, arrival.peer).await;
            arrival.slot.end_check();
            principal
        }
    };
    let principal = principal.map_err(|error| denied(headers, &error))?;
    arrival.slot.authenticate(&principal.name)?;
    let caller = Caller::of(&principal, headers);
    if principal.permissions.allow(wanted) {
        return Ok(caller);
    }
    let detail = format!("{} lacks the permission {}", principal.name, wanted.as_str());
    let (Caller { name, trace_id, span_id }, permission) = (caller, wanted.as_str());
    tracing::warn!(principal = %name, permission, trace_id, span_id, "admin call forbidden: missing permission");
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).with("permission", wanted.as_str()))
}

fn denied(headers: &HeaderMap, error: &AccessError) -> Problem {
    if let AccessError::Throttled { retry_after } = error {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", error.to_string());
        return problem.retry_after(retry_after.as_secs());
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", error.to_string());
    let problem = problem.challenge("Bearer realm=\"ucs-gateway\"");
    // On a Basic challenge, a browser would show its own dialogue, and then attach the password to every further request.
    if headers.contains_key("sec-fetch-mode") {
        return problem;
    }
    problem.challenge("Basic realm=\"ucs-gateway\", charset=\"UTF-8\"")
}

/// The value of a header that may occur once; `Err` if it occurs twice or is not text.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

fn is_own_name(host: &str, local: IpAddr, allowed: &[String]) -> bool {
    let Some(name) = host_name(host) else { return false };
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        let address = address.to_canonical();
        let is_allowed = || allowed.iter().any(|allowed| allowed.parse() == Ok(address));
        return address.is_loopback() || address == local || is_allowed();
    }
    name.eq_ignore_ascii_case("localhost") || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
}

/// The host without its port.
fn host_name(host: &str) -> Option<String> {
    let authority: hyper::http::uri::Authority = host.parse().ok()?;
    // Userinfo is not allowed in Host; accepting it would allow spoofing.
    (!authority.as_str().contains('@')).then(|| authority.host().trim_end_matches('.').to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_accepted() {
        let local: IpAddr = "10.1.2.3".parse().unwrap();
        let allowed = ["gw.example".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:8081",
            "[::1]:8081",
            "10.1.2.3:8081",
            "GW.example",
            "gw.example.:1",
        ] {
            assert!(is_own_name(host, local, &allowed), "{host}");
        }
        for host in
            ["evil.example", "10.1.2.4", "localhost.evil.example", "a@localhost", "", "gw.example.evil", "local host"]
        {
            assert!(!is_own_name(host, local, &allowed), "{host}");
        }
    }
}
