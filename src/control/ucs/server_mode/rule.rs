//! The rule for a mode of UCS that differs from the gateway's, and what it remembers between two statuses. Pure: no clock,
//! no I/O.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::ucs::link::UpstreamStatus;
use crate::policy::mode::Mode;

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
    /// The calls of the gateway's own that UCS may still carry out.
    pub asked: Asked,
    /// Members that this program does not know: kept and written back.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// When Set Server Mode was last sent, for each mode in which UCS was not seen since. By the wall clock, as it is kept across
/// restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    production: Option<Timestamp>,
    maintenance: Option<Timestamp>,
}

impl Asked {
    /// A call was sent (`Some`), or UCS is in that mode (`None`).
    pub(crate) fn note(&mut self, mode: Mode, sent: Option<Timestamp>) {
        match mode {
            Mode::Production => self.production = sent,
            Mode::Maintenance => self.maintenance = sent,
        }
    }

    pub(crate) fn is_open(&self, mode: Mode) -> bool {
        self.sent(mode).is_some()
    }

    fn sent(&self, mode: Mode) -> Option<Timestamp> {
        match mode {
            Mode::Production => self.production,
            Mode::Maintenance => self.maintenance,
        }
    }

    /// Whether a call to `mode` was sent within `window`. A clock that was set back makes no call endless.
    pub(crate) fn may_take_effect(&self, mode: Mode, window: Duration, now: Timestamp) -> bool {
        self.sent(mode).is_some_and(|sent| now.duration_since(sent).unsigned_abs() < window)
    }
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
    /// UCS was restarted, or not set yet: set it to the gateway's mode.
    SetBack,
    /// UCS went to production past the gateway: record it, and set it back.
    Moved,
    /// Production was forced and UCS refuses it: neither follow nor set it.
    Leave,
}

/// The state of the gateway at a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnState {
    pub mode: Mode,
    /// The record is the guess of a first start.
    pub guessed: bool,
    pub forced: bool,
    /// How often this incarnation refused production.
    pub refusals: u32,
    /// A call of the gateway's own may have brought UCS into the mode that it reports.
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
        memory.asked.note(seen.mode, None);
        memory.provisional = false;
        *closed_in_a_row = 0;
        return Decision::Agreed;
    }
    if memory.provisional && own_state.guessed {
        return Decision::Adopt;
    }
    let same = |agreed: &UpstreamStatus| agreed.mode == own_state.mode && agreed.started == seen.started;
    let moved = memory.agreed.as_ref().is_some_and(same) && !own_state.own_call;
    match own_state.mode {
        Mode::Maintenance if moved => Decision::Moved,
        Mode::Maintenance => Decision::SetBack,
        Mode::Production if moved => {
            memory.closed_itself = Some(seen.clone());
            *closed_in_a_row += 1;
            match *closed_in_a_row {
                _ if own_state.forced => Decision::Leave,
                1 => Decision::Wait,
                _ => Decision::Follow,
            }
        }
        Mode::Production if own_state.refusals == 0 => Decision::SetBack,
        Mode::Production if own_state.forced => Decision::Leave,
        Mode::Production if own_state.refusals >= REFUSALS => Decision::Follow,
        Mode::Production => Decision::SetBack,
    }
}

#[cfg(test)]
mod tests;
