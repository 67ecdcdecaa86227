//! UCS's own mode as far as it is known, and the calls about it that run in the background. It never changes the gateway's
//! record: `rule` decides on each status, `reactions` and `flip` act on its decisions, and `link` makes the calls.

mod rule;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::control::ucs::link::{Reading, SetModeOutcome, UpstreamLink, UpstreamStatus};
use crate::policy::mode::{Mode, ModeRecord};
use crate::policy::upstream_mode::{ReportedMode, UpstreamState};

pub(crate) use rule::{Decision, UpstreamMemory};
use rule::{OwnState, decide};

/// The cause of the first record of a directory.
pub(crate) const FIRST_START: &str = "first_start";

/// The wait before UCS is set a second time; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An observation of UCS outside of a flip.
#[derive(Debug)]
pub(crate) enum ModeObservation {
    /// A poll, with the revision and the base path that were in force when it began.
    Polled { revision: u64, base: String, reading: Reading },
    /// An attempt to set UCS to `mode` ended.
    Set { mode: Mode, outcome: SetModeOutcome },
}

/// The known state of UCS's mode and the calls that run in the background.
pub(crate) struct UpstreamMode {
    pub link: UpstreamLink,
    enabled: bool,
    poll_interval: Duration,
    due: Instant,
    running: Option<Pin<Box<dyn Future<Output = ModeObservation> + Send>>>,
    memory: UpstreamMemory,
    saved: UpstreamMemory,
    closed_in_a_row: u32,
    last: Option<UpstreamStatus>,
    /// The last reading of its status.
    reading: Option<Reading>,
    /// Its words when it demanded a login that the gateway lacks.
    locked: Option<String>,
    /// Why UCS is not in the gateway's mode; `None` once it is.
    behind: Option<String>,
    /// It is behind only because it accepted one Set Server Mode and has not moved: an alarm from the second time on.
    may_move: bool,
    /// How often this incarnation refused production.
    refusals: (Option<String>, u32),
    pace: Pace,
    /// Set Server Mode was sent in the flip under way.
    was_sent: bool,
}

/// The pace of attempts to set UCS.
#[derive(Debug)]
struct Pace {
    wait: Duration,
    not_before: Instant,
}

impl UpstreamMode {
    /// `saved` is the part of `memory` on the disk.
    pub(crate) fn new(
        link: UpstreamLink,
        enabled: bool,
        poll_interval: Duration,
        memory: UpstreamMemory,
        saved: UpstreamMemory,
    ) -> UpstreamMode {
        UpstreamMode {
            link,
            enabled,
            poll_interval,
            due: Instant::now(),
            running: None,
            memory,
            saved,
            closed_in_a_row: 0,
            last: None,
            reading: None,
            locked: None,
            behind: None,
            may_move: false,
            refusals: (None, 0),
            pace: Pace { wait: FIRST_WAIT, not_before: Instant::now() },
            was_sent: false,
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// The incarnation of the last status.
    pub(crate) fn incarnation(&self) -> Option<String> {
        self.last.as_ref().and_then(|status| status.started.clone())
    }

    /// Whether UCS is known to have a mode: it has reported one, or its status demands a login.
    pub(crate) fn has_mode(&self) -> bool {
        self.memory.has_mode || self.locked.is_some()
    }

    /// Whether this incarnation has refused production since the last flip began.
    pub(crate) fn has_refused_production(&self) -> bool {
        self.refusals.1 > 0
    }

    /// Whether this incarnation went to maintenance by itself.
    pub(crate) fn closed_itself(&self, started: Option<&str>) -> bool {
        self.memory.closed_itself.as_ref().is_some_and(|status| status.started.as_deref() == started)
    }

    /// The alarm about UCS's mode, if any.
    pub(crate) fn complaint(&self) -> Option<String> {
        if !self.enabled {
            return None;
        }
        let locked = self.locked.as_ref().map(|said| format!("upstream_credentials: UCS requires a login ({said})"));
        let behind = self.behind.clone().filter(|_| !self.may_move);
        let complaints: Vec<String> = locked.into_iter().chain(behind).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    /// The mode that UCS reports, how it compares with the record in force, and why they differ.
    pub(crate) fn compared_with(&self, record: &ModeRecord) -> (ReportedMode, UpstreamState, Option<String>) {
        if !self.enabled {
            let detail = "the gateway does not use UCS's mode (--upstream-mode off)".to_owned();
            return (ReportedMode::Unknown, UpstreamState::None, Some(detail));
        }
        let mode = match &self.reading {
            Some(Reading::Mode(status)) => status.mode.into(),
            Some(Reading::Absent(_)) if !self.has_mode() => ReportedMode::None,
            _ => ReportedMode::Unknown,
        };
        let words = self.reading.as_ref().map(Reading::words);
        let (state, detail) = match &self.reading {
            _ if self.behind.is_some() => (UpstreamState::Behind, self.behind.clone()),
            Some(Reading::Mode(status)) if [record.mode, record.stable_mode()].contains(&status.mode) => {
                (UpstreamState::InStep, None)
            }
            Some(Reading::Mode(_)) => (UpstreamState::Behind, words),
            _ if mode == ReportedMode::None => (UpstreamState::None, words),
            _ => (UpstreamState::Unclear, words),
        };
        (mode, state, detail)
    }

    /// The memory, if it is not on the disk yet.
    pub(crate) fn unsaved(&self) -> Option<UpstreamMemory> {
        (self.enabled && self.memory != self.saved).then(|| self.memory.clone())
    }

    pub(crate) fn was_saved(&mut self, memory: UpstreamMemory) {
        self.saved = memory;
    }

    /// The next observation outside of a flip. Cancel safe.
    pub(crate) async fn next(&mut self, base: &str, revision: u64) -> ModeObservation {
        if !self.enabled {
            return std::future::pending().await;
        }
        if self.running.is_none() {
            tokio::time::sleep_until(self.due).await;
            let (link, base) = (self.link.clone(), base.to_owned());
            self.running = Some(Box::pin(async move {
                let reading = link.read(&base).await;
                ModeObservation::Polled { revision, base, reading }
            }));
        }
        let running = self.running.as_mut().expect("it was just set");
        let observation = running.as_mut().await;
        self.running = None;
        self.due = Instant::now() + self.poll_interval;
        observation
    }

    /// Polls at once: the last poll began before something changed.
    pub(crate) fn poll_soon(&mut self) {
        self.due = Instant::now();
    }

    /// Accepts a status and decides on the reaction.
    pub(crate) fn accept(&mut self, status: UpstreamStatus, record: &ModeRecord) -> Decision {
        if self.refusals.0 != status.started {
            self.refusals = (status.started.clone(), 0);
        }
        let own_state = OwnState {
            mode: record.mode,
            guessed: record.cause.as_deref() == Some(FIRST_START),
            forced: record.force,
            refusals: self.refusals.1,
            own_call: self.memory.asked.may_take_effect(status.mode, self.link.set_mode_timeout * 2, Timestamp::now()),
        };
        let decision = decide(&mut self.memory, &mut self.closed_in_a_row, &status, own_state);
        match decision {
            Decision::Agreed => self.behind = None,
            Decision::Leave => {
                self.fall_behind(format!("production was forced, but UCS is in {}", status.mode));
            }
            Decision::Adopt | Decision::Wait | Decision::Follow | Decision::SetBack | Decision::Moved => {}
        }
        self.see(&Reading::Mode(status));
        decision
    }

    /// Accepts a reading that needs no decision. Returns whether UCS, which is not in the gateway's mode and reports none,
    /// should be set nevertheless.
    pub(crate) fn accept_reading(&mut self, reading: &Reading) -> bool {
        self.see(reading);
        self.behind.is_some() && matches!(reading, Reading::Absent(_))
    }

    /// UCS cannot be read. If it was asked for the mode in force and never seen there, perhaps before a restart, it is
    /// behind.
    pub(crate) fn recall(&mut self, mode: Mode) {
        if (self.behind.is_none() || self.may_move) && self.memory.asked.is_open(mode) {
            self.fall_behind(format!("UCS is not known to be in {mode}: it was asked, and has not been seen there"));
        }
    }

    /// Keeps what a reading shows by itself.
    fn see(&mut self, reading: &Reading) {
        match reading {
            Reading::Locked(said) => self.locked = Some(said.clone()),
            Reading::Absent(_) => self.locked = None,
            // Without `started`, only a failed connection reveals another incarnation.
            Reading::Gone(_) => {
                if self.memory.agreed.as_ref().is_some_and(|agreed| agreed.started.is_none()) {
                    self.memory.agreed = None;
                }
            }
            Reading::Mode(status) => {
                self.memory.has_mode = true;
                self.locked = None;
                self.last = Some(status.clone());
            }
            Reading::Busy(_) | Reading::Odd(_) => {}
        }
        self.reading = Some(reading.clone());
    }

    /// Sets UCS to `mode` in the background, unless the last attempt was too recent; the outcome is the next observation.
    pub(crate) fn begin_set(&mut self, base: &str, mode: Mode) -> bool {
        let now = Instant::now();
        if now < self.pace.not_before {
            return false;
        }
        // The last attempt is long ago: start over with the shortest wait.
        if now > self.pace.not_before + self.pace.wait {
            self.pace.wait = FIRST_WAIT;
        }
        self.pace.not_before = now + self.pace.wait;
        self.pace.wait = (self.pace.wait * 2).min(LONGEST_WAIT);
        self.forget_polls();
        self.memory.asked.note(mode, Some(Timestamp::now()));
        let (link, base) = (self.link.clone(), base.to_owned());
        self.running =
            Some(Box::pin(async move { ModeObservation::Set { mode, outcome: link.bring(&base, mode).await } }));
        true
    }

    /// Accepts the outcome of setting UCS to `mode`. Returns true if UCS is in that mode, or has no mode of its own.
    pub(crate) fn accept_outcome(&mut self, mode: Mode, outcome: &SetModeOutcome) -> bool {
        if let Some(reading) = outcome.reading() {
            self.see(&reading);
        }
        match outcome {
            SetModeOutcome::InStep(status) => {
                self.memory.agreed = Some(status.clone());
                self.memory.asked.note(mode, None);
                self.closed_in_a_row = 0;
                self.behind = None;
                return true;
            }
            SetModeOutcome::Absent(_) if !self.has_mode() => {
                self.memory.asked.note(mode, None);
                self.behind = None;
                return true;
            }
            SetModeOutcome::NoSchema(_) | SetModeOutcome::Refused { .. } if mode == Mode::Production => {
                self.count_refusal(self.incarnation());
            }
            SetModeOutcome::NoSchema(_) | SetModeOutcome::Refused { .. } => {}
            SetModeOutcome::Unclear { .. } | SetModeOutcome::Absent(_) | SetModeOutcome::Gone(_) => {}
        }
        let accepted = matches!(outcome, SetModeOutcome::Refused { response: Some(200..=299), .. });
        let may_move = accepted && self.behind.is_none();
        let is_known = !matches!(outcome, SetModeOutcome::Unclear { .. } | SetModeOutcome::Gone(_));
        let verb = if is_known { "is not" } else { "is not known to be" };
        self.fall_behind(format!("UCS {verb} in {mode}: {}; the gateway goes on setting UCS's mode", outcome.detail()));
        self.may_move = may_move;
        false
    }

    fn fall_behind(&mut self, words: String) {
        self.behind = Some(words);
        self.may_move = false;
    }

    fn count_refusal(&mut self, started: Option<String>) {
        let before = if self.refusals.0 == started { self.refusals.1 } else { 0 };
        self.refusals = (started, before + 1);
    }

    /// A flip is about to use UCS: abandons the call in the background and resets the count of refusals.
    pub(crate) fn begin_flip(&mut self) {
        self.running = None;
        self.pace = Pace { wait: FIRST_WAIT, not_before: Instant::now() };
        self.refusals = (None, 0);
        self.was_sent = false;
    }

    /// Set Server Mode to `mode` is about to be sent: earlier polls no longer count.
    pub(crate) fn begin_request(&mut self, mode: Mode) {
        self.was_sent = true;
        self.memory.asked.note(mode, Some(Timestamp::now()));
        self.forget_polls();
    }

    fn forget_polls(&mut self) {
        self.memory.agreed = None;
        self.memory.closed_itself = None;
        self.closed_in_a_row = 0;
    }

    /// A flip is over, settled or not: polling resumes.
    pub(crate) fn end_flip(&mut self) {
        self.was_sent = false;
        self.due = Instant::now() + self.poll_interval;
    }

    /// The flip is reverted: UCS has to be set back if the flip sent Set Server Mode.
    pub(crate) fn revert(&mut self, mode: Mode) {
        if std::mem::take(&mut self.was_sent) {
            self.set_back_to(mode);
        }
    }

    /// Schedules setting UCS back, as the gateway itself may have changed its mode. A call that was sent may still take
    /// effect: it is the gateway's own, and not followed.
    pub(crate) fn set_back_to(&mut self, mode: Mode) {
        if self.enabled {
            self.forget_polls();
            self.memory.asked.note(mode.other(), Some(Timestamp::now()));
            self.fall_behind(format!("UCS is being set back to {mode}"));
            self.due = Instant::now();
        }
    }

    /// Ends the guess of a first start: it was replaced, or cannot be.
    pub(crate) fn end_guess(&mut self) {
        self.memory.provisional = false;
    }
}
