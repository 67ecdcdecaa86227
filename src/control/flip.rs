//! The flip, from top to bottom: announce, drain, switch UCS, settle; and the revert when a step fails. While it waits,
//! commands are handled. `policy::mode` decides which record may follow another, `drain` when a drain is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::control::Control;
use crate::control::clerk::{Interrupt, Until};
use crate::control::drain::{AbandonedSoFar, Drain};
use crate::control::store::StoreError;
use crate::control::ucs::link::{Reading, SetModeOutcome};
use crate::control_handle::{ChangeError, FlipReport, Flipped};
use crate::policy::mode::{Actor, Change, DrainOutcome, Mode, ModeRecord, OnTimeout, OperationCount};

/// The longest time for aborted exchanges to end, besides the orphan grace.
const CUT_LIMIT: Duration = Duration::from_secs(10);

/// The longest wait for UCS in a flip to maintenance.
const LONGEST_WAIT_FOR_MAINTENANCE: Duration = Duration::from_secs(15);

/// The reason why a flip did not settle.
#[derive(Debug)]
enum FlipFailure {
    /// The `switching` record could not be saved: nothing has changed.
    NotBegun(StoreError),
    /// The `settled` record could not be saved.
    NotSettled(StoreError),
    /// The drain timed out.
    Deadline,
    /// UCS did not change its mode.
    Upstream(String),
    /// UCS refused production because no profile schema is defined.
    NoSchema,
    /// A later change cancelled the flip.
    Cancelled,
    /// The gateway stops.
    Stopped,
}

impl From<Interrupt> for FlipFailure {
    fn from(interrupt: Interrupt) -> FlipFailure {
        match interrupt {
            Interrupt::Stopped => FlipFailure::Stopped,
            Interrupt::Cancelled => FlipFailure::Cancelled,
        }
    }
}

impl Control {
    /// Carries out a flip, or reverts it, and returns the result.
    pub(super) async fn flip(&mut self, switching: ModeRecord) -> Result<Flipped, ChangeError> {
        let before = Arc::clone(&self.record);
        let mut report = FlipReport::default();
        let ended = match self.carry_out(switching, &mut report).await {
            Ok(()) => Ok(Flipped { record: Arc::clone(&self.record), report }),
            Err(failure) => Err(self.revert(&before, failure, report).await),
        };
        self.upstream.end_flip();
        ended
    }

    /// The steps of a flip. Each is durable, or undone by [`Self::revert`].
    async fn carry_out(&mut self, switching: ModeRecord, report: &mut FlipReport) -> Result<(), FlipFailure> {
        let (leaving, target) = (switching.stable_mode(), switching.mode);
        self.save_then_publish(switching).await.map_err(FlipFailure::NotBegun)?;
        info!(revision = self.record.revision, from = %leaving, to = %target, "flip started");
        let (drain, abandoned) = self.drain(leaving, report).await?;
        self.switch_upstream(target).await?;
        let settle = Change::Settle { drain, abandoned: unfinished(drain, report) };
        let settled = self.next(&settle).expect("only this flip can end the switching phase");
        self.save_then_publish(settled).await.map_err(FlipFailure::NotSettled)?;
        report.changed = true;
        // The record has said so of these; the next drain names what comes later.
        self.abandoned_before.insert(leaving, abandoned);
        self.orphans_until = None;
        info!(revision = self.record.revision, mode = %target, drain = drain.as_str(), drain_ms = report.drain_ms, "flip settled");
        Ok(())
    }

    /// Waits for requests that only the old mode admits. Returns how sure it is that they have ended, and what was abandoned
    /// until then.
    async fn drain(
        &mut self,
        leaving: Mode,
        report: &mut FlipReport,
    ) -> Result<(DrainOutcome, AbandonedSoFar), FlipFailure> {
        let began = Instant::now();
        let drain = Drain {
            gate: Arc::clone(&self.gate),
            leaving,
            orphan_grace: self.orphan_grace,
            orphans_until: self.orphans_until,
        };
        report.waited_for = drain.running();
        let ended = self.drain_until_deadline(&drain, began, report).await;
        report.drain_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Read first: what is abandoned between the two is named twice rather than never.
        let abandoned = AbandonedSoFar::now(&self.gate);
        report.abandoned = self.abandoned_before.entry(leaving).or_default().since(&self.gate, leaving);
        let has_orphans = self.orphans_until.is_some() || !report.abandoned.is_empty();
        let outcome = match (ended?, has_orphans) {
            (false, _) => DrainOutcome::Forced,
            (true, true) => DrainOutcome::Assumed,
            (true, false) => DrainOutcome::Complete,
        };
        Ok((outcome, abandoned))
    }

    /// Whether the drain is over; false if the flip commits without it.
    async fn drain_until_deadline(
        &mut self,
        drain: &Drain,
        began: Instant,
        report: &mut FlipReport,
    ) -> Result<bool, FlipFailure> {
        let timeout = Duration::from_millis(self.record.drain_timeout_ms.unwrap_or(0));
        let deadline = began.checked_add(timeout).unwrap_or(began + Duration::from_secs(u64::from(u32::MAX)));
        let mut in_time = self.clerk.serve_until(Until::Cancelled, timeout_at(deadline, drain.over())).await?.is_ok();
        if !in_time && drain.waits_for_graces_only() {
            // Nothing is left to abort, and nothing new is admitted: it ends within the grace period.
            let limit = Instant::now() + self.orphan_grace;
            in_time = self.clerk.serve_until(Until::Cancelled, timeout_at(limit, drain.over())).await?.is_ok();
        }
        if in_time || drain.is_over() {
            return Ok(true);
        }
        report.still_running = drain.running();
        warn!(still_running = ?report.still_running, "drain timed out");
        match self.record.on_timeout.unwrap_or_default() {
            OnTimeout::Revert => Err(FlipFailure::Deadline),
            OnTimeout::Commit => Ok(false),
            OnTimeout::Cut => {
                self.gate.cut(drain.leaving);
                let limit = Instant::now() + CUT_LIMIT + self.orphan_grace;
                let cut = self.clerk.serve_until(Until::Cancelled, timeout_at(limit, drain.over())).await;
                self.gate.end_cut();
                cut?.map(|()| true).map_err(|_| FlipFailure::Deadline)
            }
        }
    }

    /// Sends Set Server Mode if UCS has a mode of its own. A failure fails a flip to production, never one to maintenance,
    /// as the gate admits no request that UCS should refuse. A cancel waits until the outcome is known.
    async fn switch_upstream(&mut self, target: Mode) -> Result<(), FlipFailure> {
        if !self.upstream.enabled() {
            return Ok(());
        }
        self.upstream.begin_flip();
        let base = self.gate.table().table().base_path.to_string();
        let link = self.upstream.link.clone();
        // Maintenance waits no longer than this: it settles without UCS, which is set later.
        let limit = match target {
            Mode::Production => link.set_mode_timeout,
            Mode::Maintenance => link.set_mode_timeout.min(LONGEST_WAIT_FOR_MAINTENANCE),
        };
        let until = Instant::now() + limit;
        let before = self.clerk.serve_until(Until::Stopped, timeout(limit / 3, link.read(&base))).await?;
        let outcome = match before.unwrap_or_else(|_| Reading::Busy("no response in time".to_owned())) {
            Reading::Mode(status) if status.mode == target => SetModeOutcome::InStep(status),
            before => {
                self.upstream.accept_reading(&before);
                self.upstream.begin_request(target);
                self.remember_upstream().await;
                let limit = until.saturating_duration_since(Instant::now());
                self.clerk.serve_until(Until::Stopped, link.set(&base, target, &before, limit)).await?
            }
        };
        let judged = self.judge_switch(target, &outcome);
        // A cancel that came meanwhile decides, whatever the outcome at UCS.
        self.clerk.interrupt(Until::Cancelled).map_or(judged, |interrupt| Err(interrupt.into()))
    }

    fn judge_switch(&mut self, target: Mode, outcome: &SetModeOutcome) -> Result<(), FlipFailure> {
        let is_in_step = self.upstream.accept_outcome(target, outcome);
        self.alarms.upstream = self.upstream.complaint();
        if is_in_step {
            return Ok(());
        }
        if let (SetModeOutcome::NoSchema(status), Mode::Production) = (outcome, target) {
            self.schema.accept_hint(Some(status.started.clone()));
        }
        let detail = outcome.detail();
        let may_be_forced = matches!(
            outcome,
            SetModeOutcome::NoSchema(_) | SetModeOutcome::Gone(_) | SetModeOutcome::Refused { not_found: true, .. }
        );
        if target == Mode::Maintenance || (self.record.force && may_be_forced) {
            warn!(detail, %target, "UCS is not in the gateway's mode yet; retrying in the background");
            return Ok(());
        }
        match outcome {
            SetModeOutcome::NoSchema(_) => Err(FlipFailure::NoSchema),
            _ => Err(FlipFailure::Upstream(detail)),
        }
    }

    /// Puts the old mode in force again, durably (or in memory if that fails) and then at the gate. UCS is set back
    /// afterwards in the background: the gate decides what is admitted, not UCS.
    async fn revert(&mut self, before: &ModeRecord, failure: FlipFailure, report: FlipReport) -> ChangeError {
        match &failure {
            FlipFailure::NotBegun(error) => return self.not_durable(error),
            // The record stays as it is: the next start reverts the flip.
            FlipFailure::Stopped => return ChangeError::ShuttingDown,
            _ => {}
        }
        let error = error_of(failure, Arc::clone(&self.record), report.clone());
        let is_cancelled = matches!(error, ChangeError::Cancelled(_));
        // Also when the flip failed otherwise: a cancel that was accepted gets its own record.
        let canceller = self.clerk.take_cancel();
        let change = match &canceller {
            Some((change, _)) => Change::Set(change.clone()),
            None => Change::Revert { cause: error.reason().to_owned(), actor: Actor::gateway() },
        };
        let restored = self.next(&change).expect("only a change back to the old mode cancels a flip");
        self.upstream.revert(before.mode);
        self.alarms.upstream = self.upstream.complaint();
        let saved = self.save_or_keep(restored).await;
        info!(revision = self.record.revision, mode = %self.record.mode, %error, "flip reverted");
        let record = Arc::clone(&self.record);
        let not_kept = saved.err().map(|error| self.not_durable(&error));
        if let Some((_, reply)) = canceller {
            // A record that is not on the disk is never acknowledged.
            let flipped = Flipped { record: Arc::clone(&record), report };
            let _ = reply.send(not_kept.clone().map_or(Ok(flipped), Err));
        }
        match not_kept {
            Some(not_kept) if is_cancelled => not_kept,
            _ => error.with_record(record),
        }
    }
}

/// What may be running in UCS after a drain: the requests given up on, and after a forced commit those still in flight.
fn unfinished(drain: DrainOutcome, report: &FlipReport) -> Vec<OperationCount> {
    let mut unfinished = report.abandoned.clone();
    if drain == DrainOutcome::Forced {
        for one in &report.still_running {
            match unfinished.iter_mut().find(|of| (&of.operation, &of.class) == (&one.operation, &one.class)) {
                Some(known) => known.count += one.count,
                None => unfinished.push(one.clone()),
            }
        }
    }
    unfinished
}

/// The error that a failed flip is reported as.
fn error_of(failure: FlipFailure, record: Arc<ModeRecord>, report: FlipReport) -> ChangeError {
    match failure {
        FlipFailure::Deadline => ChangeError::Deadline { record, report },
        FlipFailure::Upstream(detail) => ChangeError::Upstream { record, detail, report },
        FlipFailure::NoSchema => ChangeError::NoSchema(record),
        FlipFailure::NotBegun(error) | FlipFailure::NotSettled(error) => {
            ChangeError::NotDurable { record, detail: error.to_string() }
        }
        FlipFailure::Cancelled => ChangeError::Cancelled(record),
        FlipFailure::Stopped => ChangeError::ShuttingDown,
    }
}
