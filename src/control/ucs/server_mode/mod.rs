//! UCS's own mode as far as it is known, and the rule for a mode that differs from the gateway's. It never changes the
//! gateway's record; `reactions` and `flip` act on its decisions, and `link` makes the calls.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::control::ucs::link::{Reading, SetModeOutcome, UpstreamLink, UpstreamStatus};
use crate::policy::mode::{Mode, ModeRecord};

/// The cause of the first record of a directory.
pub(crate) const FIRST_START: &str = "first_start";

/// The wait before UCS is set a second time; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often an incarnation may refuse production, or fall back, before the gateway follows it.
const REFUSALS: u32 = 2;

/// The state of UCS that is kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpstreamMemory {
    /// It has reported a mode, so it has one even if a later status reports none.
    pub has_mode: bool,
    /// The gateway's first record is a guess: the first mode that UCS reports replaces it.
    pub provisional: bool,
    /// The incarnation last seen in the gateway's mode since the last flip, with that mode.
    pub agreed: Option<UpstreamStatus>,
    /// The incarnation that went to maintenance by itself, until it is seen in production or the gateway sets it.
    pub closed_itself: Option<UpstreamStatus>,
    /// Members that this program does not know: kept and written back.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// The reaction to a status of UCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// UCS is in the gateway's mode.
    Agreed,
    /// The gateway's own mode is a guess: adopt UCS's.
    Adopt,
    /// UCS differs, but one status is not enough.
    Wait,
    /// UCS went to maintenance by itself or refuses production: follow it to maintenance.
    Follow,
    /// UCS was restarted, opened by another client, or not set yet: set it to the gateway's mode.
    SetBack,
    /// Production was forced and UCS refuses it: neither follow nor set it.
    Leave,
}

/// The state of the gateway at a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnState {
    pub mode: Mode,
    /// The record is the guess of a first start.
    pub guessed: bool,
    /// Production was forced.
    pub forced: bool,
    /// How often this incarnation refused production.
    pub refusals: u32,
    /// An abandoned call of the gateway's own may still take effect.
    pub own_call: bool,
}

/// The rule. `memory` and `closed_in_a_row` carry the earlier polls and are updated by this one.
pub(crate) fn decide(
    memory: &mut UpstreamMemory,
    closed_in_a_row: &mut u32,
    seen: &UpstreamStatus,
    own_state: OwnState,
) -> Decision {
    memory.has_mode = true;
    if seen.mode == Mode::Production {
        memory.closed_itself = None;
    }
    if seen.mode == own_state.mode {
        memory.agreed = Some(seen.clone());
        memory.provisional = false;
        *closed_in_a_row = 0;
        return Decision::Agreed;
    }
    if memory.provisional && own_state.guessed {
        return Decision::Adopt;
    }
    if own_state.mode == Mode::Maintenance {
        return Decision::SetBack;
    }
    let same = |agreed: &UpstreamStatus| agreed.mode == own_state.mode && agreed.started == seen.started;
    if memory.agreed.as_ref().is_some_and(same) && !own_state.own_call {
        memory.closed_itself = Some(seen.clone());
        *closed_in_a_row += 1;
        return match *closed_in_a_row {
            _ if own_state.forced => Decision::Leave,
            1 => Decision::Wait,
            _ => Decision::Follow,
        };
    }
    match own_state.refusals {
        0 => Decision::SetBack,
        _ if own_state.forced => Decision::Leave,
        refusals if refusals >= REFUSALS => Decision::Follow,
        _ => Decision::SetBack,
    }
}

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
    running: Option<Running>,
    memory: UpstreamMemory,
    /// The memory on the disk.
    saved: UpstreamMemory,
    closed_in_a_row: u32,
    /// The last status with a mode.
    last: Option<UpstreamStatus>,
    /// The status code with which UCS demanded a login that the gateway lacks.
    locked: Option<u16>,
    /// Why UCS is not in the gateway's mode; `None` once it is.
    behind: Option<String>,
    /// How often this incarnation refused production.
    refusals: (Option<String>, u32),
    pace: Pace,
    /// Set Server Mode was sent in the flip under way.
    was_sent: bool,
    /// Until when an abandoned call may still take effect.
    own_call_until: Option<Instant>,
}

/// A call in the background.
struct Running {
    call: Pin<Box<dyn Future<Output = ModeObservation> + Send>>,
    sets: bool,
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
            locked: None,
            behind: None,
            refusals: (None, 0),
            pace: Pace { wait: FIRST_WAIT, not_before: Instant::now() },
            was_sent: false,
            own_call_until: None,
        }
    }

    /// Whether a call of the gateway's own may still take effect at UCS.
    fn own_call_is_pending(&self) -> bool {
        self.own_call_until.is_some_and(|until| Instant::now() < until)
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

    /// Whether this incarnation went to maintenance by itself.
    pub(crate) fn closed_itself(&self, started: Option<&str>) -> bool {
        self.memory.closed_itself.as_ref().is_some_and(|status| status.started.as_deref() == started)
    }

    /// The alarm about UCS's mode, if any.
    pub(crate) fn complaint(&self) -> Option<String> {
        let locked = self.locked.map(|status| {
            format!("UCS requires a login to report its mode (status {status}): set --upstream-credentials")
        });
        let complaints: Vec<String> = locked.into_iter().chain(self.behind.clone()).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
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
            let call = Box::pin(async move {
                let reading = link.read(&base).await;
                ModeObservation::Polled { revision, base, reading }
            });
            self.running = Some(Running { call, sets: false });
        }
        let running = self.running.as_mut().expect("it was just set");
        let observation = running.call.as_mut().await;
        self.running = None;
        self.due = Instant::now() + self.poll_interval;
        observation
    }

    /// Accepts a status and decides on the reaction.
    pub(crate) fn accept(&mut self, status: UpstreamStatus, record: &ModeRecord) -> Decision {
        self.locked = None;
        if self.refusals.0 != status.started {
            self.refusals = (status.started.clone(), 0);
        }
        let own_state = OwnState {
            mode: record.mode,
            guessed: record.cause.as_deref() == Some(FIRST_START),
            forced: record.force,
            refusals: self.refusals.1,
            own_call: self.own_call_is_pending(),
        };
        let decision = decide(&mut self.memory, &mut self.closed_in_a_row, &status, own_state);
        match decision {
            Decision::Agreed => self.behind = None,
            Decision::Leave => {
                self.behind = Some(format!("production was forced, but UCS is in {}", status.mode));
            }
            Decision::Adopt | Decision::Wait | Decision::Follow | Decision::SetBack => {}
        }
        self.last = Some(status);
        decision
    }

    /// Accepts a reading that needs no decision. Returns whether UCS, which is not in the gateway's mode and reports none,
    /// should be set nevertheless.
    pub(crate) fn accept_reading(&mut self, reading: &Reading) -> bool {
        match reading {
            Reading::Locked(status) => self.locked = Some(*status),
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
        self.behind.is_some() && matches!(reading, Reading::Absent(_))
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
        let (link, base) = (self.link.clone(), base.to_owned());
        let call = Box::pin(async move { ModeObservation::Set { mode, outcome: link.bring(&base, mode).await } });
        self.running = Some(Running { call, sets: true });
        true
    }

    /// Accepts the outcome of setting UCS to `mode`. Returns true if UCS is in that mode, or has no mode of its own.
    pub(crate) fn accept_outcome(&mut self, mode: Mode, outcome: &SetModeOutcome) -> bool {
        match outcome {
            SetModeOutcome::InStep(status) => {
                self.memory = UpstreamMemory { has_mode: true, agreed: Some(status.clone()), ..self.memory.clone() };
                self.last = Some(status.clone());
                self.closed_in_a_row = 0;
                (self.behind, self.locked) = (None, None);
                return true;
            }
            SetModeOutcome::Absent if !self.has_mode() => {
                self.behind = None;
                return true;
            }
            SetModeOutcome::NoSchema(status) | SetModeOutcome::Refused { status: Some(status), .. } => {
                self.memory.has_mode = true;
                self.last = Some(status.clone());
                self.count_refusal(status.started.clone());
            }
            SetModeOutcome::Refused { status: None, .. } => self.count_refusal(self.incarnation()),
            SetModeOutcome::Unclear(_) | SetModeOutcome::Absent | SetModeOutcome::Gone(_) => {}
        }
        // UCS received the call, so it may still take effect.
        if !matches!(outcome, SetModeOutcome::Absent | SetModeOutcome::Gone(_)) {
            self.own_call_until = Some(Instant::now() + self.link.set_mode_timeout);
        }
        self.behind = Some(format!("UCS is not in {mode}: {}", outcome.detail()));
        false
    }

    fn count_refusal(&mut self, started: Option<String>) {
        let before = if self.refusals.0 == started { self.refusals.1 } else { 0 };
        self.refusals = (started, before + 1);
    }

    /// A flip is about to use UCS: abandons the call in the background and resets the count of refusals.
    pub(crate) fn begin_flip(&mut self) {
        if self.running.take().is_some_and(|running| running.sets) {
            self.own_call_until = Some(Instant::now() + self.link.set_mode_timeout);
        }
        self.pace = Pace { wait: FIRST_WAIT, not_before: Instant::now() };
        self.refusals = (None, 0);
        self.was_sent = false;
    }

    /// Set Server Mode is about to be sent: earlier polls no longer count.
    pub(crate) fn begin_request(&mut self) {
        self.was_sent = true;
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
            self.own_call_until = Some(Instant::now() + self.link.set_mode_timeout);
            self.behind = Some(format!("UCS is being set back to {mode}"));
            self.due = Instant::now();
        }
    }

    /// Ends the guess of a first start: it was replaced, or cannot be.
    pub(crate) fn end_guess(&mut self) {
        self.memory.provisional = false;
    }
}

#[cfg(test)]
mod tests;
