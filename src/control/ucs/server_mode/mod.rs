//! What is known of UCS's own mode, and the rule for what to do when it is not the gateway's. It never touches the
//! gateway's record; what follows from its decision is done in `reactions` and `flip`, the calls are in `upstream_link`.

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

/// What is remembered of UCS over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpstreamMemory {
    /// It has reported a mode, so it has one, whatever its status says later.
    pub has_mode: bool,
    /// The gateway's first record was a guess that nobody asked for: the first mode that UCS reports is taken.
    pub provisional: bool,
    /// The incarnation that was last seen in the gateway's mode since the last flip, and that mode.
    pub agreed: Option<UpstreamStatus>,
    /// The incarnation that went to maintenance by itself, until it is seen in production or set by the gateway.
    pub closed_itself: Option<UpstreamStatus>,
}

/// What to do about UCS's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is the gateway's.
    Agreed,
    /// The gateway's own mode is a guess: take UCS's.
    Adopt,
    /// It is not the gateway's, but once is not enough.
    Wait,
    /// UCS closed itself, or will not be opened: follow it to maintenance.
    Follow,
    /// UCS was restarted, opened behind the gateway's back, or has yet to be told: set it to the gateway's mode.
    SetBack,
    /// Production was forced, and UCS does not want it: neither followed nor fought.
    Leave,
}

/// What the gateway knows of itself when it judges a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnState {
    /// Its mode.
    pub mode: Mode,
    /// The record is the guess of a first start.
    pub guessed: bool,
    /// Production was forced.
    pub forced: bool,
    /// Production was refused so often by this incarnation.
    pub refusals: u32,
    /// A call of the gateway's own was given up and may take effect yet.
    pub own_call: bool,
}

/// The rule. `memory` and `closed_in_a_row` are what earlier polls left, and take this one in.
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

/// What arrived from UCS outside of a flip.
#[derive(Debug)]
pub(crate) enum ModeObservation {
    /// A poll, with the revision and the base path that were in force when it began.
    Polled { revision: u64, base: String, reading: Reading },
    /// An attempt to bring UCS to `mode` ended.
    Set { mode: Mode, outcome: SetModeOutcome },
}

/// See the module.
pub(crate) struct UpstreamMode {
    pub link: UpstreamLink,
    enabled: bool,
    poll_interval: Duration,
    due: Instant,
    running: Option<Running>,
    memory: UpstreamMemory,
    /// What of the memory is on the disk.
    saved: UpstreamMemory,
    closed_in_a_row: u32,
    /// The last status that told a mode.
    last: Option<UpstreamStatus>,
    /// The status wants a login that the gateway lacks.
    locked: Option<u16>,
    /// Why UCS is not known to be in the gateway's mode although it should be; until it is.
    behind: Option<String>,
    /// Production was refused so often by this incarnation.
    refusals: (Option<String>, u32),
    pace: Pace,
    /// Set Server Mode was sent in the flip under way.
    asked: bool,
    /// Until when a call that was given up may take effect.
    own_call_until: Option<Instant>,
}

/// A call beside everything else.
struct Running {
    call: Pin<Box<dyn Future<Output = ModeObservation> + Send>>,
    sets: bool,
}

/// When UCS may be set again.
#[derive(Debug)]
struct Pace {
    wait: Duration,
    not_before: Instant,
}

impl UpstreamMode {
    /// `saved` is what of `memory` is on the disk.
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
            asked: false,
            own_call_until: None,
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// The incarnation of the last status.
    pub(crate) fn incarnation(&self) -> Option<String> {
        self.last.as_ref().and_then(|status| status.started.clone())
    }

    /// UCS has a mode, as far as is known: it reported one once, or it hides it behind a login.
    pub(crate) fn has_mode(&self) -> bool {
        self.memory.has_mode || self.locked.is_some()
    }

    /// Whether this incarnation went to maintenance by itself.
    pub(crate) fn closed_itself(&self, started: Option<&str>) -> bool {
        self.memory.closed_itself.as_ref().is_some_and(|status| status.started.as_deref() == started)
    }

    /// What an operator must look at.
    pub(crate) fn complaint(&self) -> Option<String> {
        let locked = self.locked.map(|status| {
            format!(
                "UCS wants a login to tell its mode (status {status}): give the gateway one with --upstream-credentials"
            )
        });
        let complaints: Vec<String> = locked.into_iter().chain(self.behind.clone()).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    /// What is worth remembering and not on the disk yet.
    pub(crate) fn unsaved(&self) -> Option<UpstreamMemory> {
        (self.enabled && self.memory != self.saved).then(|| self.memory.clone())
    }

    pub(crate) fn was_saved(&mut self, memory: UpstreamMemory) {
        self.saved = memory;
    }

    /// The next thing that UCS tells outside of a flip. May be dropped and called again without losing anything.
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

    /// Takes a status in and says what to do about it.
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
            own_call: self.own_call_until.is_some_and(|until| Instant::now() < until),
        };
        let decision = decide(&mut self.memory, &mut self.closed_in_a_row, &status, own_state);
        match decision {
            Decision::Agreed => self.behind = None,
            Decision::Leave => {
                self.behind = Some(format!("production was forced, and UCS is in {}", status.mode));
            }
            Decision::Adopt | Decision::Wait | Decision::Follow | Decision::SetBack => {}
        }
        self.last = Some(status);
        decision
    }

    /// Takes a reading in by which no decision is wanted. Returns whether UCS, which is not where it should be and does not
    /// tell its mode, can be set all the same.
    pub(crate) fn note(&mut self, reading: &Reading) -> bool {
        match reading {
            Reading::Locked(status) => self.locked = Some(*status),
            Reading::Absent(_) => self.locked = None,
            // Without `started` nothing else tells that it is another incarnation.
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

    /// Sets UCS to `mode` beside everything else, unless that was tried too short a time ago; the outcome is the next observation.
    pub(crate) fn begin_set(&mut self, base: &str, mode: Mode) -> bool {
        let now = Instant::now();
        if now < self.pace.not_before {
            return false;
        }
        // Long quiet since the last time: the pace begins anew.
        if now > self.pace.not_before + self.pace.wait {
            self.pace.wait = FIRST_WAIT;
        }
        self.pace.not_before = now + self.pace.wait;
        self.pace.wait = (self.pace.wait * 2).min(LONGEST_WAIT);
        self.touch();
        let (link, base) = (self.link.clone(), base.to_owned());
        let call = Box::pin(async move { ModeObservation::Set { mode, outcome: link.bring(&base, mode).await } });
        self.running = Some(Running { call, sets: true });
        true
    }

    /// Takes in what came of bringing UCS to `mode`. True when UCS is there, or has no mode of its own.
    pub(crate) fn brought(&mut self, mode: Mode, outcome: &SetModeOutcome) -> bool {
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
            SetModeOutcome::Unclear(_) => self.own_call_until = Some(Instant::now() + self.link.set_mode_timeout),
            SetModeOutcome::Absent | SetModeOutcome::Gone(_) => {}
        }
        self.behind = Some(format!("UCS is not in {mode}: {}", outcome.detail()));
        false
    }

    fn count_refusal(&mut self, started: Option<String>) {
        let before = if self.refusals.0 == started { self.refusals.1 } else { 0 };
        self.refusals = (started, before + 1);
    }

    /// A flip begins to touch UCS: what runs beside it is given up, and what was refused before counts no more.
    pub(crate) fn begin_flip(&mut self) {
        if self.running.take().is_some_and(|running| running.sets) {
            self.own_call_until = Some(Instant::now() + self.link.set_mode_timeout);
        }
        self.pace = Pace { wait: FIRST_WAIT, not_before: Instant::now() };
        self.refusals = (None, 0);
        self.asked = false;
    }

    /// Set Server Mode is about to be sent: what was seen before tells nothing of what is seen from now on.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
        self.touch();
    }

    fn touch(&mut self) {
        self.memory.agreed = None;
        self.memory.closed_itself = None;
        self.closed_in_a_row = 0;
    }

    /// A flip is over, well or not: polls tell whether UCS stays in step.
    pub(crate) fn end_flip(&mut self) {
        self.asked = false;
        self.due = Instant::now() + self.poll_interval;
    }

    /// The flip under way is taken back: if it asked UCS for its mode, UCS has to be set back.
    pub(crate) fn take_back(&mut self, mode: Mode) {
        if std::mem::take(&mut self.asked) {
            self.owe(mode);
        }
    }

    /// UCS may be in another mode than the gateway, by the gateway's own doing.
    pub(crate) fn owe(&mut self, mode: Mode) {
        if self.enabled {
            self.touch();
            self.behind = Some(format!("UCS is being set back to {mode}"));
            self.due = Instant::now();
        }
    }

    /// The gateway's guess has been replaced, or cannot be.
    pub(crate) fn end_guess(&mut self) {
        self.memory.provisional = false;
    }
}

#[cfg(test)]
mod tests;
