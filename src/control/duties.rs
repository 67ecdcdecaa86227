//! What control does unasked: it lets a mode expire, learns of the profile schema and of UCS's own mode, and acts on
//! both.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::clerk::Until;
use crate::control::drain::AbandonedSoFar;
use crate::control::schema_probe::{Observation, Seen};
use crate::control::stats::add_one;
use crate::control::store_file::Fact;
use crate::control::upstream_mode::{Advice, Failure, News};
use crate::desk::ChangeError;
use crate::policy::mode::{Actor, ActorKind, Change, Mode, ModeChange, OnTimeout, Phase, SchemaKnowledge};

/// After an expiry that could not be carried out, the next attempt.
const EXPIRY_RETRY: Duration = Duration::from_secs(30);

/// How long abandoned exchanges are told from older ones, at least.
const SHORTEST_MEMORY: Duration = Duration::from_secs(1);

/// The cause of the automatic switch, and of every refusal that follows from it.
pub(super) const NO_PROFILE_SCHEMA: &str = "no_profile_schema";

impl Control {
    /// Flips because the record's time is over. A drain that fails is tried again later.
    pub(super) async fn expire(&mut self) {
        let expire = Change::Expire { drain_timeout: self.drain_timeout };
        if let Err(error) = self.change(&expire).await {
            warn!(%error, "the mode expired but could not be left");
            self.expiry_not_before = Instant::now() + EXPIRY_RETRY;
        }
    }

    /// Probes apart from the regular probes and returns what is known then.
    pub(super) async fn probe_now(&mut self) -> SchemaKnowledge {
        let base = self.gate.table().table().base_path.to_string();
        if let Some(observation) = self.clerk.serve(self.schema.look(&base)).await {
            self.learn_schema(&observation).await;
        }
        self.schema.knowledge()
    }

    /// A regular probe came back. It counts only if nothing changed since it began.
    pub(super) async fn on_schema_seen(&mut self, seen: Seen) {
        if seen.revision != self.record.revision {
            self.schema.soon();
            return;
        }
        self.learn_schema(&seen.observation).await;
        match self.schema.knowledge() {
            SchemaKnowledge::Defined if self.record.force => self.end_force().await,
            SchemaKnowledge::Undefined if self.record.mode == Mode::Production && !self.record.force => {
                self.close(ActorKind::Automatic, "gateway", NO_PROFILE_SCHEMA).await;
            }
            SchemaKnowledge::Defined | SchemaKnowledge::Undefined | SchemaKnowledge::Unknown => {}
        }
    }

    /// Takes an observation in and publishes what it changes: from then on requests that need a schema get 404.
    async fn learn_schema(&mut self, observation: &Observation) {
        let known = self.schema.knowledge();
        let first_answer = self.schema.learn(observation, self.upstream_closed_itself());
        self.stats.probe(self.schema.knowledge());
        // Asks wait these milliseconds at the desk: serving it here would tell them that a change is under way.
        let fact = Fact::SchemaPathAnswered(self.schema.target(&self.gate.table().table().base_path));
        if first_answer && let Err(error) = self.store.remember(fact).await {
            warn!(%error, "it cannot be remembered that the schema path answers");
        }
        if self.schema.knowledge() != known {
            info!(schema = ?self.schema.knowledge(), ?observation, "what is known of the profile schema changed");
            self.publish();
        }
    }

    /// UCS reports maintenance and the gateway did not put it there.
    fn upstream_closed_itself(&self) -> bool {
        let closed_by_us = self.record.mode == Mode::Maintenance
            && self.record.actor.kind != ActorKind::Upstream
            && self.record.cause.as_deref() != Some(NO_PROFILE_SCHEMA);
        self.upstream.reported() == Some(Mode::Maintenance) && !closed_by_us
    }

    async fn end_force(&mut self) {
        if let Err(error) = self.change(&Change::EndForce).await {
            warn!(%error, "force stays although a profile schema was seen");
        }
    }

    /// UCS told something outside of a flip. It counts only if nothing changed since it was asked.
    pub(super) async fn on_upstream_news(&mut self, news: News) {
        match news {
            News::Polled { revision, .. } if revision != self.record.revision => {}
            News::Polled { status: Err(error), .. } => {
                add_one(&self.stats.upstream_poll_errors);
                tracing::debug!(%error, "UCS's status cannot be read");
            }
            News::Polled { status: Ok(None), .. } => {}
            News::Polled { status: Ok(Some(status)), .. } => match self.upstream.learn(status, self.record.mode) {
                Advice::Agreed => self.set_upstream_alarm(None),
                Advice::Wait => {}
                Advice::Follow => self.close(ActorKind::Upstream, "ucs", "upstream_in_maintenance").await,
                Advice::SetBack => {
                    warn!(mode = %self.record.mode, "UCS is not in the gateway's mode and is set back");
                    add_one(&self.stats.upstream_set_back);
                    let base = self.gate.table().table().base_path.to_string();
                    self.upstream.begin_set_back(&base, self.record.mode);
                }
            },
            News::SetBack { outcome } => self.on_set_back(outcome),
        }
    }

    fn on_set_back(&mut self, outcome: Result<(), Failure>) {
        let mode = self.record.mode;
        match outcome {
            Ok(()) => self.set_upstream_alarm(None),
            Err(Failure::Lacking(status)) if mode == Mode::Maintenance => {
                warn!(status, "UCS has no Set Server Mode: the gateway's mode alone counts");
                self.upstream.leave_alone();
            }
            // To production 404 also means that UCS has no profile schema; then the gateway follows.
            Err(Failure::Lacking(status)) => self.follow_from_now(format!("status {status}")),
            Err(Failure::Refused(detail)) if mode == Mode::Production => self.follow_from_now(detail),
            Err(Failure::Refused(detail) | Failure::Unsure(detail)) => {
                self.set_upstream_alarm(Some(format!("UCS could not be set back to {mode}: {detail}")));
            }
        }
    }

    fn follow_from_now(&mut self, detail: String) {
        self.upstream.believe();
        self.set_upstream_alarm(Some(format!("UCS could not be set back to production: {detail}")));
    }

    fn set_upstream_alarm(&mut self, alarm: Option<String>) {
        if self.alarms.upstream != alarm {
            self.alarms.upstream = alarm;
            self.publish();
        }
    }

    /// Goes to maintenance for a reason that UCS gave. UCS refuses the rest by itself, so the drain's deadline commits.
    async fn close(&mut self, kind: ActorKind, name: &str, cause: &str) {
        let wish = ModeChange {
            mode: Mode::Maintenance,
            actor: Actor { kind, name: name.to_owned() },
            reason: None,
            cause: Some(cause.to_owned()),
            if_revision: None,
            drain_timeout: None,
            on_timeout: Some(OnTimeout::Commit),
            expires_in: None,
            force: false,
        };
        if let Err(error) = self.change(&Change::Set(wish)).await
            && !matches!(error, ChangeError::Cancelled(_))
        {
            warn!(%error, cause, "the gateway should be in maintenance but is not");
        }
    }

    /// Takes back the flip that a crash or a stop left unfinished: after the grace, and at UCS first. Until then
    /// nothing of a single mode is admitted.
    pub(super) async fn resolve_unsettled(&mut self) {
        if self.record.phase == Phase::Settled {
            return;
        }
        let before = self.record.stable_mode();
        warn!(revision = self.record.revision, mode = %before, "an unfinished flip is taken back");
        if let Some(until) = self.ghosts_until
            && self.clerk.serve_until(Until::Stopped, tokio::time::sleep_until(until)).await.is_err()
        {
            return;
        }
        self.upstream.suspect();
        self.set_upstream_back(before).await;
        let revert = Change::Revert { cause: "recovered".to_owned(), actor: Actor::gateway() };
        let restored = self.next(&revert).expect("the record is switching");
        self.save_or_keep(restored).await;
        self.schema.soon();
    }

    /// Keeps the abandoned counts of one to two graces ago, so that a flip can name what was abandoned shortly before
    /// it.
    pub(super) fn forget_abandoned(&mut self) {
        let now = AbandonedSoFar::now(&self.gate);
        self.forget_at = Instant::now() + self.orphan_grace.max(SHORTEST_MEMORY);
        self.abandoned_before = std::mem::replace(&mut self.abandoned_lately, now);
    }
}
