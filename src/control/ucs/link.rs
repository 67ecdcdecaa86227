//! The two calls about UCS's own mode: what its status tells, and Set Server Mode followed by the status that proves it.
//! It keeps nothing and decides nothing; what an outcome means for the gateway is said in `upstream_mode` and `flip`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::control::ucs::client::{CallError, CallResponse, UpstreamClient};
use crate::policy::mode::Mode;

/// How long answers that tell nothing are looked into after Set Server Mode. While UCS is still switching (503, silence)
/// the whole limit of the call counts.
const OUTCOME_LIMIT: Duration = Duration::from_secs(3);
const OUTCOME_LOOK: Duration = Duration::from_millis(200);

/// A status may be a moment old: UCS has not moved when it says so this often in a row.
const LOOKS_UNTIL_UNMOVED: u32 = 3;

/// The most of UCS's own words that is shown, in characters.
const LONGEST_WORDS: usize = 200;

/// What UCS says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpstreamStatus {
    /// Its mode.
    pub mode: Mode,
    /// When it started, as it writes it: this names its incarnation, and another value is another one.
    pub started: Option<String>,
}

/// What one reading of UCS's status told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A mode.
    Mode(UpstreamStatus),
    /// There is no such operation, or its answer has no mode.
    Absent(String),
    /// UCS wants a login (401, 403): it has a status, and the gateway may not see it.
    Locked(u16),
    /// 503 or no whole answer: as while UCS is switching.
    Busy(String),
    /// UCS cannot be connected to.
    Gone(String),
    /// Any other answer.
    Odd(String),
}

impl Reading {
    /// In words, as the end of a sentence about UCS.
    pub fn words(&self) -> String {
        match self {
            Reading::Mode(status) => format!("it reports {}", status.mode),
            Reading::Absent(words) => format!("its status does not tell its mode ({words})"),
            Reading::Locked(status) => {
                format!("its status wants a login (status {status}): see --upstream-credentials")
            }
            Reading::Busy(words) | Reading::Gone(words) | Reading::Odd(words) => {
                format!("its status cannot be read ({words})")
            }
        }
    }
}

/// What came of bringing UCS to a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetModeOutcome {
    /// Its status reports the mode.
    InStep(UpstreamStatus),
    /// It has neither a status with a mode nor Set Server Mode.
    Absent,
    /// It answered 404 to production and reported its mode just before and after: the documented "no profile schema".
    NoSchema(UpstreamStatus),
    /// It cannot be connected to.
    Gone(String),
    /// It said no.
    Refused {
        /// In words.
        detail: String,
        /// The answer was 404.
        not_found: bool,
        /// Its incarnation, if its status told.
        status: Option<UpstreamStatus>,
    },
    /// Nobody can tell: it may move yet.
    Unclear(String),
}

impl SetModeOutcome {
    /// Why UCS is not in the requested mode, in words.
    pub fn detail(&self) -> String {
        match self {
            SetModeOutcome::InStep(_) => "it is in step".to_owned(),
            SetModeOutcome::Absent => "it has neither a status with a mode nor Set Server Mode any more".to_owned(),
            SetModeOutcome::NoSchema(_) => "status 404: no profile schema is defined".to_owned(),
            SetModeOutcome::Gone(detail) | SetModeOutcome::Refused { detail, .. } | SetModeOutcome::Unclear(detail) => {
                detail.clone()
            }
        }
    }
}

/// How UCS is spoken to. Cheap to clone into a task of its own.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamLink {
    /// The calls.
    pub client: UpstreamClient,
    /// How long Set Server Mode may take at UCS, its verification included.
    pub set_mode_timeout: Duration,
}

impl UpstreamLink {
    /// Reads UCS's status.
    pub async fn read(&self, base: &str) -> Reading {
        match self.client.get(&format!("{base}/server/status")).await {
            Ok(CallResponse { status: 200, body }) => match status_of(&body) {
                Some(status) => Reading::Mode(status),
                None => Reading::Absent("status 200 without a mode".to_owned()),
            },
            Ok(CallResponse { status: status @ (404 | 405 | 501), .. }) => Reading::Absent(format!("status {status}")),
            Ok(CallResponse { status: status @ (401 | 403), .. }) => Reading::Locked(status),
            Ok(CallResponse { status: 503, .. }) => Reading::Busy("status 503".to_owned()),
            Ok(CallResponse { status, .. }) => Reading::Odd(format!("status {status}")),
            Err(error @ CallError::Connect { .. }) => Reading::Gone(error.to_string()),
            Err(error @ (CallError::Timeout(_) | CallError::Broken(_))) => Reading::Busy(error.to_string()),
            Err(error) => Reading::Odd(error.to_string()),
        }
    }

    /// Reads UCS's status and sets it to `mode` if it is not there.
    pub async fn bring(&self, base: &str, mode: Mode) -> SetModeOutcome {
        match self.read(base).await {
            Reading::Mode(status) if status.mode == mode => SetModeOutcome::InStep(status),
            before => self.set(base, mode, &before, self.set_mode_timeout).await,
        }
    }

    /// Set Server Mode, verified by the status; `before` is what that told just now. 503 is no refusal: UCS says it to
    /// everything while it switches, so it is asked once more when it has ended that.
    pub async fn set(&self, base: &str, mode: Mode, before: &Reading, limit: Duration) -> SetModeOutcome {
        let until = Instant::now() + limit;
        let mut asks = 0;
        loop {
            asks += 1;
            let body = format!("{{\"mode\":\"{mode}\"}}");
            let left = until.saturating_duration_since(Instant::now());
            let (busy, said) = match self.client.post_json(&format!("{base}/server/mode"), body, left).await {
                Ok(reply) => match reply.status {
                    404 | 405 | 501 => return self.missing(base, mode, before, &reply).await,
                    400..=499 => return refused(said(&reply), None),
                    status => (status == 503, said(&reply)),
                },
                Err(error @ CallError::Connect { .. }) => return SetModeOutcome::Gone(error.to_string()),
                Err(error @ CallError::Request(_)) => return refused(error.to_string(), None),
                Err(error) => (false, error.to_string()),
            };
            match self.verify(base, mode, before, until).await {
                Reading::Mode(status) if status.mode == mode => return SetModeOutcome::InStep(status),
                Reading::Mode(_) if busy && asks < 2 => {}
                Reading::Mode(status) => {
                    let detail = format!("it answered Set Server Mode with {said}, and it reports {}", status.mode);
                    return SetModeOutcome::Refused { detail, not_found: false, status: Some(status) };
                }
                Reading::Gone(words) => return SetModeOutcome::Gone(words),
                other => {
                    return SetModeOutcome::Unclear(format!(
                        "it answered Set Server Mode with {said}, and {}",
                        other.words()
                    ));
                }
            }
        }
    }

    /// The status after Set Server Mode, once it tells something or too much time has passed.
    async fn verify(&self, base: &str, mode: Mode, before: &Reading, until: Instant) -> Reading {
        let patience = until.min(Instant::now() + OUTCOME_LIMIT);
        let mut unmoved = 0;
        loop {
            let reading = tokio::time::timeout_at(until, self.read(base)).await;
            let reading = reading.unwrap_or_else(|_| Reading::Busy("no answer in time".to_owned()));
            let limit = match &reading {
                Reading::Mode(status) if status.mode == mode => return reading,
                Reading::Mode(_) => {
                    unmoved += 1;
                    if unmoved >= LOOKS_UNTIL_UNMOVED {
                        return reading;
                    }
                    patience
                }
                // It told nothing before either: there is nothing to wait for.
                Reading::Absent(_) if matches!(before, Reading::Absent(_)) => return reading,
                Reading::Locked(_) if matches!(before, Reading::Locked(_)) => return reading,
                Reading::Busy(_) => until,
                Reading::Absent(_) | Reading::Locked(_) | Reading::Gone(_) | Reading::Odd(_) => patience,
            };
            if Instant::now() >= limit {
                return reading;
            }
            tokio::time::sleep(OUTCOME_LOOK).await;
        }
    }

    /// Set Server Mode is not there, or what it says so of is the profile schema.
    async fn missing(&self, base: &str, mode: Mode, before: &Reading, reply: &CallResponse) -> SetModeOutcome {
        let after = self.read(base).await;
        let not_found = reply.status == 404;
        match (before, after) {
            (_, Reading::Mode(status)) if status.mode == mode => SetModeOutcome::InStep(status),
            (Reading::Mode(_), Reading::Mode(status)) if not_found && mode == Mode::Production => {
                SetModeOutcome::NoSchema(status)
            }
            (Reading::Absent(_), Reading::Absent(_)) => SetModeOutcome::Absent,
            (_, after) => {
                let detail = format!("it answered Set Server Mode with {}, and {}", said(reply), after.words());
                let status = if let Reading::Mode(status) = after { Some(status) } else { None };
                SetModeOutcome::Refused { detail, not_found, status }
            }
        }
    }
}

fn refused(said: String, status: Option<UpstreamStatus>) -> SetModeOutcome {
    SetModeOutcome::Refused { detail: format!("it answered Set Server Mode with {said}"), not_found: false, status }
}

/// The status and UCS's own words, without what a terminal or a log could stumble over.
fn said(reply: &CallResponse) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let words: String = text.chars().filter(|letter| !letter.is_control()).take(LONGEST_WORDS).collect();
    let words = words.trim();
    if words.is_empty() { format!("status {}", reply.status) } else { format!("status {} ({words})", reply.status) }
}

fn status_of(body: &[u8]) -> Option<UpstreamStatus> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let mode = match document.get("mode")?.as_str()?.to_ascii_lowercase().as_str() {
        "production" => Mode::Production,
        "maintenance" => Mode::Maintenance,
        _ => return None,
    };
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
    fn the_words_of_ucs_are_bounded_and_clean() {
        let reply = |body: &str| CallResponse { status: 403, body: body.to_owned().into() };
        assert_eq!(said(&reply("")), "status 403");
        assert_eq!(said(&reply("no\u{1b}[2J\n")), "status 403 (no[2J)");
        assert!(said(&reply(&"x".repeat(4096))).len() < 250);
    }
}
