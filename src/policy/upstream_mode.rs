//! UCS's own mode as the gateway shows it, beside its own record. `control` writes it; nothing is decided by it.

use jiff::Timestamp;
use serde::Serialize;

use super::mode::Mode;

/// UCS's own mode, and how it compares with the record in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UpstreamMode {
    /// The mode that UCS's status reports.
    pub mode: ReportedMode,
    /// The comparison with the record in force.
    pub state: UpstreamState,
    /// When `mode` or `state` last changed, or the gateway started.
    pub since: Timestamp,
    /// Why UCS is not in step, with its own words if it has any.
    pub detail: Option<String>,
}

/// The mode that UCS's status reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReportedMode {
    Production,
    Maintenance,
    /// Its status cannot be read or shows no mode, although UCS has one; or it has not been read.
    Unknown,
    /// UCS has no mode of its own.
    None,
}

/// How UCS's mode compares with the record in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpstreamState {
    /// UCS reports the mode in force; while switching, one of the two modes.
    InStep,
    /// UCS is not in the mode in force, and is set to it as soon as possible.
    Behind,
    /// UCS's mode is not known.
    Unclear,
    /// UCS has no mode of its own, or the gateway does not use it.
    None,
}

impl UpstreamState {
    /// Every state with its name.
    pub const NAMES: [(UpstreamState, &str); 4] = [
        (UpstreamState::InStep, "in_step"),
        (UpstreamState::Behind, "behind"),
        (UpstreamState::Unclear, "unclear"),
        (UpstreamState::None, "none"),
    ];
}

impl From<Mode> for ReportedMode {
    fn from(mode: Mode) -> ReportedMode {
        match mode {
            Mode::Production => ReportedMode::Production,
            Mode::Maintenance => ReportedMode::Maintenance,
        }
    }
}

impl UpstreamMode {
    /// Before UCS's status was read.
    pub fn unread(now: Timestamp) -> UpstreamMode {
        UpstreamMode { mode: ReportedMode::Unknown, state: UpstreamState::Unclear, since: now, detail: None }
    }

    /// The same, with the time of `before` unless it differs from that in more than the detail.
    pub fn since(self, before: &UpstreamMode) -> UpstreamMode {
        let unchanged = (self.mode, self.state) == (before.mode, before.state);
        UpstreamMode { since: if unchanged { before.since } else { self.since }, ..self }
    }
}
