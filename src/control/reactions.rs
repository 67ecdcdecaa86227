//! Automatic changes: control lets a mode expire, observes the profile schema and UCS's own mode, and reacts to both. The
//! rules are in `ucs`.

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::clerk::Until;
use crate::control::stats::{add_one, count_probe};
use crate::control::store::Fact;
use crate::control::ucs::link::{Reading, SetModeOutcome};
use crate::control::ucs::schema::{Facts, Look, ProbeContext, ProbeResult, Witness};
use crate::control::ucs::server_mode::{Decision, ModeObservation};
use crate::control_handle::ChangeError;
use crate::policy::mode::{
    Actor, ActorKind, Change, Mode, ModeChange, NO_PROFILE_SCHEMA, OnTimeout, Phase, SchemaKnowledge, UPSTREAM_MOVED,
};
use crate::policy::upstream_mode::UpstreamMode;

impl Control {
    /// Flips because the mode expired. A failure is retried with growing waits, and raises an alarm from the second time
    /// on, unless the expiry was removed.
    pub(super) async fn expire(&mut self) {
        let expire = Change::Expire { drain_timeout: self.drain_timeout };
        let Err(error) = self.change(&expire).await else { return };
        if self.record.expires.is_none() || self.record.phase == Phase::Switching {
            return;
        }
        let wait = self.expiry_trouble.failed(self.record.expires);
        warn!(%error, ?wait, "the mode expired, but switching back failed");
        self.expiry_not_before = Instant::now() + wait;
        if self.expiry_trouble.failures > 1 {
            self.alarms.expiry = Some(format!("the mode expired, but switching back failed: {error}"));
            self.publish();
        }
    }

    /// Probes outside of the regular interval and returns the resulting knowledge.
    pub(super) async fn probe_now(&mut self) -> SchemaKnowledge {
        let (base, context) = self.probe_context();
        if let Some(look) = self.clerk.serve(self.schema.look(&base)).await {
            self.accept_look(&look, context).await;
        }
        self.schema.knowledge()
    }

    /// Handles a regular probe. It counts only if nothing changed since it began.
    pub(super) async fn on_schema_probed(&mut self, seen: ProbeResult) {
        let (base, context) = self.probe_context();
        if seen.context != context || seen.look.path != self.schema.target(&base) {
            self.schema.soon();
            return;
        }
        self.accept_look(&seen.look, context).await;
        match self.schema.knowledge() {
            SchemaKnowledge::Defined if self.record.force => self.end_force().await,
            SchemaKnowledge::Undefined if self.record.mode == Mode::Production && !self.record.force => {
                self.close(ActorKind::Automatic, "gateway", NO_PROFILE_SCHEMA).await;
            }
            SchemaKnowledge::Defined | SchemaKnowledge::Undefined | SchemaKnowledge::Unknown => {}
        }
    }

    /// Handles a hint: UCS returned 404 for a request that needs a profile schema.
    pub(super) fn on_schema_hint(&mut self) {
        let refused = self.schema_hint.take_create_refused();
        self.schema.accept_hint(refused.then(|| self.upstream.incarnation()));
    }

    /// Accepts a probe and publishes its result: while no schema is defined, requests that need one get 404.
    async fn accept_look(&mut self, look: &Look, context: ProbeContext) {
        let known = self.schema.knowledge();
        let facts = Facts {
            witness: self.witness(look),
            upstream_closed_itself: self.upstream.closed_itself(look.started().as_deref()),
            ..Facts::default()
        };
        let first_answer = self.schema.accept(look, facts, context);
        count_probe(&self.stats, self.schema.knowledge());
        // Commands wait these milliseconds in the queue: handled here, they would be rejected as busy.
        let fact = Fact::SchemaPathAnswered(look.path.clone());
        if first_answer && let Err(error) = self.store.remember(fact).await {
            warn!(%error, "cannot save that the schema path exists");
        }
        if self.schema.knowledge() != known {
            info!(schema = ?self.schema.knowledge(), ?look, "profile schema knowledge changed");
        }
        self.refresh();
    }

    /// A UCS that returns 404 for everything is starting or broken, so a readable status has to confirm that it is up.
    fn witness(&self, look: &Look) -> Witness {
        match &look.status {
            Some(Reading::Mode(_)) => Witness::Status,
            Some(Reading::Absent(_)) if !self.upstream.has_mode() => Witness::Time,
            None if !self.upstream.enabled() => Witness::Time,
            Some(_) | None => Witness::None,
        }
    }

    async fn end_force(&mut self) {
        if let Err(error) = self.change(&Change::EndForce).await {
            warn!(%error, "cannot end force although a profile schema is defined");
        }
    }

    /// Handles an observation of UCS outside of a flip. It counts only if nothing changed since the call began.
    pub(super) async fn on_mode_observation(&mut self, observation: ModeObservation) {
        match observation {
            ModeObservation::Polled { revision, base, reading } => {
                if (revision, base) == (self.record.revision, self.probe_context().0) {
                    self.on_upstream_polled(reading).await;
                }
            }
            ModeObservation::Set { mode, .. } if mode != self.record.mode => {}
            ModeObservation::Set { mode, outcome } => {
                if !self.upstream.accept_outcome(mode, &outcome) {
                    warn!(detail = outcome.detail(), %mode, "cannot set UCS to the gateway's mode");
                }
                if let SetModeOutcome::NoSchema(status) = &outcome {
                    self.schema.accept_hint(Some(status.started.clone()));
                }
            }
        }
        self.alarms.upstream = self.upstream.complaint();
        self.refresh();
    }

    async fn on_upstream_polled(&mut self, reading: Reading) {
        let Reading::Mode(status) = reading else {
            if !matches!(reading, Reading::Absent(_)) {
                add_one(&self.stats.upstream_poll_errors);
                tracing::debug!(reading = reading.words(), "cannot read UCS's mode");
            }
            if self.record.phase == Phase::Settled {
                self.upstream.recall(self.record.mode);
            }
            if self.upstream.accept_reading(&reading) {
                self.set_upstream();
            }
            return;
        };
        let seen = status.mode;
        match self.upstream.accept(status, &self.record) {
            Decision::Agreed | Decision::Wait | Decision::Leave => {}
            Decision::Adopt => self.adopt(seen).await,
            Decision::SetBack => self.set_upstream(),
            Decision::Moved => {
                self.record_move().await;
                self.set_upstream();
            }
            Decision::Follow => self.follow().await,
        }
    }

    /// Sets UCS to the gateway's mode, unless the last attempt was too recent.
    fn set_upstream(&mut self) {
        let (base, mode) = (self.probe_context().0, self.record.mode);
        if self.upstream.begin_set(&base, mode) {
            warn!(%mode, "UCS is not in the gateway's mode; setting it");
            add_one(&self.stats.upstream_set_back);
        }
    }

    /// Enters into the history that UCS went to production past the gateway: once, until the mode is requested again.
    async fn record_move(&mut self) {
        let moved = automatic(Mode::Maintenance, ActorKind::Upstream, "ucs", UPSTREAM_MOVED);
        let Ok(next) = self.next(&Change::Set(moved)) else { return };
        if next != *self.record {
            // Kept in memory and retried if it cannot be saved: the alarm must not wait for the disk.
            let _ = self.save_or_keep(next).await;
        }
    }

    /// The alarm that the record in force stands for, also after a restart.
    pub(super) fn alarm_of_record(&self) -> Option<String> {
        let words = match (self.record.cause.as_deref()?, self.schema.knowledge()) {
            (UPSTREAM_MOVED, _) => {
                "UCS went to production past the gateway and is set back to maintenance; \
                 find the client that reaches UCS directly, then confirm maintenance"
            }
            (NO_PROFILE_SCHEMA, SchemaKnowledge::Defined) => "profile schema is back: set production",
            (NO_PROFILE_SCHEMA, _) => "UCS has no profile schema; create one, then set production",
            _ => return None,
        };
        let is_settled = self.record.phase == Phase::Settled && self.record.mode == Mode::Maintenance;
        is_settled.then(|| format!("{}: {words}", self.record.cause.as_deref().unwrap_or_default()))
    }

    /// Follows a UCS that went to maintenance by itself or refuses production.
    async fn follow(&mut self) {
        let refused = self.upstream.complaint();
        // Did it close itself for want of a schema?
        if refused.is_none() {
            self.probe_now().await;
        }
        if self.schema.is_missing_in(self.upstream.incarnation().as_deref()) {
            self.close(ActorKind::Automatic, "gateway", NO_PROFILE_SCHEMA).await;
        } else {
            self.close(ActorKind::Upstream, "ucs", "upstream_in_maintenance").await;
        }
        if self.record.mode == Mode::Maintenance && refused.is_some() {
            self.alarms.followed = refused.map(|words| format!("{words}; the gateway followed it to maintenance"));
            self.publish();
        }
    }

    /// Adopts UCS's first reported mode in place of the gateway's guess.
    async fn adopt(&mut self, mode: Mode) {
        let change = automatic(mode, ActorKind::Upstream, "ucs", "first_seen");
        match self.change(&Change::Set(change)).await {
            Ok(_) | Err(ChangeError::NoSchema(_)) => self.upstream.end_guess(),
            Err(error) => warn!(%error, %mode, "cannot adopt the first mode that UCS reports"),
        }
    }

    /// Publishes what has changed beside the record.
    fn refresh(&self) {
        if self.state() != *self.gate.published() {
            self.publish();
        }
    }

    /// UCS's own mode, to be published.
    pub(super) fn upstream_mode(&self) -> UpstreamMode {
        let (mode, state, detail) = self.upstream.compared_with(&self.record);
        UpstreamMode { mode, state, since: Timestamp::now(), detail }.since(&self.gate.published().upstream)
    }

    /// Saves the memory of UCS for the next start. A failure is retried with the next event.
    pub(super) async fn remember_upstream(&mut self) {
        let Some(memory) = self.upstream.unsaved() else { return };
        let Ok(json) = serde_json::to_string(&memory) else { return };
        match self.clerk.serve(self.store.remember(Fact::UpstreamSeen(json))).await {
            Ok(()) => self.upstream.was_saved(memory),
            Err(error) => tracing::debug!(%error, "cannot save the memory of UCS's mode"),
        }
    }

    /// Switches to maintenance because of UCS. UCS refuses other requests itself, so the change commits at the drain timeout.
    async fn close(&mut self, kind: ActorKind, name: &str, cause: &str) {
        let change = automatic(Mode::Maintenance, kind, name, cause);
        if let Err(error) = self.change(&Change::Set(change)).await
            && !matches!(error, ChangeError::Cancelled(_))
        {
            warn!(%error, cause, "automatic switch to maintenance failed");
        }
    }

    /// Reverts a flip that a crash or stop left unfinished, after the orphan grace; UCS is set back afterwards. Until then
    /// only requests that both modes admit pass.
    pub(super) async fn resolve_unsettled(&mut self) {
        if self.record.phase == Phase::Settled {
            return;
        }
        let before = self.record.stable_mode();
        warn!(revision = self.record.revision, mode = %before, "reverting an unfinished flip");
        if let Some(until) = self.orphans_until
            && self.clerk.serve_until(Until::Stopped, tokio::time::sleep_until(until)).await.is_err()
        {
            return;
        }
        // It may have set UCS to the new mode.
        self.upstream.set_back_to(before);
        self.alarms.upstream = self.upstream.complaint();
        let revert = Change::Revert { cause: "recovered".to_owned(), actor: Actor::gateway() };
        let restored = self.next(&revert).expect("the record is switching");
        // Kept in memory and retried if it cannot be saved; no requester waits.
        let _ = self.save_or_keep(restored).await;
        self.schema.soon();
    }
}

/// An automatic change: it commits at the drain timeout, as a revert would flap.
fn automatic(mode: Mode, kind: ActorKind, name: &str, cause: &str) -> ModeChange {
    let actor = Actor { kind, name: name.to_owned() };
    ModeChange { cause: Some(cause.to_owned()), on_timeout: Some(OnTimeout::Commit), ..ModeChange::to(mode, actor) }
}
