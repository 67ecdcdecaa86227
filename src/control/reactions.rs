//! Automatic changes: control observes the profile schema and UCS's own mode, and reacts to both. The rules are in `ucs`.

use jiff::Timestamp;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::requests::{Ended, Requester};
use crate::control::stats::{add_one, count_probe};
use crate::control::store::{Fact, StoreError};
use crate::control::ucs::link::{Reading, SetModeOutcome};
use crate::control::ucs::schema::{Facts, Look, Observation, ProbeContext, ProbeResult, Witness};
use crate::control::ucs::server_mode::{Decision, ModeObservation};
use crate::control_handle::ChangeError;
use crate::policy::fleet::Word;
use crate::policy::flip::Step;
use crate::policy::mode::{
    Actor, ActorKind, Change, Mode, ModeChange, NO_PROFILE_SCHEMA, OnTimeout, Phase, SchemaKnowledge, UPSTREAM_MOVED,
};
use crate::policy::upstream_mode::UpstreamMode;

/// The cause of a change that follows UCS.
const UPSTREAM_CLOSED: &str = "upstream_in_maintenance";

/// The words of the alarm about a UCS that was opened past the gateway.
const MOVED: &str = "UCS went to production past the gateway and is set back to maintenance; \
                     find the client that reaches UCS directly, then confirm maintenance";

/// The alarm about a UCS that refused production as one without a schema does, by the result of the probe.
const NO_SCHEMA_BUT_SEEN: &str = "UCS refused production with 404, as it does without a profile schema, although the \
                                  probe finds one; see UCS's log, and the path of --schema-probe";
const NO_SCHEMA_BY_UCS: &str = "UCS refused production with 404, as it does without a profile schema; create one, then \
                                set production";

impl Control {
    /// The result of an automatic change.
    pub(super) fn automatic_change_ended(&mut self, requester: Requester, ended: Ended) {
        match (requester, ended) {
            (Requester::Expiry, Err(error)) => self.expiry_failed(&error),
            (Requester::EndForce, Err(error)) => {
                warn!(%error, "cannot end force although a profile schema is defined");
            }
            (Requester::Close(cause), Err(error)) => close_failed(cause, &error),
            (Requester::Follow(refused), ended) => self.followed(refused, ended),
            (Requester::Adopt(_), Ok(_) | Err(ChangeError::NoSchema(_))) => self.upstream.end_guess(),
            (Requester::Adopt(mode), Err(error)) => {
                warn!(%error, %mode, "cannot adopt the first mode that UCS reports")
            }
            (Requester::Scheduled(words), Err(error)) => self.scheduled_failed(&words, &error),
            // The alarm must not wait for the disk.
            (Requester::Moved, Err(ChangeError::NotDurable { .. })) => {
                self.alarms.followed = Some(format!("{UPSTREAM_MOVED}: {MOVED}"));
                self.publish();
            }
            (Requester::GiveUp, Err(ChangeError::NotDurable { .. })) => self.scheduled_kept(),
            (_, _) => {}
        }
    }

    fn followed(&mut self, refused: Option<String>, ended: Ended) {
        if let Err(error) = ended {
            close_failed(UPSTREAM_CLOSED, &error);
        }
        if self.record().mode == Mode::Maintenance && refused.is_some() {
            self.alarms.followed = refused.map(|words| format!("{words}; the gateway followed it to maintenance"));
            self.publish();
        }
    }

    /// Handles a regular probe. It counts only if nothing changed since it began.
    pub(super) fn on_schema_probed(&mut self, seen: ProbeResult) {
        if matches!(self.protocol.step_under_way(), Some(Step::Upstream | Step::Settle | Step::Restore)) {
            // UCS was being set meanwhile, and says nothing reliable then.
            return;
        }
        let (base, context) = self.probe_context();
        if seen.context != context || seen.look.path != self.schema.target(&base) {
            self.schema.soon();
            return;
        }
        if !self.protocol.is_idle() && matches!(seen.look.observation, Observation::Unclear(_)) {
            // While UCS switches, it responds 503 to everything.
            return;
        }
        self.accept_look(&seen.look, context);
        if !self.protocol.is_idle() {
            // After a flip there is a probe again.
            return;
        }
        let (mode, force) = (self.record().mode, self.record().force);
        if self.protocol.is_fleet() {
            return self.note_schema_in_fleet();
        }
        match self.schema.knowledge() {
            SchemaKnowledge::Defined if force => self.submit(Change::EndForce, Requester::EndForce),
            SchemaKnowledge::Undefined if mode == Mode::Production && !force => {
                let change = automatic(Mode::Maintenance, ActorKind::Automatic, "gateway", NO_PROFILE_SCHEMA);
                self.submit(Change::Set(change), Requester::Close(NO_PROFILE_SCHEMA));
            }
            SchemaKnowledge::Defined | SchemaKnowledge::Undefined | SchemaKnowledge::Unknown => {}
        }
    }

    /// A member without a schema closes itself alone.
    fn note_schema_in_fleet(&mut self) {
        let (mode, force) = (self.record().mode, self.record().force);
        let has_no_mode = !self.upstream.enabled() || !self.upstream.has_mode();
        match self.schema.knowledge() {
            SchemaKnowledge::Undefined if mode == Mode::Production && !force => self.narrow(Some(Word::NoSchema)),
            // A UCS with a mode of its own says itself that it is open.
            SchemaKnowledge::Defined if has_no_mode => self.widen(),
            SchemaKnowledge::Defined | SchemaKnowledge::Undefined | SchemaKnowledge::Unknown => {}
        }
    }

    /// Handles a hint: UCS returned 404 for a request that needs a profile schema.
    pub(super) fn on_schema_hint(&mut self) {
        let refused = self.inbox.schema_hint.take_create_refused();
        self.schema.accept_hint(refused.then(|| self.upstream.incarnation()));
    }

    /// Accepts a probe and publishes its result: while no schema is defined, requests that need one get 404.
    pub(super) fn accept_look(&mut self, look: &Look, context: ProbeContext) {
        let known = self.schema.knowledge();
        let facts = Facts {
            witness: self.witness(look),
            upstream_closed_itself: self.upstream.closed_itself(look.started().as_deref()),
            ..Facts::default()
        };
        let first_answer = self.schema.accept(look, facts, context);
        count_probe(&self.stats, self.schema.knowledge());
        if first_answer {
            self.local_writes.write(Fact::SchemaPathAnswered(look.path.clone()));
        }
        if self.schema.knowledge() != known {
            info!(schema = ?self.schema.knowledge(), ?look, "profile schema knowledge changed");
        }
        self.refresh();
    }

    /// A UCS that returns 404 for everything is starting or broken, so a readable status has to confirm that it is up, or
    /// another operation if there is none.
    fn witness(&self, look: &Look) -> Witness {
        match &look.status {
            Some(Reading::Mode(_)) => Witness::Status,
            Some(Reading::Absent(_)) if look.knows_other && !self.upstream.has_mode() => Witness::Time,
            None if look.knows_other && !self.upstream.enabled() => Witness::Time,
            Some(_) | None => Witness::None,
        }
    }

    /// Handles an observation of UCS outside of a flip. It counts only if nothing changed since the call began.
    pub(super) fn on_mode_observation(&mut self, observation: ModeObservation) {
        match observation {
            // During a change it is only seen: the change decides about UCS. A stop may leave a flip to the next start.
            ModeObservation::Polled { reading, .. }
                if !self.protocol.is_idle() || self.record().phase == Phase::Switching =>
            {
                self.upstream.accept_reading(&reading);
            }
            ModeObservation::Polled { revision, base, reading } => {
                if (revision, base) == (self.record().revision, self.probe_context().0) {
                    self.on_upstream_polled(reading);
                } else {
                    self.upstream.poll_soon();
                }
            }
            ModeObservation::Set { mode, .. } if mode != self.record().mode => {}
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

    fn on_upstream_polled(&mut self, reading: Reading) {
        let Reading::Mode(status) = reading else {
            if !matches!(reading, Reading::Absent(_)) {
                add_one(&self.stats.upstream_poll_errors);
                tracing::debug!(reading = reading.words(), "cannot read UCS's mode");
            }
            self.upstream.recall(self.record().mode);
            if self.upstream.accept_reading(&reading) {
                self.set_upstream();
            }
            return;
        };
        let seen = status.mode;
        match self.upstream.accept(status, self.in_force.record()) {
            Decision::Agreed if self.schema.knowledge() != SchemaKnowledge::Undefined => self.widen(),
            Decision::Agreed | Decision::Wait | Decision::Leave => {}
            // The mode of a fleet is no guess.
            Decision::Adopt if self.protocol.is_fleet() => self.set_upstream(),
            Decision::Adopt => self.adopt(seen),
            Decision::SetBack => self.set_upstream(),
            Decision::Moved => {
                self.record_move();
                self.set_upstream();
            }
            Decision::Follow => self.follow(),
        }
    }

    /// Sets UCS to the gateway's mode, unless the last attempt was too recent.
    fn set_upstream(&mut self) {
        let (base, mode) = (self.probe_context().0, self.record().mode);
        if self.upstream.begin_set(&base, mode) {
            warn!(%mode, "UCS is not in the gateway's mode; setting it");
            add_one(&self.stats.upstream_set_back);
        }
    }

    /// Enters into the history that UCS went to production past the gateway: once, until the mode is requested again.
    fn record_move(&mut self) {
        if self.protocol.is_fleet() {
            // It concerns this member alone.
            self.alarms.followed = Some(format!("{UPSTREAM_MOVED}: {MOVED}"));
            return;
        }
        let moved = automatic(Mode::Maintenance, ActorKind::Upstream, "ucs", UPSTREAM_MOVED);
        self.submit(Change::Set(moved), Requester::Moved);
    }

    /// The alarm that the record in force stands for, also after a restart.
    pub(super) fn alarm_of_record(&self) -> Option<String> {
        let record = self.record();
        let cause = record.cause.as_deref()?;
        let refused = self.upstream.has_refused_production();
        let words = match (cause, self.schema.knowledge()) {
            (UPSTREAM_MOVED, _) => MOVED,
            // The record of a flip to production that UCS did not follow.
            (NO_PROFILE_SCHEMA, SchemaKnowledge::Defined) if refused => NO_SCHEMA_BUT_SEEN,
            (NO_PROFILE_SCHEMA, SchemaKnowledge::Unknown) if refused => NO_SCHEMA_BY_UCS,
            (NO_PROFILE_SCHEMA, SchemaKnowledge::Defined) => "profile schema is back: set production",
            (NO_PROFILE_SCHEMA, _) => "UCS has no profile schema; create one, then set production",
            _ => return None,
        };
        let is_settled = record.phase == Phase::Settled && record.mode == Mode::Maintenance;
        is_settled.then(|| format!("{cause}: {words}"))
    }

    /// Follows a UCS that went to maintenance by itself or refuses production.
    fn follow(&mut self) {
        let refused = self.upstream.complaint();
        if refused.is_some() {
            return self.follow_now(refused);
        }
        // Did it close itself because it has no schema?
        if self.follow_look.is_empty() {
            let (base, context) = self.probe_context();
            let look = self.schema.look(&base);
            self.follow_look.begin(async move { (look.await, context) });
        }
    }

    /// UCS is followed, if nothing changed meanwhile.
    pub(super) fn on_follow_looked(&mut self, look: Option<Look>, context: ProbeContext) {
        if context != self.probe_context().1 || !self.protocol.is_idle() {
            return;
        }
        if let Some(look) = look {
            self.accept_look(&look, context);
        }
        self.follow_now(None);
    }

    fn follow_now(&mut self, refused: Option<String>) {
        if self.protocol.is_fleet() {
            let is_missing = self.schema.is_missing_in(self.upstream.incarnation().as_deref());
            return self.narrow(Some(if is_missing { Word::NoSchema } else { Word::Behind }));
        }
        let (kind, name, cause) = if self.schema.is_missing_in(self.upstream.incarnation().as_deref()) {
            (ActorKind::Automatic, "gateway", NO_PROFILE_SCHEMA)
        } else {
            (ActorKind::Upstream, "ucs", UPSTREAM_CLOSED)
        };
        self.submit(Change::Set(automatic(Mode::Maintenance, kind, name, cause)), Requester::Follow(refused));
    }

    /// Adopts UCS's first reported mode in place of the gateway's guess.
    fn adopt(&mut self, mode: Mode) {
        let change = automatic(mode, ActorKind::Upstream, "ucs", "first_seen");
        self.submit(Change::Set(change), Requester::Adopt(mode));
    }

    /// Publishes changes beside the record.
    pub(super) fn refresh(&self) {
        if self.published() != *self.gate.published() {
            self.publish();
        }
    }

    /// UCS's own mode, to be published.
    pub(super) fn upstream_mode(&self) -> UpstreamMode {
        let (mode, state, detail) = self.upstream.compared_with(self.record());
        UpstreamMode { mode, state, since: Timestamp::now(), detail }.since(&self.gate.published().upstream)
    }

    /// Saves the memory of UCS for the next start, beside the loop.
    pub(super) fn remember_upstream(&mut self) {
        if let Some(memory) = self.upstream.unsaved()
            && self.local_writes.may_write()
            && let Ok(json) = serde_json::to_string(&memory)
        {
            self.local_writes.write(Fact::UpstreamSeen(json));
        }
    }

    pub(super) fn on_local_written(&mut self, fact: Fact, written: Result<(), StoreError>) {
        match (fact, written) {
            (Fact::UpstreamSeen(json), Ok(())) => {
                if let Ok(memory) = serde_json::from_str(&json) {
                    self.upstream.was_saved(memory);
                }
            }
            (Fact::Local(_), written) => self.on_local_saved(written),
            (Fact::SchemaPathAnswered(_) | Fact::Bypasses(_) | Fact::Fleet(_), Ok(())) => {}
            (fact, Err(error)) => warn!(%error, ?fact, "cannot save the local state"),
        }
    }

    /// Begins to end a flip that a crash or stop left unfinished, after the orphan grace; UCS is set afterwards. Until then
    /// only requests that both modes admit pass.
    pub(super) fn resolve_unsettled(&mut self) {
        let record = self.record();
        warn!(revision = record.revision, mode = %record.mode_after_start(), "ending an unfinished flip");
        self.begin(Step::Grace);
    }
}

fn close_failed(cause: &str, error: &ChangeError) {
    if !matches!(error, ChangeError::Cancelled(_)) {
        warn!(%error, cause, "automatic switch to maintenance failed");
    }
}

/// An automatic change: it commits at the drain timeout, as a revert would flap.
fn automatic(mode: Mode, kind: ActorKind, name: &str, cause: &str) -> ModeChange {
    let actor = Actor::new(kind, name);
    ModeChange { cause: Some(cause.to_owned()), on_timeout: Some(OnTimeout::Commit), ..ModeChange::to(mode, actor) }
}
