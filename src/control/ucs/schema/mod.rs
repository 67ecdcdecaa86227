//! The schema probe: one GET that shows whether UCS has a profile schema, and the rule that turns its responses into
//! knowledge. A missing schema counts only with evidence, as one wrong response would close production; `reactions` decides
//! on the consequences.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::control::ucs::client::{CallError, CallResponse, UpstreamClient};
use crate::control::ucs::link::{Reading, UpstreamLink};
use crate::policy::mode::SchemaKnowledge;

/// The shortest interval between probes that hints trigger.
const BETWEEN_HINTS: Duration = Duration::from_secs(1);

/// How many poll intervals the schema of a UCS without a status must be missing.
const POLLS_WITHOUT_STATUS: u32 = 12;

/// Get Identification Keys, which is open in both modes: a UCS without a status that knows it is up.
const OTHER_OPERATION: &str = "/metadata/identification-keys";

/// After this many intervals without a conclusion, an operator must look: the automatic switch is out of order.
const INTERVALS_UNTIL_ALARM: u32 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// 200 with a schema.
    Schema,
    /// 200 with an empty list.
    EmptyList,
    /// 404.
    NotFound,
    /// Anything else, as a short text.
    Unclear(String),
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Observation::Schema => "a schema",
            Observation::EmptyList => "an empty list",
            Observation::NotFound => "status 404",
            Observation::Unclear(words) => words,
        })
    }
}

/// The evidence behind an observation: whether UCS was up, and whether a 404 of the path is meaningful, as the path is
/// documented by analogy only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The evidence that UCS was up and not just starting.
    pub witness: Witness,
    /// This path has returned 200 before.
    pub answered_before: bool,
    /// This incarnation of UCS went to maintenance by itself.
    pub upstream_closed_itself: bool,
    /// This incarnation returned 404 for Create Customer Profile, or for Set Server Mode to production.
    pub refused: bool,
}

/// The evidence that UCS was up at the probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Witness {
    /// None: UCS has a status, but it could not be read.
    #[default]
    None,
    /// Its status reported a mode.
    Status,
    /// UCS has no status (or the gateway does not read it) and knows another operation: only repeated probes count.
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// UCS has a schema.
    Defined,
    /// UCS has none, if a later probe confirms it.
    Missing,
    /// No conclusion.
    Unknown,
}

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

/// One probe, with the status that was read right after.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The requested path, with the base path.
    pub path: String,
    pub observation: Observation,
    /// `None` if the status was not read: UCS's mode is not used, or the observation needs no witness.
    pub status: Option<Reading>,
    /// UCS's response to [`OTHER_OPERATION`] was neither 404 nor a failure. Asked only where there is no status.
    pub knows_other: bool,
    began: Instant,
}

/// A probe with its context: it counts only if that is still the same.
#[derive(Debug)]
pub(crate) struct ProbeResult {
    pub context: ProbeContext,
    pub look: Look,
}

/// The context that must not change during a probe or between two that agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeContext {
    pub revision: u64,
    /// The generation of the route table.
    pub generation: u32,
}

/// A missing schema: of this path, in this incarnation of UCS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    path: String,
    started: Option<String>,
}

/// A missing schema that a second probe has yet to confirm.
#[derive(Clone, Debug)]
struct Suspicion {
    case: Case,
    context: ProbeContext,
    since: Instant,
}

/// The access to UCS's status, and the interval of its polls.
#[derive(Clone, Debug)]
pub(crate) struct StatusLink {
    /// `None` if UCS's mode is not used.
    pub link: Option<UpstreamLink>,
    pub poll_interval: Duration,
}

/// The schedule of probes, and the knowledge so far.
pub(crate) struct SchemaProbe {
    client: UpstreamClient,
    status: StatusLink,
    path: Option<String>,
    interval: Duration,
    due: Instant,
    last_began: Option<Instant>,
    running: Option<Pin<Box<dyn Future<Output = ProbeResult> + Send>>>,
    /// The path that has returned 200 before.
    answered: Option<String>,
    /// The incarnation that returned 404 for Create Customer Profile, or for Set Server Mode to production.
    refused_by: Option<Option<String>>,
    suspicion: Option<Suspicion>,
    /// The confirmed missing schema.
    missing: Option<Case>,
    knowledge: SchemaKnowledge,
    /// Since when no probe has led to a conclusion.
    unclear_since: Instant,
    observed: Option<Observation>,
}

impl SchemaProbe {
    /// `path` is relative to the table's base path; without one there are no probes. `answered` is the saved path,
    /// with its base path, that has returned 200.
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
            unclear_since: Instant::now(),
            observed: None,
        }
    }

    /// The requested path below this base path.
    pub(crate) fn target(&self, base: &str) -> String {
        target(base, self.path.as_deref().unwrap_or_default())
    }

    pub(crate) fn knowledge(&self) -> SchemaKnowledge {
        self.knowledge
    }

    /// Whether this incarnation was seen without a schema, if only once.
    pub(crate) fn is_missing_in(&self, started: Option<&str>) -> bool {
        let cases = [self.missing.as_ref(), self.suspicion.as_ref().map(|suspicion| &suspicion.case)];
        cases.into_iter().flatten().any(|case| case.started.as_deref() == started)
    }

    /// The alarm about probes that lead to no conclusion.
    pub(crate) fn complaint(&self) -> Option<String> {
        let path = self.path.as_ref()?;
        let is_unclear = self.knowledge == SchemaKnowledge::Unknown;
        let is_long = self.unclear_since.elapsed() >= self.interval * INTERVALS_UNTIL_ALARM;
        let observed = self.observed.as_ref().filter(|_| is_unclear && is_long)?;
        Some(format!(
            "schema_unclear: the probes of {path} do not show whether UCS has a profile schema ({observed}), so the \
             automatic switch is out of order; see --schema-probe"
        ))
    }

    /// Schedules the next probe immediately.
    pub(crate) fn soon(&mut self) {
        self.due = Instant::now();
    }

    /// Accepts a hint that the schema may be missing: the next probe begins soon, but at most one per second. `refused_by`
    /// is the incarnation that returned 404 for Create Customer Profile.
    pub(crate) fn accept_hint(&mut self, refused_by: Option<Option<String>>) {
        self.refused_by = refused_by.or(self.refused_by.take());
        let earliest = self.last_began.map_or_else(Instant::now, |began| began + BETWEEN_HINTS);
        self.due = self.due.min(earliest);
    }

    /// Resets the knowledge for another base path.
    pub(crate) fn begin_anew(&mut self) {
        (self.suspicion, self.missing, self.refused_by) = (None, None, None);
        self.knowledge = SchemaKnowledge::Unknown;
        (self.unclear_since, self.observed) = (Instant::now(), None);
        self.soon();
    }

    /// The next regular probe. Cancel safe: a probe under way continues with the next call.
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

    /// One probe now, outside of the regular interval; `None` if probing is off.
    pub(crate) fn look(&self, base: &str) -> impl Future<Output = Option<Look>> + Send + use<> {
        let looking = self.path.is_some().then(|| self.looking(base));
        async move {
            match looking {
                Some(looking) => Some(looking.await),
                None => None,
            }
        }
    }

    /// Accepts a probe; `facts` carries the part of the evidence that `server_mode` knows. Returns whether the path returned
    /// 200 for the first time, which is to be saved.
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
        if self.knowledge != SchemaKnowledge::Unknown {
            self.unclear_since = Instant::now();
        }
        self.observed = Some(look.observation.clone());
        let answered = matches!(look.observation, Observation::Schema | Observation::EmptyList);
        if answered {
            self.answered = Some(look.path.clone());
        }
        answered && !answered_before
    }

    /// One wrong response must not close production: a second probe of the same UCS, a poll interval later and in the same
    /// context, has to confirm it. Without a status of UCS the interval is longer.
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
            if !matches!(observation, Observation::EmptyList | Observation::NotFound) {
                return Look { path, observation, status: None, knows_other: false, began };
            }
            let status = match link {
                Some(link) => Some(link.read(&base).await),
                None => None,
            };
            let knows_other = matches!(status, None | Some(Reading::Absent(_)))
                && is_known(client.get(&target(&base, OTHER_OPERATION)).await);
            Look { path, observation, status, knows_other, began }
        }
    }
}

impl Look {
    /// The incarnation of the probed UCS, if its status reported it.
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

fn is_known(response: Result<CallResponse, CallError>) -> bool {
    response.is_ok_and(|response| response.status != 404 && response.status < 500)
}

/// The observation that a response to the probe is.
pub(crate) fn observe(response: Result<CallResponse, CallError>) -> Observation {
    match response {
        Ok(CallResponse { status: 200, body }) => match serde_json::from_slice::<Value>(&body) {
            Ok(document) if is_empty_list(&document) => Observation::EmptyList,
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
fn is_empty_list(document: &Value) -> bool {
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
