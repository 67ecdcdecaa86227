//! What control does unasked: it lets a mode expire, learns of the profile schema and of UCS's own mode, and acts on
//! both.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::clerk::Until;
use crate::control::drain::AbandonedSoFar;
use crate::control::schema_probe::{Around, Facts, Look, Seen, Witness};
use crate::control::stats::add_one;
use crate::control::store_file::Fact;
use crate::control::upstream_link::{Outcome, Reading};
use crate::control::upstream_mode::{Advice, News};
use crate::control_handle::ChangeError;
use crate::policy::mode::{Actor, ActorKind, Change, Mode, ModeChange, OnTimeout, Phase, SchemaKnowledge};

/// The wait before an end that could not be reached is tried again; it doubles up to [`LONGEST_EXPIRY_RETRY`].
const EXPIRY_RETRY: Duration = Duration::from_secs(30);
const LONGEST_EXPIRY_RETRY: Duration = Duration::from_secs(15 * 60);

/// How long abandoned exchanges are told from older ones, at least.
const SHORTEST_MEMORY: Duration = Duration::from_secs(1);

/// The cause of the automatic switch, and of every refusal that follows from it.
const NO_PROFILE_SCHEMA: &str = "no_profile_schema";

/// An end that could not be reached yet.
#[derive(Debug, Default)]
pub(super) struct ExpiryTrouble {
    /// The end that is meant.
    end: Option<Timestamp>,
    failures: u32,
}

impl ExpiryTrouble {
    /// Whether this end is the one that could not be reached.
    pub(super) fn is_of(&self, end: Option<Timestamp>) -> bool {
        end.is_some() && self.end == end
    }

    /// Counts a failure and says when to try again.
    fn failed(&mut self, end: Option<Timestamp>) -> Duration {
        self.failures = if self.is_of(end) { self.failures + 1 } else { 1 };
        self.end = end;
        EXPIRY_RETRY.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_EXPIRY_RETRY)
    }
}

impl Control {
    /// Flips because the record's time is over. What fails is tried again, ever more seldom, and is an alarm from the
    /// second time on; unless somebody took the end away.
    pub(super) async fn expire(&mut self) {
        let expire = Change::Expire { drain_timeout: self.drain_timeout };
        let Err(error) = self.change(&expire).await else { return };
        if self.record.expires.is_none() || self.record.phase == Phase::Switching {
            return;
        }
        let wait = self.expiry_trouble.failed(self.record.expires);
        warn!(%error, ?wait, "the mode expired but could not be left");
        self.expiry_not_before = Instant::now() + wait;
        if self.expiry_trouble.failures > 1 {
            self.alarms.expiry = Some(format!("the mode should have ended by itself but could not be left: {error}"));
            self.publish();
        }
    }

    /// Looks apart from the regular looks and returns what is known then.
    pub(super) async fn probe_now(&mut self) -> SchemaKnowledge {
        let (base, around) = self.around();
        if let Some(look) = self.clerk.serve(self.schema.look(&base)).await {
            self.learn_schema(&look, around).await;
        }
        self.schema.knowledge()
    }

    /// A regular look came back. It counts only if nothing changed since it began.
    pub(super) async fn on_schema_seen(&mut self, seen: Seen) {
        let (base, around) = self.around();
        if seen.around != around || seen.look.path != self.schema.target(&base) {
            self.schema.soon();
            return;
        }
        self.learn_schema(&seen.look, around).await;
        match self.schema.knowledge() {
            SchemaKnowledge::Defined if self.record.force => self.end_force().await,
            SchemaKnowledge::Undefined if self.record.mode == Mode::Production && !self.record.force => {
                self.close(ActorKind::Automatic, "gateway", NO_PROFILE_SCHEMA).await;
            }
            SchemaKnowledge::Defined | SchemaKnowledge::Undefined | SchemaKnowledge::Unknown => {}
        }
    }

    /// A request was answered with 404 by UCS where it needs a profile schema.
    pub(super) fn on_schema_doubted(&mut self) {
        let refused = self.schema_hint.take_create_refused();
        self.schema.doubt(refused.then(|| self.upstream.incarnation()));
    }

    /// Takes a look in and publishes what it changes: from then on requests that need a schema get 404.
    async fn learn_schema(&mut self, look: &Look, around: Around) {
        let known = self.schema.knowledge();
        let facts = Facts {
            witness: self.witness(look),
            upstream_closed_itself: self.upstream.closed_itself(look.started().as_deref()),
            ..Facts::default()
        };
        let first_answer = self.schema.learn(look, facts, around);
        self.stats.probe(self.schema.knowledge());
        // Asks wait these milliseconds at the control handle: serving it here would tell them that a change is under way.
        let fact = Fact::SchemaPathAnswered(look.path.clone());
        if first_answer && let Err(error) = self.store.remember(fact).await {
            warn!(%error, "it cannot be remembered that the schema path answers");
        }
        if self.schema.knowledge() != known {
            info!(schema = ?self.schema.knowledge(), ?look, "what is known of the profile schema changed");
            self.publish();
        }
    }

    /// A UCS that answers 404 to everything is starting or gone, so its status has to vouch for what it says.
    fn witness(&self, look: &Look) -> Witness {
        match &look.status {
            Some(Reading::Mode(_)) => Witness::Status,
            Some(Reading::Absent(_)) if !self.upstream.has_mode() => Witness::Time,
            None if !self.upstream.enabled() => Witness::Time,
            Some(_) | None => Witness::Nobody,
        }
    }

    async fn end_force(&mut self) {
        if let Err(error) = self.change(&Change::EndForce).await {
            warn!(%error, "force stays although a profile schema was seen");
        }
    }

    /// UCS told something outside of a flip. It counts only if nothing changed since it was asked.
    pub(super) async fn on_upstream_news(&mut self, news: News) {
        match news {
            News::Polled { revision, base, reading } => {
                if (revision, base) == (self.record.revision, self.around().0) {
                    self.on_upstream_polled(reading).await;
                }
            }
            News::Set { mode, .. } if mode != self.record.mode => {}
            News::Set { mode, outcome } => {
                if !self.upstream.brought(mode, &outcome) {
                    warn!(detail = outcome.detail(), %mode, "UCS could not be set to the gateway's mode");
                }
                if let Outcome::NoSchema(status) = &outcome {
                    self.schema.doubt(Some(status.started.clone()));
                }
            }
        }
        self.refresh_upstream_alarm();
    }

    async fn on_upstream_polled(&mut self, reading: Reading) {
        let Reading::Mode(status) = reading else {
            if !matches!(reading, Reading::Absent(_)) {
                add_one(&self.stats.upstream_poll_errors);
                tracing::debug!(reading = reading.words(), "UCS's mode cannot be read");
            }
            if self.upstream.note(&reading) {
                self.set_upstream();
            }
            return;
        };
        let seen = status.mode;
        match self.upstream.learn(status, &self.record) {
            Advice::Agreed | Advice::Wait | Advice::Leave => {}
            Advice::Adopt => self.adopt(seen).await,
            Advice::SetBack => self.set_upstream(),
            Advice::Follow => self.follow().await,
        }
    }

    /// Sets UCS to the gateway's mode, if that was not tried just now.
    fn set_upstream(&mut self) {
        let (base, mode) = (self.around().0, self.record.mode);
        if self.upstream.begin_set(&base, mode) {
            warn!(%mode, "UCS is not in the gateway's mode and is set to it");
            add_one(&self.stats.upstream_set_back);
        }
    }

    /// UCS went to maintenance by itself, or will not go to production.
    async fn follow(&mut self) {
        let refused = self.upstream.complaint();
        self.close(ActorKind::Upstream, "ucs", "upstream_in_maintenance").await;
        if self.record.mode == Mode::Maintenance && refused.is_some() {
            self.alarms.followed = refused.map(|words| format!("{words}; the gateway has followed it to maintenance"));
            self.publish();
        }
    }

    /// The gateway's mode was a guess, and UCS tells its own at last.
    async fn adopt(&mut self, mode: Mode) {
        let wish = by_itself(mode, ActorKind::Upstream, "ucs", "first_seen");
        match self.change(&Change::Set(wish)).await {
            Ok(_) | Err(ChangeError::NoSchema(_)) => self.upstream.end_guess(),
            Err(error) => warn!(%error, %mode, "the first mode that UCS tells could not be taken"),
        }
    }

    pub(super) fn refresh_upstream_alarm(&mut self) {
        let complaint = self.upstream.complaint();
        if self.alarms.upstream != complaint {
            self.alarms.upstream = complaint;
            self.publish();
        }
    }

    /// Keeps what is known of UCS over restarts. A failure is tried again with the next event.
    pub(super) async fn remember_upstream(&mut self) {
        let Some(memory) = self.upstream.unsaved() else { return };
        let Ok(json) = serde_json::to_string(&memory) else { return };
        match self.clerk.serve(self.store.remember(Fact::UpstreamSeen(json))).await {
            Ok(()) => self.upstream.was_saved(memory),
            Err(error) => tracing::debug!(%error, "what is known of UCS's mode cannot be remembered"),
        }
    }

    /// Goes to maintenance for a reason that UCS gave. UCS refuses the rest by itself, so the drain's deadline commits.
    async fn close(&mut self, kind: ActorKind, name: &str, cause: &str) {
        let wish = by_itself(Mode::Maintenance, kind, name, cause);
        if let Err(error) = self.change(&Change::Set(wish)).await
            && !matches!(error, ChangeError::Cancelled(_))
        {
            warn!(%error, cause, "the gateway should be in maintenance but is not");
        }
    }

    /// Takes back the flip that a crash or a stop left unfinished: after the grace, and UCS afterwards. Until then
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
        // It may have told UCS of the new mode.
        self.upstream.owe(before);
        self.alarms.upstream = self.upstream.complaint();
        let revert = Change::Revert { cause: "recovered".to_owned(), actor: Actor::gateway() };
        let restored = self.next(&revert).expect("the record is switching");
        // Kept in memory and tried again when it cannot be saved; nobody waits for an answer.
        let _ = self.save_or_keep(restored).await;
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

/// A change that nobody asked for: at the drain's deadline it commits, as a revert would flap.
fn by_itself(mode: Mode, kind: ActorKind, name: &str, cause: &str) -> ModeChange {
    ModeChange {
        mode,
        actor: Actor { kind, name: name.to_owned() },
        reason: None,
        cause: Some(cause.to_owned()),
        if_revision: None,
        drain_timeout: None,
        on_timeout: Some(OnTimeout::Commit),
        expires_in: None,
        force: false,
    }
}
