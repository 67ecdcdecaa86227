//! Choices of the operator about the mode: names as written on the command line, and their meaning.

use crate::policy::mode::Mode;

/// The mode of the very first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitialMode {
    /// The mode that UCS reports, else production.
    Auto,
    Fixed(Mode),
}

impl InitialMode {
    /// Every value with its name and meaning.
    pub(crate) const NAMES: &[(InitialMode, &str, &str)] = &[
        (InitialMode::Auto, "auto", "The mode that UCS reports, or production if it reports none"),
        (InitialMode::Fixed(Mode::Production), "production", "Production"),
        (InitialMode::Fixed(Mode::Maintenance), "maintenance", "Maintenance"),
    ];
}

/// Whether UCS's own mode is read and set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamModeUse {
    /// If UCS reports a mode.
    Auto,
    Off,
}

impl UpstreamModeUse {
    /// Every value with its name and meaning.
    pub(crate) const NAMES: &[(UpstreamModeUse, &str, &str)] =
        &[(UpstreamModeUse::Auto, "auto", "If UCS reports a mode"), (UpstreamModeUse::Off, "off", "Never")];
}
