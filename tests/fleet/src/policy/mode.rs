//! `policy::mode` without its formats.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Production,
    Maintenance,
}

impl Mode {
    pub(crate) const ALL: [Mode; 2] = [Mode::Production, Mode::Maintenance];

    pub(crate) fn other(self) -> Mode {
        match self {
            Mode::Production => Mode::Maintenance,
            Mode::Maintenance => Mode::Production,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum OnTimeout {
    #[default]
    Revert,
    Cut,
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum DrainOutcome {
    #[default]
    Complete,
    Assumed,
    Forced,
}
