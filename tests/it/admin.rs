//! The admin API through its own port: what each call tells and does, who may, and that the documents which describe it
//! (`GET /openapi.json`, docs/admin-api.md) are true.

use crate::support::{Gateway, Reply, request};

/// Who may: the token, access.yaml, names and sites, guesses.
mod access;
/// Methods, paths and bodies that no call takes.
mod calls;
/// That answers are what the documents say.
mod contract;
/// Too many clients.
mod crowds;
/// `GET /mode/events`.
mod events;
/// `/mode`, its history and its preview.
mod mode;
/// access.yaml over time, limits of guesses, files of secrets.
mod principals;
/// `/livez`, `/readyz`, `/metrics` and the page.
mod probes;
/// That a reload is in force everywhere once it is acknowledged.
mod reloads;
/// The table: shown, reloaded, explained.
mod routes;
/// What ended lately, and what is in flight.
mod traffic;

/// One call with these headers and no others.
fn plain(gateway: &Gateway, line: &str, headers: &[(&str, &str)]) -> Reply {
    request(gateway.admin, line, headers, b"")
}

/// The `Authorization` of a token.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
