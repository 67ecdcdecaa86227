//! Performs the effects of the step function, and feeds it the ends of the work: saves, publishes, drains, sets UCS, and
//! replies. Nothing here waits, and nothing here decides what follows.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, info, warn};

use crate::control::Control;
use crate::control::drain::{AbandonedSoFar, Drain};
use crate::control::next_record::CUT_LIMIT;
use crate::control::protocol::{Alone, Protocol};
use crate::control::stats::add_one;
use crate::control::store::{Fact, Saved, StoreError};
use crate::control::ucs::link::{Reading, SetModeOutcome};
use crate::control::work::WorkEnd;
use crate::control::{FIRST_RETRY, Retry, SLOWEST_RETRY};
use crate::control_handle::FlipReport;
use crate::policy::flip::{Effect, Event, Failure, NextRecord, Outcome, RecordKind, Step, Ticket, UpstreamAnswer};
use crate::policy::mode::{ActorKind, DrainOutcome, Mode, ModeRecord, OperationCount, Phase, SchemaKnowledge};

const NO_RESPONSE: &str = "no response in time";

impl Control {
    /// Steps the state, and performs the effects.
    pub(super) fn feed(&mut self, event: Event) {
        let Protocol::Alone(Alone { state, .. }) = &mut self.protocol else { return self.feed_work(event) };
        let (first, before) = (state.first_requester(), state.step_under_way());
        let effects = state.step(event);
        let step = state.step_under_way();
        if before != step {
            self.leave(before);
        }
        let sets_back = effects.iter().any(|effect| matches!(effect, Effect::SetUpstreamBack(_)));
        for effect in effects {
            self.perform(effect, first);
        }
        // UCS that has to be set back does not wait for the next usual look at it.
        if before.is_some() && self.protocol.step_under_way().is_none() && !sets_back {
            self.upstream.end_flip();
        }
        while self.protocol.is_idle()
            && let Some(ticket) = self.waiting.pop_front()
        {
            self.request(ticket);
        }
    }

    /// A step is over: its work is dropped.
    pub(super) fn leave(&mut self, step: Option<Step>) {
        self.work.clear();
        if step == Some(Step::Cut) {
            self.gate.end_cut();
        }
        let is_flip = self.record().phase == Phase::Switching;
        if let (Some(Step::Drain | Step::Cut), Some(began), true) = (step, self.flip.drain_began, is_flip) {
            // Read first: a request that is abandoned between the two is named twice rather than never.
            self.flip.abandoned = AbandonedSoFar::now(&self.gate);
            self.flip.report.abandoned = self.given_up(self.record().stable_mode());
            self.flip.report.drain_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
    }

    /// The requests of a mode that were given up on since it was last drained.
    pub(super) fn given_up(&self, leaving: Mode) -> Vec<OperationCount> {
        match self.abandoned_before.get(&leaving) {
            Some(before) => before.since(&self.gate, leaving),
            None => AbandonedSoFar::default().since(&self.gate, leaving),
        }
    }

    fn perform(&mut self, effect: Effect, first: Option<Ticket>) {
        match effect {
            Effect::Save(next) => self.begin_save(next),
            Effect::Publish => self.put_in_force(),
            Effect::KeepUnsaved => self.keep_unsaved(),
            Effect::Begin(step) => self.begin(step),
            Effect::SetUpstreamBack(failure) => self.set_upstream_back(failure),
            Effect::Reply(ticket, outcome) => {
                if outcome == Outcome::Settled {
                    self.schema.soon();
                }
                self.reply(ticket, outcome, first.is_none_or(|first| first == ticket));
            }
            Effect::Wait(ticket) => self.waiting.push_back(ticket),
        }
    }

    fn begin_save(&mut self, next: NextRecord) {
        let Protocol::Alone(Alone { store, token, .. }) = &self.protocol else { return };
        let (store, token) = (store.clone(), *token);
        if matches!(next.kind, RecordKind::Requested(_)) {
            self.flip.report = FlipReport::default();
        }
        match self.next_record(next) {
            Ok(record) => {
                self.saving = Some(record.clone());
                self.save.begin(store.save(token, record));
            }
            Err(refusal) => self.save.begin(ready(Err(StoreError::Refused(refusal.into())))),
        }
    }

    /// The outcome of a save decides, however late it comes.
    pub(super) fn on_save_ended(&mut self, saved: Result<Saved<ModeRecord>, StoreError>) {
        match saved {
            Ok(saved) => {
                if let Protocol::Alone(alone) = &mut self.protocol {
                    alone.token = saved.token();
                }
                if saved.content().phase == Phase::Switching {
                    self.flip.switching = Some(saved.content().clone());
                }
                if self.retry.take().is_some() {
                    info!(revision = saved.content().revision, "mode record saved after retries");
                }
                self.alarms.save = None;
                self.note_fault_of_journal(&saved);
                self.just_saved = Some(saved);
                self.feed(Event::SaveEnded { saved: true });
            }
            Err(error) => {
                add_one(&self.stats.save_errors);
                error!(%error, "cannot save the mode record");
                self.flip.save_error = error.to_string();
                if let Some(Retry { wait, .. }) = self.retry {
                    let wait = (wait * 2).min(SLOWEST_RETRY);
                    self.retry = Some(Retry { at: Instant::now() + wait, wait });
                }
                if matches!(error, StoreError::Unknown(_)) {
                    self.lose_track();
                    self.alarms.save = Some(format!("the disk may hold a mode that is not in force: {error}"));
                    self.retry.get_or_insert(Retry { at: Instant::now() + FIRST_RETRY, wait: FIRST_RETRY });
                    self.publish();
                }
                self.feed(Event::SaveEnded { saved: false });
            }
        }
    }

    fn lose_track(&mut self) {
        if let Protocol::Alone(Alone { state, .. }) = &mut self.protocol {
            state.lose_track();
        }
    }

    /// A lost journal is an alarm until an operator or client requests another change.
    fn note_fault_of_journal(&mut self, saved: &Saved<ModeRecord>) {
        let is_requested = matches!(saved.content().actor.kind, ActorKind::Operator | ActorKind::Client);
        if let Some(fault) = saved.fault() {
            error!("{fault}");
            self.alarms.journal = Some(fault.to_owned());
        } else if is_requested && self.record().phase == Phase::Settled {
            self.alarms.journal = None;
        }
    }

    fn put_in_force(&mut self) {
        let Some(saved) = self.just_saved.take() else { return };
        self.in_force.put(saved);
        self.is_in_force();
    }

    /// The old mode must be restored, although its record cannot be saved: it is retried.
    fn keep_unsaved(&mut self) {
        let Some(record) = self.saving.take() else { return };
        self.alarms.save = Some(format!("the mode in force is not saved: {}", self.flip.save_error));
        self.retry = Some(Retry { at: Instant::now() + FIRST_RETRY, wait: FIRST_RETRY });
        self.in_force.keep_unsaved(record);
        self.is_in_force();
    }

    pub(super) fn is_in_force(&mut self) {
        let record = Arc::clone(self.record());
        if record.phase == Phase::Settled {
            if let Some(switching) = self.flip.switching.take() {
                self.flip_ended(&switching, &record);
            }
            if !self.expiry_trouble.is_of(record.expires) {
                // A record with the same end does not hasten the next attempt.
                self.expiry_not_before = Instant::now();
                self.expiry_trouble = Default::default();
                self.alarms.expiry = None;
            }
        }
        self.publish();
    }

    fn flip_ended(&mut self, switching: &ModeRecord, record: &ModeRecord) {
        let (revision, mode) = (record.revision, record.mode);
        if mode != switching.mode {
            info!(revision, %mode, cause = record.cause, "flip reverted");
            return;
        }
        let drain = record.drain.map(DrainOutcome::as_str);
        info!(revision, %mode, drain, drain_ms = self.flip.report.drain_ms, "flip settled");
        // The record has named these; the next drain names later ones.
        self.abandoned_before.insert(mode.other(), std::mem::take(&mut self.flip.abandoned));
        self.orphans_until = None;
    }

    pub(super) fn begin(&mut self, step: Step) {
        match step {
            Step::Look => self.begin_look(),
            Step::Drain => self.begin_drain(),
            Step::Cut => self.begin_cut(),
            Step::Upstream => self.begin_upstream(),
            Step::Grace if self.protocol.is_fleet() => self.begin_grace_of_leaving(),
            Step::Grace => {
                let until = self.orphans_until.unwrap_or_else(Instant::now);
                self.work.begin(async move {
                    tokio::time::sleep_until(until).await;
                    WorkEnd::GraceOver
                });
            }
            Step::Announce | Step::Settle | Step::Restore => {}
        }
    }

    fn begin_look(&mut self) {
        let (base, context) = self.probe_context();
        let look = self.schema.look(&base);
        self.work.begin(async move { WorkEnd::Looked(look.await, context) });
    }

    pub(super) fn drain_of(&self, leaving: Mode) -> Drain {
        let (gate, orphan_grace) = (Arc::clone(&self.gate), self.orphan_grace);
        Drain { gate, leaving, orphan_grace, orphans_until: self.orphans_until }
    }

    fn begin_drain(&mut self) {
        let record = Arc::clone(self.record());
        let leaving = record.mode.other();
        let drain = self.drain_of(leaving);
        if record.phase == Phase::Settled {
            // A member of a fleet opens a mode when the other one has ended.
            return self.work.begin(async move {
                drain.over().await;
                WorkEnd::Drained { complete: true }
            });
        }
        info!(revision = record.revision, from = %leaving, to = %record.mode, "flip started");
        // The work on UCS for the old mode is over.
        self.upstream.begin_flip();
        self.flip.report = FlipReport { waited_for: drain.running(), ..FlipReport::default() };
        self.flip.drain_began = Some(Instant::now());
        let limit = Duration::from_millis(record.drain_timeout_ms.unwrap_or(0));
        self.work.begin(async move { WorkEnd::Drained { complete: drain.ends_within(limit).await } });
    }

    fn begin_cut(&mut self) {
        let drain = self.drain_of(self.record().stable_mode());
        self.gate.cut(drain.leaving);
        let limit = CUT_LIMIT + self.orphan_grace;
        self.work.begin(async move { WorkEnd::Drained { complete: timeout(limit, drain.over()).await.is_ok() } });
    }

    fn begin_upstream(&mut self) {
        if !self.upstream.enabled() {
            return self.work.begin(ready(WorkEnd::NoUpstreamMode));
        }
        self.upstream.begin_flip();
        let limit = self.upstream_limit(self.record().mode);
        self.flip.upstream_until = Some(Instant::now() + limit);
        let (link, base) = (self.upstream.link.clone(), self.probe_context().0);
        self.work.begin(async move {
            let read = timeout(limit / 3, link.read(&base)).await;
            WorkEnd::UpstreamRead(read.unwrap_or_else(|_| Reading::Busy(NO_RESPONSE.to_owned())))
        });
    }

    pub(super) fn on_work_ended(&mut self, end: WorkEnd) {
        match end {
            WorkEnd::Looked(look, context) => {
                if let Some(look) = look {
                    self.accept_look(&look, context);
                }
                let undefined = self.schema.knowledge() == SchemaKnowledge::Undefined;
                self.feed(Event::Looked { undefined });
            }
            WorkEnd::Drained { complete } => {
                if !complete && self.protocol.step_under_way() == Some(Step::Drain) {
                    self.flip.report.still_running = self.drain_of(self.record().stable_mode()).running();
                    warn!(still_running = ?self.flip.report.still_running, "drain timed out");
                }
                self.feed(Event::Drained { complete });
            }
            WorkEnd::UpstreamRead(Reading::Mode(status)) if status.mode == self.record().mode => {
                self.on_upstream_set(&SetModeOutcome::InStep(status));
            }
            WorkEnd::UpstreamRead(before) => self.begin_set_mode(before),
            WorkEnd::UpstreamSet(outcome) => self.on_upstream_set(&outcome),
            WorkEnd::NoUpstreamMode => self.feed(Event::UpstreamAnswered(UpstreamAnswer::InStep)),
            WorkEnd::GraceOver => self.feed(Event::GraceOver),
        }
    }

    /// Sends Set Server Mode, once it is durable that UCS may have been moved.
    fn begin_set_mode(&mut self, before: Reading) {
        self.upstream.accept_reading(&before);
        self.upstream.begin_request(self.record().mode);
        let memory = self.upstream.unsaved().and_then(|memory| serde_json::to_string(&memory).ok());
        let remembered = memory.map(|json| self.local_writes.write(Fact::UpstreamSeen(json)));
        let (link, base, target) = (self.upstream.link.clone(), self.probe_context().0, self.record().mode);
        let until = self.flip.upstream_until.unwrap_or_else(Instant::now);
        self.work.begin(async move {
            let set = async {
                if let Some(remembered) = remembered {
                    // A failure is logged.
                    let _ = remembered.await;
                }
                let left = until.saturating_duration_since(Instant::now());
                link.set(&base, target, &before, left).await
            };
            let outcome = timeout_at(until, set).await;
            WorkEnd::UpstreamSet(outcome.unwrap_or_else(|_| no_response()))
        });
    }

    fn on_upstream_set(&mut self, outcome: &SetModeOutcome) {
        let target = self.record().mode;
        let is_in_step = self.upstream.accept_outcome(target, outcome);
        self.alarms.upstream = self.upstream.complaint();
        if let (SetModeOutcome::NoSchema(status), Mode::Production) = (outcome, target) {
            self.schema.accept_hint(Some(status.started.clone()));
        }
        let answer = match outcome {
            _ if is_in_step => UpstreamAnswer::InStep,
            SetModeOutcome::NoSchema(_) => UpstreamAnswer::NoSchema,
            SetModeOutcome::Gone(_) | SetModeOutcome::Refused { response: Some(404), .. } => UpstreamAnswer::Absent,
            _ => UpstreamAnswer::Refused,
        };
        if !is_in_step {
            self.flip.upstream_words = outcome.detail();
            warn!(detail = self.flip.upstream_words, %target, "UCS is not in the target mode");
        }
        self.feed(Event::UpstreamAnswered(answer));
    }

    /// The old mode is in force; UCS is set back in the background.
    pub(super) fn set_upstream_back(&mut self, failure: Failure) {
        let mode = self.record().mode;
        if failure == Failure::Recovered {
            // The killed gateway may have set UCS to the other mode.
            self.upstream.set_back_to(mode);
            self.schema.soon();
        } else {
            self.upstream.revert(mode);
        }
        self.alarms.upstream = self.upstream.complaint();
        self.publish();
    }
}

fn no_response() -> SetModeOutcome {
    SetModeOutcome::Unclear { detail: NO_RESPONSE.to_owned(), reading: Reading::Busy(NO_RESPONSE.to_owned()) }
}
