//! The operator's side: calls of the admin API with the token that the gateway made.

use serde_json::Value;

use super::gateway::Gateway;
use super::http::{self, Connection, Reply};

/// One call with the gateway's own token. `line` is method and target; the body is JSON or nothing.
pub fn call(gateway: &Gateway, line: &str, body: Option<&Value>) -> Reply {
    let mut connection = Connection::open(gateway.admin);
    begin(&mut connection, gateway, line, body);
    connection.read_reply()
}

/// Sends a call and does not wait for the answer, which `connection` will bring.
pub fn begin(connection: &mut Connection, gateway: &Gateway, line: &str, body: Option<&Value>) {
    let credential = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json"), ("Connection", "close")];
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    connection.send(http::compose(gateway.admin, line, &headers, &body));
}

/// `PUT /mode`.
pub fn set_mode(gateway: &Gateway, change: &Value) -> Reply {
    call(gateway, "PUT /mode", Some(change))
}

/// `GET /mode`, which must succeed.
#[track_caller]
pub fn mode(gateway: &Gateway) -> Value {
    let reply = call(gateway, "GET /mode", None);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The requests of one class that have ended, whatever their outcome was.
#[track_caller]
pub fn ended(gateway: &Gateway, class: &str) -> f64 {
    let text = call(gateway, "GET /metrics", None).text();
    let family = format!("ucs_gateway_requests_total{{class=\"{class}\",");
    let values = text.lines().filter(|line| line.starts_with(&family)).map(|line| line.rsplit(' ').next().unwrap());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// One series of `/metrics` by its name and labels exactly as printed, as in `ucs_gateway_in_flight{set="both"}`. A
/// series that is not printed is 0, if its family is.
#[track_caller]
pub fn metric(gateway: &Gateway, series: &str) -> f64 {
    let reply = call(gateway, "GET /metrics", None);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text();
    if let Some(line) = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' '))) {
        return line[series.len()..].trim().parse().unwrap();
    }
    let family = series.split('{').next().unwrap_or_default();
    let family = family.strip_suffix("_total").unwrap_or(family);
    assert!(text.contains(&format!("# TYPE {family} ")), "no family {family} in\n{text}");
    0.0
}
