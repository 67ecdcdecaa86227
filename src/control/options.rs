//! Choices of the operator about the mode: names as written on the command line, and their meaning.

use std::str::FromStr;

use crate::policy::mode::Mode;

/// The mode of the very first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitialMode {
    /// The mode that UCS reports, else production.
    Auto,
    Fixed(Mode),
}

impl InitialMode {
    /// Every name with its meaning.
    pub(crate) const NAMES: &[(&str, &str)] = &[
        ("auto", "The mode that UCS reports, or production if it reports none"),
        ("production", "Production"),
        ("maintenance", "Maintenance"),
    ];
}

impl FromStr for InitialMode {
    type Err = String;

    fn from_str(text: &str) -> Result<InitialMode, String> {
        match text {
            "auto" => Ok(InitialMode::Auto),
            mode => mode.parse().map(InitialMode::Fixed),
        }
    }
}

/// Whether UCS's own mode is read and set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamModeUse {
    /// If UCS reports a mode.
    Auto,
    Off,
}

impl UpstreamModeUse {
    /// Every name with its meaning.
    pub(crate) const NAMES: &[(&str, &str)] = &[("auto", "If UCS reports a mode"), ("off", "Never")];
}

impl FromStr for UpstreamModeUse {
    type Err = String;

    fn from_str(text: &str) -> Result<UpstreamModeUse, String> {
        match text {
            "auto" => Ok(UpstreamModeUse::Auto),
            "off" => Ok(UpstreamModeUse::Off),
            _ => Err("write auto or off".to_owned()),
        }
    }
}
