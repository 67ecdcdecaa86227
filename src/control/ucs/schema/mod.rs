//! Whether UCS has a profile schema: one GET, and the rule by which its answers become knowledge. A schema that is said to
//! be missing counts only with evidence, as one wrong look would close production; what follows from the knowledge is
//! decided in `reactions`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::control::ucs::client::{CallError, CallResponse, UpstreamClient};
use crate::control::ucs::link::{Reading, UpstreamLink};
use crate::policy::mode::SchemaKnowledge;

/// Doubts of requests lead to a probe at most this often.
const BETWEEN_HINTS: Duration = Duration::from_secs(1);

/// For so many polls of its status a UCS without one has to say that it has no schema.
const POLLS_WITHOUT_STATUS: u32 = 12;

/// What one probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// 200 with a schema.
    Schema,
    /// 200 with an empty list.
    EmptyList,
    /// 404.
    NotFound,
    /// Anything else, in words.
    Unclear(String),
}

/// What stands behind an observation: whether it was UCS that spoke, and whether a 404 of the path means anything, as the
/// path is documented by analogy only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Who vouches that UCS was up and not just starting.
    pub witness: Witness,
    /// This very path has answered 200 before.
    pub answered_before: bool,
    /// This incarnation of UCS went to maintenance, and nobody but UCS itself put it there.
    pub upstream_closed_itself: bool,
    /// This incarnation answered 404 to Create Customer Profile, or to Set Server Mode production.
    pub refused: bool,
}

/// Who vouches that UCS was up when it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Witness {
    /// Nothing: its status could not be read, although it has one.
    #[default]
    None,
    /// Its status answered with a mode.
    Status,
    /// It has no status (or is not asked for it), so only time vouches for it.
    Time,
}

/// What one look says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is a schema.
    Defined,
    /// There is none, if a later look says the same.
    Missing,
    /// Nothing.
    Unknown,
}

/// What an observation means.
pub(crate) fn judge(observation: &Observation, facts: Facts) -> Verdict {
    let not_found_counts = facts.answered_before || facts.upstream_closed_itself || facts.refused;
    match observation {
        Observation::Schema => Verdict::Defined,
        Observation::EmptyList | Observation::NotFound if facts.witness == Witness::None => Verdict::Unknown,
        Observation::EmptyList => Verdict::Missing,
        Observation::NotFound if not_found_counts => Verdict::Missing,
        Observation::NotFound | Observation::Unclear(_) => Verdict::Unknown,
    }
}

/// One look at UCS: the probe, and what its status told right after.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// What was asked for, with the base path.
    pub path: String,
    pub observation: Observation,
    /// `None` when the status was not asked for: UCS's mode is left alone, or the observation needs no witness.
    pub status: Option<Reading>,
    began: Instant,
}

/// A look with the revision and the table that were in force when it began: it counts only if both still are.
#[derive(Debug)]
pub(crate) struct ProbeResult {
    pub context: ProbeContext,
    pub look: Look,
}

/// What must not change between two looks that say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeContext {
    pub revision: u64,
    /// Of the route table.
    pub generation: u32,
}

/// Whose missing schema is meant: this path, of this incarnation of UCS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    path: String,
    started: Option<String>,
}

/// A look that said that the schema is missing, until another one says so too.
#[derive(Clone, Debug)]
struct Suspicion {
    case: Case,
    context: ProbeContext,
    since: Instant,
}

/// How the status of UCS is read, and how often control does it.
#[derive(Clone, Debug)]
pub(crate) struct StatusLink {
    /// `None` when UCS's mode is left alone.
    pub link: Option<UpstreamLink>,
    pub poll_interval: Duration,
}

/// When to probe, and what is known so far.
pub(crate) struct SchemaProbe {
    client: UpstreamClient,
    status: StatusLink,
    path: Option<String>,
    interval: Duration,
    due: Instant,
    last_began: Option<Instant>,
    running: Option<Pin<Box<dyn Future<Output = ProbeResult> + Send>>>,
    /// The path that has answered 200 before.
    answered: Option<String>,
    /// The incarnation that answered 404 to Create Customer Profile, or to Set Server Mode production.
    refused_by: Option<Option<String>>,
    suspicion: Option<Suspicion>,
    /// What is known to lack its schema.
    missing: Option<Case>,
    knowledge: SchemaKnowledge,
}

impl SchemaProbe {
    /// `path` is relative to the table's base path; without one nothing is ever probed or known. `answered` is the path,
    /// with its base path, that is remembered to have answered.
    pub(crate) fn new(
        client: UpstreamClient,
        status: StatusLink,
        path: Option<String>,
        interval: Duration,
        answered: Option<String>,
    ) -> Self {
        SchemaProbe {
            client,
            status,
            path,
            interval,
            due: Instant::now(),
            last_began: None,
            running: None,
            answered,
            refused_by: None,
            suspicion: None,
            missing: None,
            knowledge: SchemaKnowledge::Unknown,
        }
    }

    /// What is asked for below this base path.
    pub(crate) fn target(&self, base: &str) -> String {
        target(base, self.path.as_deref().unwrap_or_default())
    }

    pub(crate) fn knowledge(&self) -> SchemaKnowledge {
        self.knowledge
    }

    /// Has the next probe begin at once.
    pub(crate) fn soon(&mut self) {
        self.due = Instant::now();
    }

    /// A request made one doubt: the next probe begins soon, but not more than once a second. `refused_by` is the
    /// incarnation that answered 404 to Create Customer Profile.
    pub(crate) fn accept_hint(&mut self, refused_by: Option<Option<String>>) {
        self.refused_by = refused_by.or(self.refused_by.take());
        let earliest = self.last_began.map_or_else(Instant::now, |began| began + BETWEEN_HINTS);
        self.due = self.due.min(earliest);
    }

    /// Another base path: what is known of the old one says nothing of the new one.
    pub(crate) fn begin_anew(&mut self) {
        (self.suspicion, self.missing, self.refused_by) = (None, None, None);
        self.knowledge = SchemaKnowledge::Unknown;
        self.soon();
    }

    /// The next look. May be dropped and called again without losing one that is under way.
    pub(crate) async fn next(&mut self, base: &str, context: ProbeContext) -> ProbeResult {
        if self.path.is_none() {
            return std::future::pending().await;
        }
        if self.running.is_none() {
            tokio::time::sleep_until(self.due).await;
            self.last_began = Some(Instant::now());
            let looking = self.looking(base);
            self.running = Some(Box::pin(async move { ProbeResult { context, look: looking.await } }));
        }
        let running = self.running.as_mut().expect("it was just set");
        let seen = running.as_mut().await;
        self.running = None;
        self.due = Instant::now() + self.interval;
        seen
    }

    /// One look now, apart from the regular ones; `None` when probing is off.
    pub(crate) fn look(&self, base: &str) -> impl Future<Output = Option<Look>> + Send + use<> {
        let looking = self.path.is_some().then(|| self.looking(base));
        async move {
            match looking {
                Some(looking) => Some(looking.await),
                None => None,
            }
        }
    }

    /// Takes a look in; `facts` says what `upstream_mode` knows, the rest is known here. Returns whether its path
    /// answered 200 for the first time, which is worth remembering.
    pub(crate) fn accept(&mut self, look: &Look, facts: Facts, context: ProbeContext) -> bool {
        let started = look.started();
        let answered_before = self.answered.as_ref() == Some(&look.path);
        let refused = self.refused_by.as_ref() == Some(&started);
        let facts = Facts { answered_before, refused, ..facts };
        let case = Case { path: look.path.clone(), started };
        match judge(&look.observation, facts) {
            Verdict::Defined => {
                (self.suspicion, self.missing, self.refused_by) = (None, None, None);
                self.knowledge = SchemaKnowledge::Defined;
            }
            Verdict::Missing => self.suspect(look, case, facts.witness, context),
            Verdict::Unknown => {
                (self.suspicion, self.missing) = (None, None);
                self.knowledge = SchemaKnowledge::Unknown;
            }
        }
        let answered = matches!(look.observation, Observation::Schema | Observation::EmptyList);
        if answered {
            self.answered = Some(look.path.clone());
        }
        answered && !answered_before
    }

    /// One wrong look must not close anything: a second one, a poll's time later, has to say the same of the same UCS with
    /// nothing changed between. Where only time vouches for UCS, it takes more of it.
    fn suspect(&mut self, look: &Look, case: Case, witness: Witness, context: ProbeContext) {
        if self.missing.as_ref() == Some(&case) {
            return;
        }
        self.missing = None;
        self.knowledge = SchemaKnowledge::Unknown;
        let polls = if witness == Witness::Status { 1 } else { POLLS_WITHOUT_STATUS };
        let confirmed_after = self.status.poll_interval * polls;
        match &self.suspicion {
            Some(suspicion) if (&suspicion.case, suspicion.context) == (&case, context) => {
                if look.began >= suspicion.since + confirmed_after {
                    self.suspicion = None;
                    self.missing = Some(case);
                    self.knowledge = SchemaKnowledge::Undefined;
                    return;
                }
            }
            _ => self.suspicion = Some(Suspicion { case, context, since: look.began }),
        }
        self.due = self.due.min(look.began + self.status.poll_interval).max(Instant::now());
    }

    fn looking(&self, base: &str) -> impl Future<Output = Look> + Send + use<> {
        let (client, link) = (self.client.clone(), self.status.link.clone());
        let (path, base) = (self.target(base), base.to_owned());
        async move {
            let began = Instant::now();
            let observation = observe(client.get(&path).await);
            let status = match (&observation, link) {
                (Observation::EmptyList | Observation::NotFound, Some(link)) => Some(link.read(&base).await),
                _ => None,
            };
            Look { path, observation, status, began }
        }
    }
}

impl Look {
    /// The incarnation of UCS that was looked at, if its status told.
    pub(crate) fn started(&self) -> Option<String> {
        match &self.status {
            Some(Reading::Mode(status)) => status.started.clone(),
            _ => None,
        }
    }
}

fn target(base: &str, path: &str) -> String {
    format!("{base}{path}")
}

fn observe(answer: Result<CallResponse, CallError>) -> Observation {
    match answer {
        Ok(CallResponse { status: 200, body }) => match serde_json::from_slice::<Value>(&body) {
            Ok(document) if holds_nothing(&document) => Observation::EmptyList,
            Ok(Value::Array(_) | Value::Object(_)) => Observation::Schema,
            Ok(_) => Observation::Unclear("200 with a document that is no list".to_owned()),
            Err(error) => Observation::Unclear(format!("200 with a body that is not JSON: {error}")),
        },
        Ok(CallResponse { status: 404, .. }) => Observation::NotFound,
        Ok(CallResponse { status, .. }) => Observation::Unclear(format!("status {status}")),
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
mod tests;
