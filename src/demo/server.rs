//! Connections, and the course of one request: login, operation, mode, body, work, answer. The families' own rules
//! live in their files.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Shared;
use super::control::{CONTROL_PATH, Switches};
use super::metadata::no_profile_schema;
use super::mode_switch::{Class, Closed, Permit, now, written};
use super::operations::{Call, Operation, Work, find};
use super::record::OpenExchange;
use super::response::{Answer, Fault, Held, Payload, Reply};
use crate::policy::mode::Mode;

/// Largest body that an operation reads, in bytes. A larger one is received, counted, and refused with 413.
const BODY_LIMIT: usize = 1 << 20;

/// Rest after a failed accept, so that a machine without file descriptors is not also without time.
const ACCEPT_REST: Duration = Duration::from_millis(50);

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
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, ended: watch::Receiver<()>) {
    // Without it, small answers wait for the peer's delayed acknowledgement; a socket that refuses is only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| detached(Arc::clone(&shared), request, ended.clone()));
    // How a client left is its own affair.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Like a servlet, the work goes on when the client has gone; only the end of the stand-in ends it, without an answer.
async fn detached(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    mut ended: watch::Receiver<()>,
) -> io::Result<Response<Payload>> {
    let work = async move {
        tokio::select! {
            biased;
            _ = ended.changed() => Err(io::Error::other("the stand-in stops")),
            response = respond(&shared, request) => Ok(response),
        }
    };
    tokio::spawn(work).await.map_err(io::Error::other)?
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Payload> {
    let method = request.method().as_str().to_owned();
    let uri = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    if let Some(name) = below(CONTROL_PATH, request.uri().path()) {
        let name = name.trim_matches('/').to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let answer = shared.control.over_http(&method, &name, &body);
        return answer.unwrap_or_else(|fault| fault.into_reply(&method, &uri)).into_response(None);
    }
    let exchange = shared.recorder.begin(&method, &uri, request.headers());
    let mut permit = None;
    let answer = act(shared, request, &uri, &exchange, &mut permit).await;
    let reply = answer.unwrap_or_else(|fault| fault.into_reply(&method, &uri));
    exchange.answered(reply.status());
    shared.control.count(reply.status());
    reply.into_response(Some(Held { _exchange: exchange, _permit: permit }))
}

/// Everything between the head of a request and its answer. The permit is left with the caller, so that the class
/// counts as running until the answer is out.
async fn act(
    shared: &Shared,
    request: Request<Incoming>,
    uri: &str,
    exchange: &OpenExchange,
    permit: &mut Option<Permit>,
) -> Answer {
    let switches = shared.control.switches();
    if let Some(status) = switches.failing {
        return Err(Fault::new(status, "the stand-in was told to fail"));
    }
    check_login(&switches, &request)?;
    let path = below(&shared.base_path, request.uri().path()).and_then(segments);
    let path = path.ok_or_else(|| Fault::not_found("resource", request.uri().path()))?;
    let operation = find(request.method().as_str(), &path.iter().map(String::as_str).collect::<Vec<_>>())?;
    if matches!(operation.work, Work::SetMode | Work::Status) && !switches.mode_api {
        return Err(Fault::not_found("resource", request.uri().path()));
    }
    let modes = switches.mode_api.then_some(operation.modes);
    let entered = shared.control.door.enter(operation.class, modes);
    *permit = Some(entered.map_err(|closed| unavailable(request.method().as_str(), uri, closed))?);

    let query = request.uri().query().map(pairs).unwrap_or_default();
    let (kept, received) = receive(request.into_body(), !matches!(operation.work, Work::Import), exchange).await?;
    tokio::time::sleep(switches.delay).await;
    if operation.class != Class::Server {
        shared.control.released().await;
    }
    let body = kept.map(|bytes| parse_body(&bytes)).transpose()?.flatten();
    let base_uri = shared.base_uri.clone();
    let call = Call { uri: uri.to_owned(), path, query, body, base_uri, switches: shared.control.switches() };
    work(shared, &operation, &call, received).await
}

async fn work(shared: &Shared, operation: &Operation, call: &Call, received: u64) -> Answer {
    let switches = &call.switches;
    if operation.needs_profile_schema && !switches.profile_schema {
        // Documented; at which moment UCS switches is not.
        if switches.auto_maintenance && switches.mode_api {
            shared.control.set_mode(Mode::Maintenance);
        }
        return Err(no_profile_schema());
    }
    match operation.work {
        Work::Store(run) => run(&mut shared.store.lock().unwrap_or_else(PoisonError::into_inner), call),
        // UCS reads the file from its own disk and documents no answer that could be made here; the count is ours.
        Work::Import => Ok(Reply::json(200, &json!({"received_bytes": received}))),
        Work::Status => Ok(status(shared)),
        Work::SetMode => set_mode(shared, call).await,
    }
}

/// CV.WS.MODE.
async fn set_mode(shared: &Shared, call: &Call) -> Answer {
    let mode = call.object()?.get("mode").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let target = match mode.as_str() {
        "production" => Mode::Production,
        "maintenance" => Mode::Maintenance,
        _ => return Err(Fault::bad_request("mode must be \"production\" or \"maintenance\"")),
    };
    let switched = shared.control.door.switch(target, call.switches.set_mode_delay).await;
    switched.map_err(|closed| unavailable("POST", &call.uri, closed))?;
    Ok(Reply::json(200, &json!({"server changed": target})).at("/server/status".to_owned()))
}

/// CV.WS.STAT. The memory figures are made up.
fn status(shared: &Shared) -> Reply {
    let counters = shared.control.counters();
    let started = shared.control.door.started();
    let body = json!({
        "version": "8.1.300.00",
        "system_time": now(),
        "mode": shared.control.mode(),
        "started": written(started),
        "last_request": written(counters.last_request.unwrap_or(started)),
        "request_today": counters.requests,
        "client_errors_today": counters.client_errors,
        "server_errors_today": counters.server_errors,
        "max_memory": 518_464, "allocated_memory": 63_936, "used_memory": 7_947, "free_memory": 55_989,
    });
    Reply::json(200, &body)
}

/// Documented: 503, and a message that the method is unavailable while the system is in that mode.
fn unavailable(method: &str, uri: &str, closed: Closed) -> Fault {
    match closed {
        Closed::In(mode) => {
            Fault::new(503, format!("{method} {uri} is unavailable while the system is in \"{mode}\" mode"))
        }
        Closed::Switching => {
            Fault::new(503, format!("{method} {uri} is unavailable while the system changes its mode"))
        }
    }
}

fn check_login(switches: &Switches, request: &Request<Incoming>) -> Result<(), Fault> {
    let Some((name, password)) = &switches.login else { return Ok(()) };
    let value = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, encoded) = value.split_once(' ').unwrap_or_default();
    let given = STANDARD.decode(encoded.trim()).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("Basic") && given == format!("{name}:{password}").as_bytes() {
        return Ok(());
    }
    Err(Fault::login_wanted())
}

/// Receives the whole body, counting; keeps it when `keep`.
async fn receive(mut body: Incoming, keep: bool, exchange: &OpenExchange) -> Result<(Option<Vec<u8>>, u64), Fault> {
    let mut kept = Vec::new();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::bad_request("the body broke off"))?;
        let Some(data) = frame.data_ref() else { continue };
        received += data.len() as u64;
        exchange.received(received);
        if keep && received <= BODY_LIMIT as u64 {
            kept.extend_from_slice(data);
        }
    }
    if keep && received > BODY_LIMIT as u64 {
        let description = format!("the body has {received} bytes; this operation takes at most {BODY_LIMIT}");
        return Err(Fault::new(413, description));
    }
    Ok((keep.then_some(kept), received))
}

fn parse_body(bytes: &[u8]) -> Result<Option<Value>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(bytes).map(Some).map_err(|error| Fault::bad_request(format!("the body is no JSON: {error}")))
}

/// What follows `prefix` in `path`, when the prefix ends at a border of segments.
fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The decoded segments of a path; one trailing slash is tolerated, as in printed examples.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    path.strip_suffix('/').unwrap_or(path).split('/').map(|segment| decoded(segment, false)).collect()
}

/// The decoded pairs of a query; pairs that are no text are left out.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decoded(name, true)?, decoded(value, true)?))
    };
    query.split('&').filter(|part| !part.is_empty()).filter_map(pair).collect()
}

/// Percent-decoded; in a query a plus is a space. `None` for broken escapes and what is no UTF-8.
fn decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_below_the_base_path() {
        let read = |base, path| below(base, path).and_then(segments);
        let expected = vec!["profiles".to_owned(), "a b/c".to_owned()];
        assert_eq!(read("/genesys/1/cs", "/genesys/1/cs/profiles/a%20b%2fc/"), Some(expected));
        assert_eq!(read("/cv", "/cvx/profiles"), None);
        assert_eq!(read("", "/profiles/%zz"), None);
        assert_eq!(pairs("a=1+2&b"), [("a".to_owned(), "1 2".to_owned()), ("b".to_owned(), String::new())]);
    }
}
