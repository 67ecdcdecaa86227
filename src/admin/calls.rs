//! The path of an admin call: site check, routing, credential, handler. Every error becomes a problem document.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use std::time::Duration;

use super::guard::Caller;
use super::mode_calls::Wanted;
use super::response::{AdminResponse, Problem};
use super::state::{AdminState, Arrival};
use super::{
    events, fleet_calls, forecast, guard, local_calls, mode_calls, page, probes, response, route_calls, traffic_calls,
};
use crate::access::Permission;

/// The largest accepted body, in bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// The timeout for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Some clients put it before JSON.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const OPENAPI: &str = include_str!("openapi.json");

/// Every call of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    ShowMode,
    Change(Change),
    Events,
    History,
    Preview,
    Traffic,
    Fleet,
    Routes,
    Explain,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Page,
}

/// The calls that change state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Mode,
    Local,
    Reload,
}

/// The requirements of a call.
enum Needs {
    Nothing,
    /// Any `Host` is accepted: the probes of an orchestrator do not know the names of the gateway.
    NothingNotEvenAHost,
    This(Permission),
}

impl Call {
    fn needs(self, state: &AdminState) -> Needs {
        match self {
            Call::Live | Call::Ready => Needs::NothingNotEvenAHost,
            Call::Page => Needs::Nothing,
            Call::Metrics if state.parts.metrics_open => Needs::Nothing,
            Call::Change(Change::Mode | Change::Local) => Needs::This(Permission::ModeSet),
            Call::Change(Change::Reload) => Needs::This(Permission::RoutesReload),
            Call::ShowMode
            | Call::Events
            | Call::History
            | Call::Preview
            | Call::Traffic
            | Call::Fleet
            | Call::Routes
            | Call::Explain
            | Call::Metrics
            | Call::OpenApi => Needs::This(Permission::ModeRead),
        }
    }
}

pub(super) async fn respond(state: &AdminState, arrival: &Arrival, request: Request<Incoming>) -> AdminResponse {
    // A client with many calls gives way to new clients.
    let delay = arrival.slot.delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let _call = arrival.slot.begin();
    handle(state, arrival, request).await.unwrap_or_else(Problem::into_response)
}

async fn handle(state: &AdminState, arrival: &Arrival, request: Request<Incoming>) -> Result<AdminResponse, Problem> {
    let (head, body) = request.into_parts();
    // From before the credential is checked, so that no reload is missed.
    let superseded = state.parts.access.changed();
    let query = head.uri.query();
    match admit(state, arrival, &head).await? {
        (Call::Change(change), Some(caller)) => {
            check_json(&head.headers)?;
            let body = read_body(body).await?;
            arrival.slot.begin_change()?;
            change.make(state, &caller, &body).await
        }
        (Call::ShowMode, _) => mode_calls::show(state),
        (Call::Events, _) if head.method == Method::HEAD => {
            Ok(response::whole(StatusCode::OK, "text/event-stream", ""))
        }
        (Call::Events, _) => Ok(events::follow(state, arrival.slot.begin_stream()?, superseded)),
        (Call::History, _) => mode_calls::history(state, query).await,
        (Call::Preview, _) => forecast::preview(state, query),
        (Call::Traffic, _) => Ok(traffic_calls::show(state)),
        (Call::Fleet, _) => fleet_calls::show(state).await,
        (Call::Routes, _) => route_calls::show(state).await,
        (Call::Explain, _) => route_calls::explain(state, query),
        (Call::Live, _) => Ok(probes::live(state).await),
        (Call::Ready, _) => Ok(probes::ready(state)),
        (Call::Metrics, _) => probes::metrics(state),
        (Call::OpenApi, _) => Ok(response::whole(StatusCode::OK, "application/json", OPENAPI)),
        (Call::Page, _) => Ok(page::page()),
        (Call::Change(_), None) => {
            Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a credential is required"))
        }
    }
}

/// The call, and who makes it: nobody in particular if the call needs no permission.
async fn admit(state: &AdminState, arrival: &Arrival, head: &Parts) -> Result<(Call, Option<Caller>), Problem> {
    let call = find(&head.method, head.uri.path());
    let open_to_all = matches!(&call, Ok(call) if matches!(call.needs(state), Needs::NothingNotEvenAHost));
    if !open_to_all {
        guard::check_site(state, arrival, &head.method, &head.headers)?;
    }
    let call = call?;
    let caller = match call.needs(state) {
        Needs::This(permission) => Some(guard::check_access(state, arrival, &head.headers, permission).await?),
        Needs::Nothing | Needs::NothingNotEvenAHost => None,
    };
    Ok((call, caller))
}

impl Change {
    async fn make(self, state: &AdminState, caller: &Caller, body: &[u8]) -> Result<AdminResponse, Problem> {
        match self {
            Change::Mode => match mode_calls::read_change(body, caller)? {
                Wanted { rehearses: true, change, .. } => forecast::rehearse(state, change).await,
                wanted => mode_calls::set(state, caller, wanted).await,
            },
            Change::Local => local_calls::set(state, caller, body).await,
            Change::Reload => route_calls::reload(state, caller, body).await,
        }
    }
}

/// The call of a method and path. HEAD is GET without the body, which hyper omits.
fn find(method: &Method, path: &str) -> Result<Call, Problem> {
    let (get, other) = match path {
        "/" => (Some(Call::Page), None),
        "/mode" => (Some(Call::ShowMode), Some((Method::PUT, Call::Change(Change::Mode)))),
        "/local" => (None, Some((Method::PUT, Call::Change(Change::Local)))),
        "/mode/events" => (Some(Call::Events), None),
        "/mode/history" => (Some(Call::History), None),
        "/mode/preview" => (Some(Call::Preview), None),
        "/traffic" => (Some(Call::Traffic), None),
        "/fleet" => (Some(Call::Fleet), None),
        "/routes" => (Some(Call::Routes), None),
        "/routes/reload" => (None, Some((Method::POST, Call::Change(Change::Reload)))),
        "/explain" => (Some(Call::Explain), None),
        "/livez" => (Some(Call::Live), None),
        "/readyz" => (Some(Call::Ready), None),
        "/metrics" => (Some(Call::Metrics), None),
        "/openapi.json" => (Some(Call::OpenApi), None),
        _ => {
            let detail = "no such call; GET /openapi.json lists all calls";
            return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
        }
    };
    let allowed = match (get, &other) {
        (Some(call), _) if method == Method::GET || method == Method::HEAD => return Ok(call),
        (_, Some((wanted, call))) if method == wanted => return Ok(*call),
        (Some(_), None) => "GET, HEAD".to_owned(),
        (Some(_), Some((wanted, _))) => format!("GET, HEAD, {wanted}"),
        (None, Some((wanted, _))) => wanted.to_string(),
        (None, None) => String::new(),
    };
    let detail = format!("{path} allows {allowed}");
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).allow(&allowed))
}

/// A page of another site cannot send this type without a preflight request.
fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "calls that change state require Content-Type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", detail))
}

async fn read_body(body: Incoming) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {LARGEST_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let reading = Limited::new(body, LARGEST_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(body)) => {
            let bytes = body.to_bytes();
            Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes).to_vec())
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::bad_body(format!("the body is broken: {error}"))),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time")),
    }
}
