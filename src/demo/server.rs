//! Connections, and the course of one request: login, operation, mode, body, work, response. The rules of the single
//! operations live in `actions` and `extensions`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::call::{Call, below, pairs, parse_body, segments};
use super::control::{CONTROL_PATH, Control};
use super::mode_switch::{RunningRequest, Scope, Unavailable, formatted, now};
use super::operations::{Operation, Work, find};
use super::options::StandInOptions;
use super::record::{OpenExchange, Recorder};
use super::response::{self, OperationResult, ResponseBody, ResponseGuard, UcsError};
use super::store::Store;
use crate::policy::mode::Mode;
use crate::transport::{TcpListener, TcpStream};

/// Largest body that an operation reads, in bytes. A larger one is received, counted, and refused with 413.
const BODY_LIMIT: usize = 1 << 20;

/// Pause after a failed accept, so that a machine without file descriptors keeps its processor time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The state that all connections share.
pub(super) struct Shared {
    /// `http://address/base`: UCS puts its own address into some responses.
    pub(super) base_uri: String,
    pub(super) control: Control,
    pub(super) recorder: Arc<Recorder>,
    pub(super) store: Mutex<Store>,
}

/// Accepts until `ended` closes, then cuts every connection.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut ended: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = ended.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&shared), ended.clone()))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, ended: watch::Receiver<()>) {
    // Without it, small responses wait for the peer's delayed acknowledgement; a socket that refuses is only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| detached(Arc::clone(&shared), request, ended.clone()));
    // An error here is the client's: it left, or it sent no HTTP.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// As in a servlet, the work continues after the client has disconnected; only the end of the stand-in ends it,
/// without a response.
async fn detached(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    mut ended: watch::Receiver<()>,
) -> io::Result<Response<ResponseBody>> {
    let work = async move {
        tokio::select! {
            biased;
            _ = ended.changed() => Err(io::Error::other("the stand-in stops")),
            response = respond(&shared, request) => Ok(response),
        }
    };
    tokio::spawn(work).await.map_err(io::Error::other)?
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<ResponseBody> {
    let method = request.method().as_str().to_owned();
    let uri = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    if let Some(name) = below(CONTROL_PATH, request.uri().path()) {
        let name = name.trim_matches('/').to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let result = shared.control.over_http(&method, &name, &body);
        let response = result.unwrap_or_else(|error| error.into_response(&method, &uri));
        return ResponseBody::guarded(response, None);
    }
    let exchange = shared.recorder.begin(&method, &uri, request.headers());
    let mut running = None;
    let result = act(shared, request, &uri, &exchange, &mut running).await;
    let response = result.unwrap_or_else(|error| error.into_response(&method, &uri));
    exchange.answered(response.status().as_u16());
    shared.control.count(response.status().as_u16());
    ResponseBody::guarded(response, Some(ResponseGuard { _exchange: exchange, _running: running }))
}

/// Everything between the head of a request and its response. `running` is left with the caller, so that the request
/// counts as running until the response is sent.
async fn act(
    shared: &Shared,
    request: Request<Incoming>,
    uri: &str,
    exchange: &OpenExchange,
    running: &mut Option<RunningRequest>,
) -> OperationResult {
    let options = shared.control.options();
    if let Some(status) = options.failing {
        return Err(UcsError::new(status, "the stand-in is set to fail"));
    }
    check_login(&options, &request)?;
    let unknown = || UcsError::not_found("resource", request.uri().path());
    let path = below(&options.base_path, request.uri().path()).and_then(segments).ok_or_else(unknown)?;
    let (operation, ids) = find(request.method().as_str(), &path)?;
    if operation.scope() == Scope::Server && !options.has_mode_api {
        return Err(unknown());
    }
    let modes = options.has_mode_api.then_some(operation.modes());
    let admitted = shared.control.mode_switch.admit(operation.scope(), modes);
    *running = Some(admitted.map_err(|reason| unavailable(request.method().as_str(), uri, reason))?);

    let query = request.uri().query().map(pairs).unwrap_or_default();
    let (body, received) = receive(request.into_body(), !matches!(operation.work, Work::Import), exchange).await?;
    tokio::time::sleep(options.delay).await;
    if operation.scope() != Scope::Server {
        shared.control.released().await;
    }
    let body = parse_body(&body)?;
    let (base_uri, options) = (shared.base_uri.clone(), shared.control.options());
    let (kind, template, uri) = (operation.kind, operation.path, uri.to_owned());
    let call = Call { kind, template, uri, ids, query, body, base_uri, options };
    work(shared, operation, &call, received).await
}

async fn work(shared: &Shared, operation: &Operation, call: &Call, received: u64) -> OperationResult {
    let options = &call.options;
    if operation.needs_profile_schema() && !options.profile_schema {
        // Documented; at which moment UCS switches is not.
        if options.auto_maintenance && options.has_mode_api {
            shared.control.set_mode(Mode::Maintenance);
        }
        return Err(UcsError::no_profile_schema());
    }
    match operation.work {
        Work::Store(act) => act(&mut shared.store.lock().unwrap_or_else(PoisonError::into_inner), call),
        // UCS reads the file from its own disk and documents no response that could be made here; the count is ours.
        Work::Import => Ok(response::json(200, &json!({"received_bytes": received}))),
        Work::Status => Ok(status(shared)),
        Work::SetMode => set_mode(shared, call).await,
    }
}

/// CV.WS.MODE.
async fn set_mode(shared: &Shared, call: &Call) -> OperationResult {
    let wrong = || UcsError::bad_request("mode must be \"production\" or \"maintenance\"");
    let mode = call.object()?.get("mode").and_then(Value::as_str).and_then(|mode| mode.parse::<Mode>().ok());
    let target = mode.ok_or_else(wrong)?;
    let switched = shared.control.mode_switch.switch(target, shared.control.switches_released()).await;
    switched.map_err(|reason| unavailable("POST", &call.uri, reason))?;
    let mut response = response::json(200, &json!({"server changed": target}));
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/server/status"));
    Ok(response)
}

/// CV.WS.STAT. The memory figures are made up.
fn status(shared: &Shared) -> Response<Bytes> {
    let counters = shared.control.counters();
    let started = shared.control.mode_switch.started();
    let body = json!({
        "version": "8.1.300.00",
        "system_time": now(),
        "mode": shared.control.mode(),
        "started": formatted(started),
        "last_request": formatted(counters.last_request.unwrap_or(started)),
        "request_today": counters.requests,
        "client_errors_today": counters.client_errors,
        "server_errors_today": counters.server_errors,
        "max_memory": 518_464, "allocated_memory": 63_936, "used_memory": 7_947, "free_memory": 55_989,
    });
    response::json(200, &body)
}

/// Documented: 503, and a message that the method is unavailable while the system is in that mode.
fn unavailable(method: &str, uri: &str, reason: Unavailable) -> UcsError {
    let state = match reason {
        Unavailable::InMode(mode) => format!("is in \"{mode}\" mode"),
        Unavailable::Switching => "changes its mode".to_owned(),
    };
    UcsError::new(503, format!("{method} {uri} is unavailable while the system {state}"))
}

fn check_login(options: &StandInOptions, request: &Request<Incoming>) -> Result<(), UcsError> {
    let Some((name, password)) = &options.login else { return Ok(()) };
    let value = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, encoded) = value.split_once(' ').unwrap_or_default();
    let given = STANDARD.decode(encoded.trim()).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("Basic") && given == format!("{name}:{password}").as_bytes() {
        return Ok(());
    }
    Err(UcsError::login_required())
}

/// Receives the whole body and counts it; returns its bytes if `keep`.
async fn receive(mut body: Incoming, keep: bool, exchange: &OpenExchange) -> Result<(Vec<u8>, u64), UcsError> {
    let mut kept = Vec::new();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| UcsError::bad_request("the body ended early"))?;
        let Some(data) = frame.data_ref() else { continue };
        received += data.len() as u64;
        exchange.received(received);
        if keep && received <= BODY_LIMIT as u64 {
            kept.extend_from_slice(data);
        }
    }
    if keep && received > BODY_LIMIT as u64 {
        let description = format!("the body has {received} bytes; this operation takes at most {BODY_LIMIT}");
        return Err(UcsError::new(413, description));
    }
    Ok((kept, received))
}
