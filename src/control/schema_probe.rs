//! Whether UCS has a profile schema: one GET, and the rule that turns its answer into knowledge. The rule is pure; what
//! follows from the knowledge is decided in `duties`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::control::upstream_client::{CallError, Reply, UpstreamClient};
use crate::policy::mode::SchemaKnowledge;

/// Doubts of requests lead to a probe at most this often.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(1);

/// What one probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// 200 with a schema.
    Schema,
    /// 200 with an empty list.
    EmptyList,
    /// 404.
    NotFound,
    /// Anything else, in words.
    Unclear(String),
}

/// What gives a 404 its meaning, as the path is documented by analogy only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The path has answered 200 before.
    pub answered_before: bool,
    /// UCS reports maintenance, and nobody but UCS itself put it there.
    pub upstream_closed_itself: bool,
    /// UCS answered 404 to Create Customer Profile.
    pub create_refused: bool,
}

/// What an observation means.
pub fn judge(observation: &Observation, facts: Facts) -> SchemaKnowledge {
    let not_found_counts = facts.answered_before || facts.upstream_closed_itself || facts.create_refused;
    match observation {
        Observation::Schema => SchemaKnowledge::Defined,
        Observation::EmptyList => SchemaKnowledge::Undefined,
        Observation::NotFound if not_found_counts => SchemaKnowledge::Undefined,
        Observation::NotFound | Observation::Unclear(_) => SchemaKnowledge::Unknown,
    }
}

/// An observation with the revision that was in force when it began: it counts only if that is still so.
#[derive(Debug)]
pub(super) struct Seen {
    pub revision: u64,
    pub observation: Observation,
}

/// When to probe, and what is known so far.
pub(super) struct SchemaProbe {
    client: UpstreamClient,
    path: Option<String>,
    interval: Duration,
    due: Instant,
    last_began: Option<Instant>,
    running: Option<Pin<Box<dyn Future<Output = Seen> + Send>>>,
    facts: Facts,
    knowledge: SchemaKnowledge,
}

impl SchemaProbe {
    /// `path` is relative to the table's base path; without one nothing is ever probed or known.
    pub(super) fn new(client: UpstreamClient, path: Option<String>, interval: Duration, answered_before: bool) -> Self {
        let facts = Facts { answered_before, ..Facts::default() };
        let due = Instant::now();
        let knowledge = SchemaKnowledge::Unknown;
        SchemaProbe { client, path, interval, due, last_began: None, running: None, facts, knowledge }
    }

    /// What is asked for below this base path.
    pub(super) fn target(&self, base: &str) -> String {
        target(base, self.path.as_deref().unwrap_or_default())
    }

    pub(super) fn knowledge(&self) -> SchemaKnowledge {
        self.knowledge
    }

    /// Has the next probe begin at once.
    pub(super) fn soon(&mut self) {
        self.due = Instant::now();
    }

    /// A request made one doubt: the next probe begins soon, but not more than once a second.
    pub(super) fn doubt(&mut self, create_refused: bool) {
        self.facts.create_refused |= create_refused;
        let earliest = self.last_began.map_or_else(Instant::now, |began| began + BETWEEN_DOUBTS);
        self.due = self.due.min(earliest);
    }

    /// The next observation. May be dropped and called again without losing a probe that is under way.
    pub(super) async fn next(&mut self, base: &str, revision: u64) -> Seen {
        if self.path.is_none() {
            return std::future::pending().await;
        }
        if self.running.is_none() {
            tokio::time::sleep_until(self.due).await;
            self.last_began = Some(Instant::now());
            let observing = self.observing(base);
            self.running = Some(Box::pin(async move { Seen { revision, observation: observing.await } }));
        }
        let running = self.running.as_mut().expect("it was just set");
        let seen = running.as_mut().await;
        self.running = None;
        self.due = Instant::now() + self.interval;
        seen
    }

    /// One probe now, apart from the regular ones; `None` when probing is off.
    pub(super) fn look(&self, base: &str) -> impl Future<Output = Option<Observation>> + Send + use<> {
        let observing = self.path.is_some().then(|| self.observing(base));
        async move {
            match observing {
                Some(observing) => Some(observing.await),
                None => None,
            }
        }
    }

    /// Takes an observation in. Returns whether the path answered 200 for the first time, which is worth remembering.
    pub(super) fn learn(&mut self, observation: &Observation, upstream_closed_itself: bool) -> bool {
        let answered = matches!(observation, Observation::Schema | Observation::EmptyList);
        let first_answer = answered && !self.facts.answered_before;
        self.facts.answered_before |= answered;
        self.facts.upstream_closed_itself = upstream_closed_itself;
        if *observation == Observation::Schema {
            self.facts.create_refused = false;
        }
        self.knowledge = judge(observation, self.facts);
        first_answer
    }

    fn observing(&self, base: &str) -> impl Future<Output = Observation> + Send + use<> {
        let client = self.client.clone();
        let path = self.target(base);
        async move { observe(client.get(&path).await) }
    }
}

fn target(base: &str, path: &str) -> String {
    format!("{base}{path}")
}

/// Whether a mark that was left behind says of the path that is probed now that it has answered: a 404 of a mistyped path
/// must not pass for a vanished schema only because another path had answered before.
pub(super) fn was_answered(mark: Option<&str>, base: &str, path: Option<&str>) -> bool {
    path.is_some_and(|path| mark == Some(&*target(base, path)))
}

fn observe(answer: Result<Reply, CallError>) -> Observation {
    match answer {
        Ok(Reply { status: 200, body }) => match serde_json::from_slice::<Value>(&body) {
            Ok(document) if holds_nothing(&document) => Observation::EmptyList,
            Ok(Value::Array(_) | Value::Object(_)) => Observation::Schema,
            Ok(_) => Observation::Unclear("200 with a document that is no list".to_owned()),
            Err(error) => Observation::Unclear(format!("200 with a body that is not JSON: {error}")),
        },
        Ok(Reply { status: 404, .. }) => Observation::NotFound,
        Ok(Reply { status, .. }) => Observation::Unclear(format!("status {status}")),
        Err(error) => Observation::Unclear(error.to_string()),
    }
}

/// `[]`, `{}`, or an object whose one member is an empty list.
fn holds_nothing(document: &Value) -> bool {
    match document {
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => {
            let mut values = members.values();
            values.all(|value| value.as_array().is_some_and(Vec::is_empty)) && members.len() <= 1
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &'static str) -> Observation {
        observe(Ok(Reply { status, body: body.into() }))
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(reply(200, "[{\"name\":\"LastName\"}]"), Observation::Schema);
        assert_eq!(reply(200, "{\"attributes\":[{}]}"), Observation::Schema);
        assert_eq!(reply(200, "[]"), Observation::EmptyList);
        assert_eq!(reply(200, "{\"attributes\":[]}"), Observation::EmptyList);
        assert_eq!(reply(404, "[]"), Observation::NotFound);
        for (status, body) in [(200, ""), (200, "<html>"), (200, "null"), (204, ""), (503, "[]"), (401, ""), (301, "")]
        {
            assert!(matches!(reply(status, body), Observation::Unclear(_)), "{status} {body}");
        }
        let timeout = observe(Err(CallError::Timeout(Duration::from_secs(1))));
        assert!(matches!(timeout, Observation::Unclear(_)));
    }

    #[test]
    fn a_mark_counts_for_its_own_path_alone() {
        let path = Some("/metadata/profiles");
        assert!(was_answered(Some("/cv/metadata/profiles"), "/cv", path));
        for (mark, base, path) in [
            (None, "/cv", path),
            (Some(""), "/cv", path),
            (Some("/metadata/profiles"), "/cv", path),
            (Some("/cv/metadata/profiles"), "", path),
            (Some("/cv/metadata/profiles"), "/cv", Some("/metadata/profile")),
            (Some("/cv"), "/cv", None),
        ] {
            assert!(!was_answered(mark, base, path), "{mark:?} {base:?} {path:?}");
        }
    }

    #[test]
    fn not_found_means_undefined_only_with_a_fact_behind_it() {
        let none = Facts::default();
        assert_eq!(judge(&Observation::NotFound, none), SchemaKnowledge::Unknown);
        for facts in [
            Facts { answered_before: true, ..none },
            Facts { upstream_closed_itself: true, ..none },
            Facts { create_refused: true, ..none },
        ] {
            assert_eq!(judge(&Observation::NotFound, facts), SchemaKnowledge::Undefined);
            assert_eq!(judge(&Observation::Unclear(String::new()), facts), SchemaKnowledge::Unknown);
            assert_eq!(judge(&Observation::Schema, facts), SchemaKnowledge::Defined);
        }
        assert_eq!(judge(&Observation::EmptyList, none), SchemaKnowledge::Undefined);
    }
}
