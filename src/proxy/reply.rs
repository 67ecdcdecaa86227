//! Answers on their way to the client: UCS's, and those that the gateway makes itself: problem documents (RFC 9457), or the
//! operator's own templates in their place. It decides nothing: see `error` for what is answered when; and it frames nothing:
//! see `sending`.

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::account::Account;
use super::body::ReplyBody;
use super::error::Refusal;
use super::forward::Answered;
use super::headers::{self, Told, UCS_GATEWAY};
use super::sending::room_for;
use super::wire::{Fields, told_length};
use crate::access::AccessError;
use crate::policy::mode::{ModeRecord, Phase};
use crate::policy::routes::{AnswerTemplate, RouteTable};

/// Sent as `Retry-After` when nothing better is known, in seconds.
const DEFAULT_RETRY_SECONDS: i64 = 30;

/// An answer for the client, but for its framing.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Status line and field lines.
    pub head: Vec<u8>,
    /// What of the head is known without reading it again.
    pub told: Told,
    /// The length that an answer without a body tells (RFC 9110, 8.6).
    pub length: Option<u64>,
    /// Whether the connection ends with it.
    pub closes: bool,
    /// Its body.
    pub body: ReplyBody,
}

impl Reply {
    /// An answer without field lines.
    pub fn new(status: StatusCode, body: ReplyBody) -> Reply {
        let mut head = Vec::with_capacity(room_for(body.size_hint().exact()));
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(status.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
        head.extend_from_slice(b"\r\n");
        Reply { status, head, told: Told::default(), length: None, closes: false, body }
    }

    /// UCS's answer.
    pub fn relay(answered: Answered, account: Account) -> Reply {
        let Answered { status, fields, body } = answered;
        let mut reply = Reply::new(status, ReplyBody::relay(body, account));
        reply.told = headers::to_downstream(&fields, &mut reply.head);
        reply.length = told_length(&fields);
        reply
    }

    /// An answer of UCS whose body was read here.
    pub fn read(status: StatusCode, fields: &Fields, content: Bytes, account: Account) -> Reply {
        let mut reply = Reply::new(status, ReplyBody::own(content, account));
        reply.told = headers::to_downstream(fields, &mut reply.head);
        reply.add(UCS_GATEWAY, &HeaderValue::from_static("answered"));
        reply
    }

    /// Adds a field line.
    pub fn add(&mut self, name: HeaderName, value: &HeaderValue) {
        headers::write_line(&mut self.head, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// What is known of the request that is refused.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path without the query, as far as it is known.
    pub path: &'a str,
    /// The operation's name, when a route took it.
    pub operation: Option<&'a str>,
    /// Its class, likewise.
    pub class: Option<&'a str>,
}

struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    mode: Option<&'a str>,
    operation: Option<&'a str>,
    class: Option<&'a str>,
    revision: Option<u64>,
    cause: Option<&'a str>,
}

impl Problem<'_> {
    /// As a JSON object. By hand, because refusals come by the thousand; see benches/README.md for what it saves.
    fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(512);
        let texts = [
            ("title", Some(self.title)),
            ("detail", Some(self.detail)),
            ("reason", Some(self.reason)),
            ("mode", self.mode),
            ("operation", self.operation),
            ("class", self.class),
            ("cause", self.cause),
        ];
        for (name, text) in texts.iter().filter_map(|(name, text)| text.map(|text| (name, text))) {
            json.extend_from_slice(if json.is_empty() { b"{\"" } else { b",\"" });
            json.extend_from_slice(name.as_bytes());
            json.extend_from_slice(b"\":");
            write_text(&mut json, text);
        }
        json.extend_from_slice(b",\"status\":");
        write_json(&mut json, &self.status);
        if let Some(revision) = self.revision {
            json.extend_from_slice(b",\"revision\":");
            write_json(&mut json, &revision);
        }
        json.push(b'}');
        json
    }
}

/// Most texts need no escape and are copied; serde_json looks after the others.
fn write_text(json: &mut Vec<u8>, text: &str) {
    // All bytes are looked at, without a jump: that is faster than to stop at the first.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if is_plain {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        write_json(json, &text);
    }
}

fn write_json(json: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(json, value).expect("a number or a text is JSON, and memory takes it");
}

/// The answer to a refused request. `unread`: bytes of its body may still be on the way, so the connection is closed.
pub fn refuse(refusal: &Refusal, about: About<'_>, table: &RouteTable, unread: bool, account: Account) -> Reply {
    let status = refusal.status();
    let record = refusal.record();
    let detail = detail(refusal, about, record.as_deref());
    let problem = Problem {
        title: title(refusal, status),
        status: status.as_u16(),
        detail: &detail,
        reason: refusal.reason(),
        mode: record.as_ref().map(|record| record.mode.as_str()),
        operation: about.operation,
        class: about.class,
        revision: record.as_ref().map(|record| record.revision),
        cause: record.as_ref().and_then(|record| record.cause.as_deref()),
    };
    let template = table.answers.iter().find(|(reason, _)| **reason == *problem.reason).map(|(_, template)| template);
    let (content_type, content) = match template {
        Some(template) => (template.content_type.as_ref(), fill(template, &problem, about)),
        None => ("application/problem+json", problem.to_json()),
    };
    let mut reply = Reply::new(status, ReplyBody::own(Bytes::from(content), account));
    let content_type = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("text/plain"));
    reply.add(CONTENT_TYPE, &content_type);
    reply.add(CACHE_CONTROL, &HeaderValue::from_static("no-store"));
    reply.add(UCS_GATEWAY, &spoke(problem.reason));
    if let Refusal::Access(AccessError::Throttled { retry_after }) = refusal {
        reply.add(RETRY_AFTER, &HeaderValue::from(retry_after.as_secs()));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.add(RETRY_AFTER, &HeaderValue::from(retry_after(record.as_deref())));
    }
    if status == StatusCode::UNAUTHORIZED {
        reply.add(WWW_AUTHENTICATE, &HeaderValue::from_static("Basic realm=\"ucs-gateway\", charset=\"UTF-8\""));
    }
    reply.closes = unread || refusal.closes();
    reply
}

/// An answer of the gateway that is no refusal.
pub fn answer(status: StatusCode, json: Vec<u8>, account: Account) -> Reply {
    let mut reply = Reply::new(status, ReplyBody::own(Bytes::from(json), account));
    reply.add(CONTENT_TYPE, &HeaderValue::from_static("application/json"));
    reply.add(CACHE_CONTROL, &HeaderValue::from_static("no-store"));
    reply.add(UCS_GATEWAY, &HeaderValue::from_static("answered"));
    reply
}

fn spoke(reason: &str) -> HeaderValue {
    // The refusal that is sent by the thousand needs no formatting.
    match reason {
        "mode" => HeaderValue::from_static("refused; reason=mode"),
        reason => {
            HeaderValue::from_str(&format!("refused; reason={reason}")).unwrap_or(HeaderValue::from_static("refused"))
        }
    }
}

fn title(refusal: &Refusal, status: StatusCode) -> &'static str {
    match refusal {
        Refusal::Mode(_) => "Not available",
        Refusal::NoSchema(_) => "No profile schema",
        Refusal::Wire(_)
        | Refusal::Path(_)
        | Refusal::Unmatched
        | Refusal::ClassFull(_)
        | Refusal::Access(_)
        | Refusal::Forbidden(_)
        | Refusal::BadModeRequest(_)
        | Refusal::Change(_)
        | Refusal::Forward(_)
        | Refusal::Stopping => status.canonical_reason().unwrap_or("Refused"),
    }
}

fn detail(refusal: &Refusal, about: About<'_>, record: Option<&ModeRecord>) -> String {
    let operation = about.operation.unwrap_or("The request");
    let subject = format!("{operation} ({} {})", about.method, about.path);
    match (refusal, record) {
        (Refusal::Mode(_), None) => format!("{subject} is unavailable until the gateway knows the system's mode"),
        (Refusal::Mode(_), Some(record)) if record.phase == Phase::Switching => {
            format!("{subject} is unavailable while the system is switching to \"{}\" mode", record.mode)
        }
        (Refusal::Mode(_), Some(record)) => {
            format!("{subject} is unavailable while the system is in \"{}\" mode", record.mode)
        }
        (Refusal::NoSchema(_), _) => format!(
            "{subject} needs a profile schema, and none is defined at UCS. Define the Contact Business Attributes in the \
             configuration layer; the gateway sees it within its next probe."
        ),
        (Refusal::Unmatched, _) => {
            format!(
                "no route of the gateway takes {} {}; its route table decides what can be reached",
                about.method, about.path
            )
        }
        (other, _) => {
            let text = other.to_string();
            if about.path.is_empty() { text } else { format!("{subject}: {text}") }
        }
    }
}

fn retry_after(record: Option<&ModeRecord>) -> i64 {
    let end = record.and_then(|record| match record.phase {
        Phase::Settled => record.expires,
        Phase::Switching => record.deadline,
    });
    let Some(end) = end else { return DEFAULT_RETRY_SECONDS };
    (end.as_second() - Timestamp::now().as_second()).max(1)
}

/// Fills the placeholders of a template, each as the inside of a JSON string.
fn fill(template: &AnswerTemplate, problem: &Problem<'_>, about: About<'_>) -> Vec<u8> {
    let status = problem.status.to_string();
    let revision = problem.revision.map(|revision| revision.to_string()).unwrap_or_default();
    let values = [
        ("{operation}", problem.operation.unwrap_or_default()),
        ("{method}", about.method.as_str()),
        ("{path}", about.path),
        ("{mode}", problem.mode.unwrap_or_default()),
        ("{status}", &status),
        ("{detail}", problem.detail),
        ("{reason}", problem.reason),
        ("{revision}", &revision),
        ("{class}", problem.class.unwrap_or_default()),
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
