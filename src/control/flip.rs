//! The flip, from top to bottom: announce, drain, switch UCS, settle; and how it is taken back when a step fails. While
//! it waits, the control handle is served. What a record may become is decided in `policy::mode`, when a drain is over in
//! `drain`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::control::Control;
use crate::control::clerk::{Interrupt, Until};
use crate::control::drain::Drain;
use crate::control::store::StoreError;
use crate::control::upstream_link::{Outcome, Reading};
use crate::control_handle::{ChangeError, FlipReport, Flipped};
use crate::policy::mode::{Actor, Change, Mode, ModeRecord, OnTimeout};

/// How long aborted exchanges may take to go away, besides the orphan grace.
const CUT_LIMIT: Duration = Duration::from_secs(10);

/// How long a flip to maintenance waits for UCS.
const LONGEST_WAIT_FOR_MAINTENANCE: Duration = Duration::from_secs(15);

/// Why a flip did not settle.
#[derive(Debug)]
enum Setback {
    /// `switching` could not be saved: nothing has happened.
    NotBegun(StoreError),
    /// `settled` could not be saved.
    NotSettled(StoreError),
    /// The drain was not over at its deadline.
    Deadline,
    /// UCS did not take the mode.
    Upstream(String),
    /// UCS did not go to production, for want of a profile schema.
    NoSchema,
    /// Somebody took the flip back.
    Cancelled,
    /// The gateway stops.
    Stopped,
}

impl From<Interrupt> for Setback {
    fn from(interrupt: Interrupt) -> Setback {
        match interrupt {
            Interrupt::Stopped => Setback::Stopped,
            Interrupt::Cancelled => Setback::Cancelled,
        }
    }
}

impl Control {
    /// Carries a flip to its end, whatever that is, and says how it ended.
    pub(super) async fn flip(&mut self, switching: ModeRecord) -> Result<Flipped, ChangeError> {
        let before = Arc::clone(&self.record);
        let mut report = FlipReport::default();
        let ended = match self.carry_out(switching, &mut report).await {
            Ok(()) => Ok(Flipped { record: Arc::clone(&self.record), report }),
            Err(setback) => Err(self.take_back(&before, setback, report).await),
        };
        self.upstream.end_flip();
        ended
    }

    /// The straight line. Each step is durable or undone by [`Self::take_back`].
    async fn carry_out(&mut self, switching: ModeRecord, report: &mut FlipReport) -> Result<(), Setback> {
        let (leaving, target) = (switching.stable_mode(), switching.mode);
        self.save_then_publish(switching).await.map_err(Setback::NotBegun)?;
        info!(revision = self.record.revision, from = %leaving, to = %target, "flip began");
        let drained = self.drain(leaving, report).await?;
        self.switch_upstream(target).await?;
        let settled = self.next(&Change::Settle { drained }).expect("only this flip can end the switching phase");
        self.save_then_publish(settled).await.map_err(Setback::NotSettled)?;
        report.changed = true;
        info!(revision = self.record.revision, mode = %target, drained, drain_ms = report.drain_ms, "flip settled");
        Ok(())
    }

    /// Waits for what only the old mode admits. Returns whether it is over; false only after a forced commit.
    async fn drain(&mut self, leaving: Mode, report: &mut FlipReport) -> Result<bool, Setback> {
        let began = Instant::now();
        let drain = Drain {
            gate: Arc::clone(&self.gate),
            leaving,
            orphan_grace: self.orphan_grace,
            ghosts_until: self.ghosts_until,
        };
        report.waited_for = drain.running();
        let ended = self.drain_until_deadline(&drain, began, report).await;
        report.drain_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.abandoned = self.abandoned_before.since(&self.gate, leaving);
        ended
    }

    async fn drain_until_deadline(
        &mut self,
        drain: &Drain,
        began: Instant,
        report: &mut FlipReport,
    ) -> Result<bool, Setback> {
        let timeout = Duration::from_millis(self.record.drain_timeout_ms.unwrap_or(0));
        let deadline = began.checked_add(timeout).unwrap_or(began + Duration::from_secs(u64::from(u32::MAX)));
        let mut in_time = self.clerk.serve_until(Until::Cancelled, timeout_at(deadline, drain.over())).await?.is_ok();
        if !in_time && drain.waits_for_graces_only() {
            // Nothing that could be cut, and nothing that could get in: it ends within the grace.
            let limit = Instant::now() + self.orphan_grace;
            in_time = self.clerk.serve_until(Until::Cancelled, timeout_at(limit, drain.over())).await?.is_ok();
        }
        if in_time || drain.is_over() {
            return Ok(true);
        }
        report.still_running = drain.running();
        warn!(still_running = ?report.still_running, "the drain is not over at its deadline");
        match self.record.on_timeout.unwrap_or_default() {
            OnTimeout::Revert => Err(Setback::Deadline),
            OnTimeout::Commit => Ok(false),
            OnTimeout::Cut => {
                self.gate.cut(drain.leaving);
                let limit = Instant::now() + CUT_LIMIT + self.orphan_grace;
                let cut = self.clerk.serve_until(Until::Cancelled, timeout_at(limit, drain.over())).await;
                self.gate.end_cut();
                cut?.map(|()| true).map_err(|_| Setback::Deadline)
            }
        }
    }

    /// Sends Set Server Mode where UCS has a mode of its own. It can spoil a flip to production, never one to maintenance,
    /// as the gate lets nothing pass that UCS should refuse. A cancel waits until the outcome is known.
    async fn switch_upstream(&mut self, target: Mode) -> Result<(), Setback> {
        if !self.upstream.enabled() {
            return Ok(());
        }
        self.upstream.begin_flip();
        let base = self.gate.table().table().base_path.to_string();
        let link = self.upstream.link.clone();
        // Maintenance is held up no longer than this: it settles without UCS, which is set later.
        let limit = match target {
            Mode::Production => link.set_mode_timeout,
            Mode::Maintenance => link.set_mode_timeout.min(LONGEST_WAIT_FOR_MAINTENANCE),
        };
        let until = Instant::now() + limit;
        let before = self.clerk.serve_until(Until::Stopped, timeout(limit / 3, link.read(&base))).await?;
        let outcome = match before.unwrap_or_else(|_| Reading::Busy("no answer in time".to_owned())) {
            Reading::Mode(status) if status.mode == target => Outcome::InStep(status),
            before => {
                self.upstream.note(&before);
                self.upstream.ask();
                self.remember_upstream().await;
                let limit = until.saturating_duration_since(Instant::now());
                self.clerk.serve_until(Until::Stopped, link.set(&base, target, &before, limit)).await?
            }
        };
        self.judge_switch(target, &outcome)?;
        self.clerk.interrupt(Until::Cancelled).map_or(Ok(()), |interrupt| Err(interrupt.into()))
    }

    fn judge_switch(&mut self, target: Mode, outcome: &Outcome) -> Result<(), Setback> {
        let there = self.upstream.brought(target, outcome);
        self.alarms.upstream = self.upstream.complaint();
        if there {
            return Ok(());
        }
        if let (Outcome::NoSchema(status), Mode::Production) = (outcome, target) {
            self.schema.doubt(Some(status.started.clone()));
        }
        let detail = outcome.detail();
        let may_be_forced =
            matches!(outcome, Outcome::NoSchema(_) | Outcome::Gone(_) | Outcome::Refused { not_found: true, .. });
        if target == Mode::Maintenance || (self.record.force && may_be_forced) {
            warn!(detail, %target, "UCS is not in step; it is set as soon as it can be");
            return Ok(());
        }
        match outcome {
            Outcome::NoSchema(_) => Err(Setback::NoSchema),
            _ => Err(Setback::Upstream(detail)),
        }
    }

    /// Puts the old mode in force again, durably (or, when that fails, in memory) and then at the gate. UCS is set back
    /// afterwards and beside everything else: the gate decides what is admitted, not UCS.
    async fn take_back(&mut self, before: &ModeRecord, setback: Setback, report: FlipReport) -> ChangeError {
        match &setback {
            Setback::NotBegun(error) => return self.not_durable(error),
            // The record stays as it is: the next start takes the flip back.
            Setback::Stopped => return ChangeError::ShuttingDown,
            _ => {}
        }
        let error = failure(setback, Arc::clone(&self.record), report.clone());
        let is_cancelled = matches!(error, ChangeError::Cancelled(_));
        let canceller = if is_cancelled { self.clerk.take_cancel() } else { None };
        let change = match &canceller {
            Some((wish, _)) => Change::Set(wish.clone()),
            None => Change::Revert { cause: error.reason().to_owned(), actor: Actor::gateway() },
        };
        let restored = self.next(&change).expect("the clerk lets only a wish for the old mode cancel a flip");
        self.upstream.take_back(before.mode);
        self.alarms.upstream = self.upstream.complaint();
        let saved = self.save_or_keep(restored).await;
        info!(revision = self.record.revision, mode = %self.record.mode, %error, "flip taken back");
        let record = Arc::clone(&self.record);
        let not_kept = saved.err().map(|error| self.not_durable(&error));
        if let Some((_, answer)) = canceller {
            // What is not on the disk is acknowledged to nobody.
            let flipped = Flipped { record: Arc::clone(&record), report };
            let _ = answer.send(not_kept.clone().map_or(Ok(flipped), Err));
        }
        match not_kept {
            Some(not_kept) if is_cancelled => not_kept,
            _ => error.with_record(record),
        }
    }
}

/// The error that a setback is reported as.
fn failure(setback: Setback, record: Arc<ModeRecord>, report: FlipReport) -> ChangeError {
    match setback {
        Setback::Deadline => ChangeError::Deadline { record, report },
        Setback::Upstream(detail) => ChangeError::Upstream { record, detail, report },
        Setback::NoSchema => ChangeError::NoSchema(record),
        Setback::NotBegun(error) | Setback::NotSettled(error) => {
            ChangeError::NotDurable { record, detail: error.to_string() }
        }
        Setback::Cancelled => ChangeError::Cancelled(record),
        Setback::Stopped => ChangeError::ShuttingDown,
    }
}
