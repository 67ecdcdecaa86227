//! The two calls about UCS's own mode: its status, and Set Server Mode followed by a status that verifies it. It keeps no
//! state; `server_mode` and `flip` decide on the consequences of an outcome.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::control::ucs::client::{CallError, CallResponse, UpstreamClient};
use crate::policy::mode::Mode;

/// How long inconclusive statuses are read again after Set Server Mode. While UCS is still switching (503, no response),
/// the whole timeout of the call applies.
const OUTCOME_LIMIT: Duration = Duration::from_secs(3);
const OUTCOME_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A status may lag behind: UCS counts as unchanged after this many statuses in a row.
const STATUSES_UNTIL_UNCHANGED: u32 = 3;

/// The longest shown part of a response body, in characters.
const LONGEST_EXCERPT: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpstreamStatus {
    pub mode: Mode,
    /// The start time in UCS's own format; it identifies the incarnation.
    pub started: Option<String>,
}

/// The result of reading UCS's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Mode(UpstreamStatus),
    /// UCS has no such operation, or its status has no mode.
    Absent(String),
    /// UCS requires a login (401, 403), so it has a status.
    Locked(String),
    /// 503 or no complete response, as while UCS is switching.
    Busy(String),
    /// UCS cannot be reached.
    Gone(String),
    /// Any other response.
    Odd(String),
}

impl Reading {
    /// The end of a sentence about UCS.
    pub(crate) fn words(&self) -> String {
        match self {
            Reading::Mode(status) => format!("it reports {}", status.mode),
            Reading::Absent(words) => format!("its status has no mode ({words})"),
            Reading::Locked(words) => format!("its status requires a login ({words})"),
            Reading::Busy(words) | Reading::Gone(words) | Reading::Odd(words) => {
                format!("its status cannot be read ({words})")
            }
        }
    }
}

/// The outcome of setting UCS to a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetModeOutcome {
    /// UCS reports the mode.
    InStep(UpstreamStatus),
    /// UCS has neither a status with a mode nor Set Server Mode; the reading of its status.
    Absent(String),
    /// UCS returned 404 for production and reported its mode just before and after: the documented "no profile schema".
    NoSchema(UpstreamStatus),
    /// UCS cannot be reached.
    Gone(String),
    /// UCS refused.
    Refused {
        /// The reason, as the end of a sentence about UCS.
        detail: String,
        /// The status of its response, if one came.
        response: Option<u16>,
        /// Its status, if it could be read.
        status: Option<UpstreamStatus>,
    },
    /// Unknown: UCS may still change its mode.
    Unclear {
        /// The reason, as the end of a sentence about UCS.
        detail: String,
        /// The last reading of its status.
        reading: Reading,
    },
}

impl SetModeOutcome {
    /// Why UCS is not in the requested mode, as the end of a sentence about UCS.
    pub(crate) fn detail(&self) -> String {
        match self {
            SetModeOutcome::InStep(_) => "it is in the requested mode".to_owned(),
            SetModeOutcome::Absent(_) => "it no longer has a status with a mode or Set Server Mode".to_owned(),
            SetModeOutcome::NoSchema(_) => "status 404: no profile schema is defined".to_owned(),
            SetModeOutcome::Gone(detail)
            | SetModeOutcome::Refused { detail, .. }
            | SetModeOutcome::Unclear { detail, .. } => detail.clone(),
        }
    }

    /// The status that the outcome rests on, if it was read.
    pub(crate) fn reading(&self) -> Option<Reading> {
        match self {
            SetModeOutcome::InStep(status)
            | SetModeOutcome::NoSchema(status)
            | SetModeOutcome::Refused { status: Some(status), .. } => Some(Reading::Mode(status.clone())),
            SetModeOutcome::Absent(words) => Some(Reading::Absent(words.clone())),
            SetModeOutcome::Gone(words) => Some(Reading::Gone(words.clone())),
            SetModeOutcome::Unclear { reading, .. } => Some(reading.clone()),
            SetModeOutcome::Refused { status: None, .. } => None,
        }
    }
}

/// The calls about UCS's mode. Cheap to clone into a task.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamLink {
    pub client: UpstreamClient,
    /// The timeout of Set Server Mode at UCS, verification included.
    pub set_mode_timeout: Duration,
}

impl UpstreamLink {
    /// Reads UCS's status.
    pub(crate) async fn read(&self, base: &str) -> Reading {
        match self.client.get(&format!("{base}/server/status")).await {
            Ok(CallResponse { status: 200, body }) => match status_of(&body) {
                Some(status) => Reading::Mode(status),
                None => Reading::Absent(said(200, &body)),
            },
            Ok(CallResponse { status: status @ (404 | 405 | 501), body }) => Reading::Absent(said(status, &body)),
            Ok(CallResponse { status: status @ (401 | 403), body }) => Reading::Locked(said(status, &body)),
            Ok(CallResponse { status: 503, body }) => Reading::Busy(said(503, &body)),
            Ok(CallResponse { status, body }) => Reading::Odd(said(status, &body)),
            Err(error @ CallError::Connect { .. }) => Reading::Gone(error.to_string()),
            Err(error @ (CallError::Timeout(_) | CallError::Broken(_))) => Reading::Busy(error.to_string()),
            Err(error) => Reading::Odd(error.to_string()),
        }
    }

    /// Reads UCS's status and sets UCS to `mode` if it is in another one.
    pub(crate) async fn bring(&self, base: &str, mode: Mode) -> SetModeOutcome {
        match self.read(base).await {
            Reading::Mode(status) if status.mode == mode => SetModeOutcome::InStep(status),
            before => self.set(base, mode, &before, self.set_mode_timeout).await,
        }
    }

    /// Set Server Mode, verified by the status; `before` is the status just before. 503 is not a refusal: UCS returns it
    /// for every request while it switches, so the call is repeated once after the switch.
    pub(crate) async fn set(&self, base: &str, mode: Mode, before: &Reading, limit: Duration) -> SetModeOutcome {
        let until = Instant::now() + limit;
        let mut before = before.clone();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let body = format!("{{\"mode\":\"{mode}\"}}");
            let left = until.saturating_duration_since(Instant::now());
            let (response, said) = match self.client.post_json(&format!("{base}/server/mode"), body, left).await {
                Ok(reply) => match reply.status {
                    404 | 405 | 501 => return self.missing(base, mode, &before, &reply).await,
                    400..=499 => return refused(Some(reply.status), said(reply.status, &reply.body)),
                    status => (Some(status), said(status, &reply.body)),
                },
                Err(error @ CallError::Connect { .. }) => return SetModeOutcome::Gone(error.to_string()),
                Err(error @ CallError::Request(_)) => return refused(None, error.to_string()),
                Err(error) => (None, error.to_string()),
            };
            match self.verify(base, mode, &before, until).await {
                Reading::Mode(status) if status.mode == mode => return SetModeOutcome::InStep(status),
                reading @ Reading::Mode(_) if response == Some(503) && attempts < 2 => before = reading,
                Reading::Mode(status) => {
                    let detail = format!("Set Server Mode: {said}; it reports {}", status.mode);
                    return SetModeOutcome::Refused { detail, response, status: Some(status) };
                }
                Reading::Gone(words) => return SetModeOutcome::Gone(words),
                other => {
                    let detail = format!("Set Server Mode: {said}; {}", other.words());
                    return SetModeOutcome::Unclear { detail, reading: other };
                }
            }
        }
    }

    /// The status after Set Server Mode, once it is conclusive or the time is up.
    async fn verify(&self, base: &str, mode: Mode, before: &Reading, until: Instant) -> Reading {
        let patience = until.min(Instant::now() + OUTCOME_LIMIT);
        let mut unchanged = 0;
        loop {
            let reading = tokio::time::timeout_at(until, self.read(base)).await;
            let reading = reading.unwrap_or_else(|_| Reading::Busy("no response in time".to_owned()));
            let limit = match &reading {
                Reading::Mode(status) if status.mode == mode => return reading,
                Reading::Mode(_) => {
                    unchanged += 1;
                    if unchanged >= STATUSES_UNTIL_UNCHANGED {
                        return reading;
                    }
                    patience
                }
                // It had no mode before either: no reason to wait.
                Reading::Absent(_) if matches!(before, Reading::Absent(_)) => return reading,
                Reading::Locked(_) if matches!(before, Reading::Locked(_)) => return reading,
                Reading::Busy(_) => until,
                Reading::Absent(_) | Reading::Locked(_) | Reading::Gone(_) | Reading::Odd(_) => patience,
            };
            if Instant::now() >= limit {
                return reading;
            }
            tokio::time::sleep(OUTCOME_POLL_INTERVAL).await;
        }
    }

    /// Interprets a 404, 405 or 501: Set Server Mode is missing, or the profile schema is.
    async fn missing(&self, base: &str, mode: Mode, before: &Reading, reply: &CallResponse) -> SetModeOutcome {
        let after = self.read(base).await;
        match (before, after) {
            (_, Reading::Mode(status)) if status.mode == mode => SetModeOutcome::InStep(status),
            (Reading::Mode(_), Reading::Mode(status)) if reply.status == 404 && mode == Mode::Production => {
                SetModeOutcome::NoSchema(status)
            }
            (Reading::Absent(_), Reading::Absent(words)) => SetModeOutcome::Absent(words),
            (_, after) => {
                let said = said(reply.status, &reply.body);
                let detail = format!("Set Server Mode: {said}; {}", after.words());
                let status = if let Reading::Mode(status) = after { Some(status) } else { None };
                SetModeOutcome::Refused { detail, response: Some(reply.status), status }
            }
        }
    }
}

fn refused(response: Option<u16>, said: String) -> SetModeOutcome {
    let detail = format!("Set Server Mode failed: {said}");
    SetModeOutcome::Refused { detail, response, status: None }
}

/// The status, an excerpt of the body without control characters, and the flag that a login needs.
fn said(status: u16, body: &[u8]) -> String {
    // More would not be shown, whatever its characters are.
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_EXCERPT * 8)]);
    let words: String = text.chars().filter(|letter| !letter.is_control()).take(LONGEST_EXCERPT).collect();
    let words = match words.trim() {
        "" => String::new(),
        words => format!(" ({words})"),
    };
    let advice = if matches!(status, 401 | 403) { ", see --upstream-credentials" } else { "" };
    format!("status {status}{words}{advice}")
}

fn status_of(body: &[u8]) -> Option<UpstreamStatus> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let mode = document.get("mode")?.as_str()?.parse().ok()?;
    let started = document.get("started").filter(|started| !started.is_null()).map(Value::to_string);
    Some(UpstreamStatus { mode, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_whatever_its_case() {
        let status = status_of(br#"{"mode":"Production","started":"2010-02-24T14:35:28.668Z"}"#);
        assert_eq!(status.map(|status| status.mode), Some(Mode::Production));
        for body in ["", "{}", "{\"mode\":1}", "{\"mode\":\"asleep\"}", "[]", "<html>"] {
            assert_eq!(status_of(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn the_excerpt_is_bounded_and_has_no_control_characters() {
        assert_eq!(said(403, b""), "status 403, see --upstream-credentials");
        assert_eq!(said(403, b"no\x1b[2J\n"), "status 403 (no[2J), see --upstream-credentials");
        assert!(said(403, "x".repeat(4096).as_bytes()).len() < 280);
    }
}
