//! The page of a refusal: a problem document (RFC 9457), or the operator's template instead. It knows nothing about the
//! connection.

use hyper::Method;
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::Refusal;
use crate::http1::encode::write_line;
use crate::policy::fleet::Closed;
use crate::policy::mode::{ModeRecord, Phase};
use crate::policy::table::{AnswerTemplate, NoRoute, RouteTable};
use crate::proxy::headers::UCS_GATEWAY;

/// The longest `Retry-After` while a flip is under way, in seconds: it is over sooner than its deadline as a rule.
const RETRY_SECONDS_WHILE_SWITCHING: u64 = 5;

/// A summary of the refused request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestSummary<'a> {
    pub(crate) method: &'a Method,
    /// Its path without the query; empty if it is unknown.
    pub(crate) path: &'a str,
    /// The name of the operation, if a route matched.
    pub(crate) operation: Option<&'a str>,
    /// The class, if a route matched.
    pub(crate) class: Option<&'a str>,
}

/// A problem document of RFC 9457. Unknown members are omitted.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    detail: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    /// The operator's words for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// When the operator expects the other mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    back_at: Option<Timestamp>,
    /// When the mode ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

impl Problem<'_> {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON, and memory takes it")
    }
}

/// The part of a refusal that does not depend on the time.
pub(crate) struct Page {
    pub(crate) lines: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn page(refusal: &Refusal, summary: RequestSummary<'_>, table: &RouteTable) -> Page {
    let record = refusal.record();
    let (status, reason) = (refusal.status(), refusal.reason());
    // What is said about the mode is said to those that it refuses.
    let refusing =
        record.as_deref().filter(|_| matches!(refusal, Refusal::Mode(published) if !published.is_closed_here()));
    let problem = Problem {
        title: title(refusal, status),
        status: status.as_u16(),
        detail: &detail(refusal, summary, record.as_deref()),
        reason,
        mode: record.as_ref().map(|record| record.mode.as_str()),
        operation: summary.operation,
        class: summary.class,
        revision: record.as_ref().map(|record| record.revision),
        cause: record.as_ref().and_then(|record| record.cause.as_deref()),
        message: refusing.and_then(|record| record.message.as_deref()),
        back_at: refusing.and_then(|record| record.back_at),
        // It counts from settling, so during a flip it is not known yet.
        expires: refusing.filter(|record| record.phase == Phase::Settled).and_then(|record| record.expires),
    };
    let key = template_key(refusal);
    let template = table.answers.iter().find(|(other, _)| **other == *key).map(|(_, template)| template);
    let (content_type, content) = match template {
        Some(template) => (template.content_type.as_ref(), fill(template, &problem, summary)),
        None => ("application/problem+json", problem.to_json()),
    };
    let mut lines = Vec::new();
    let mark = format!("refused; reason={reason}");
    let own = [("Content-Type", content_type), ("Cache-Control", "no-store"), (UCS_GATEWAY, &mark)];
    let chosen = template.iter().flat_map(|template| &template.headers).map(|(name, value)| (&**name, &**value));
    for (name, value) in own.into_iter().chain(chosen) {
        write_line(&mut lines, name.as_bytes(), value.as_bytes());
    }
    Page { lines, content }
}

/// The key of the table's template: several reasons share one.
fn template_key(refusal: &Refusal) -> &'static str {
    if refusal.upstream_fault().is_some() && refusal.status() != StatusCode::SERVICE_UNAVAILABLE {
        "upstream"
    } else if let Refusal::NoRoute(_) = refusal {
        "unmatched"
    } else {
        refusal.reason()
    }
}

fn title(refusal: &Refusal, status: StatusCode) -> &'static str {
    match refusal {
        Refusal::Mode(_) => "Not available",
        Refusal::NoSchema(_) => "No profile schema",
        Refusal::Request(_)
        | Refusal::Path(_)
        | Refusal::NoRoute(_)
        | Refusal::Loop
        | Refusal::UpstreamEnforces(_)
        | Refusal::ClassFull(_)
        | Refusal::Access(_)
        | Refusal::Forbidden(_)
        | Refusal::CrossSite(_)
        | Refusal::BadModeRequest(_)
        | Refusal::Change(_)
        | Refusal::Forward(_)
        | Refusal::Stopping => status.canonical_reason().unwrap_or("Refused"),
    }
}

fn detail(refusal: &Refusal, summary: RequestSummary<'_>, record: Option<&ModeRecord>) -> String {
    let operation = summary.operation.unwrap_or("The request");
    let subject = format!("{operation} ({} {})", summary.method, summary.path);
    match (refusal, record) {
        (Refusal::Mode(published), _) if published.local.is_some() => {
            format!("{subject} is unavailable at this gateway: its operator has closed it")
        }
        (Refusal::Mode(published), Some(_)) if published.closed.is_some_and(Closed::is_of_upstream) => {
            format!("{subject} is unavailable at this gateway: its UCS is not in the mode of the system")
        }
        (Refusal::Mode(published), Some(_)) if published.closed.is_some() => {
            format!("{subject} is unavailable at this gateway until it knows the system's mode again")
        }
        (Refusal::Mode(_), None) => format!("{subject} is unavailable until the gateway knows the system's mode"),
        (Refusal::Mode(_), Some(record)) if record.phase == Phase::Switching => {
            format!("{subject} is unavailable while the system is switching to \"{}\" mode", record.mode)
        }
        (Refusal::Mode(_), Some(record)) => {
            format!("{subject} is unavailable while the system is in \"{}\" mode", record.mode)
        }
        (Refusal::NoSchema(_), _) => format!(
            "{subject} needs a profile schema, and none is defined at UCS. Define the Contact Business Attributes in the \
             configuration layer; the gateway detects it at its next probe."
        ),
        (Refusal::NoRoute(NoRoute::Path), _) => {
            format!(
                "no route matches {} {}; only operations in the route table can be reached",
                summary.method, summary.path
            )
        }
        (other, _) => {
            let text = other.to_string();
            if summary.path.is_empty() { text } else { format!("{subject}: {text}") }
        }
    }
}

/// The value of `Retry-After`, in seconds: until the end, but no more than `most`, as some clients hold a thread so long.
pub(crate) fn retry_after(record: Option<&ModeRecord>, most: u64, now: impl FnOnce() -> Timestamp) -> u64 {
    let (end, most) = match record {
        Some(record) if record.phase == Phase::Switching => (record.deadline, most.min(RETRY_SECONDS_WHILE_SWITCHING)),
        Some(record) => (record.expires, most),
        None => (None, most),
    };
    let Some(end) = end else { return most };
    u64::try_from(end.as_second() - now().as_second()).unwrap_or(0).clamp(1, most.max(1))
}

/// Replaces the placeholders of a template, each escaped as in a JSON string.
fn fill(template: &AnswerTemplate, problem: &Problem<'_>, summary: RequestSummary<'_>) -> Vec<u8> {
    let status = problem.status.to_string();
    let revision = problem.revision.map(|revision| revision.to_string()).unwrap_or_default();
    let written = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let (back_at, expires) = (written(problem.back_at), written(problem.expires));
    let values = [
        ("{operation}", problem.operation.unwrap_or_default()),
        ("{method}", summary.method.as_str()),
        ("{path}", summary.path),
        ("{mode}", problem.mode.unwrap_or_default()),
        ("{status}", &status),
        ("{detail}", problem.detail),
        ("{reason}", problem.reason),
        ("{revision}", &revision),
        ("{class}", problem.class.unwrap_or_default()),
        ("{message}", problem.message.unwrap_or_default()),
        ("{back_at}", &back_at),
        ("{expires}", &expires),
    ];
    let mut filled = String::with_capacity(template.body.len() + problem.detail.len() + 64);
    let mut rest = &*template.body;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                let quoted = serde_json::to_string(value).unwrap_or_default();
                filled.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled.into_bytes()
}
