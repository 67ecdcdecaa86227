//! Points in time in text form: RFC 3339, or `never`. It keeps no clock and knows no time zone.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::duration::serde_as_text;

/// A time, or that there is none any more, in text form for serde and for the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    /// An earlier one is cancelled.
    Never,
}

/// The reason why a text is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a time; write it like 2026-03-01T22:00:00Z or 2026-03-01T23:00:00+01:00, or \"never\"")]
pub(crate) struct TimeError(String);

impl FromStr for When {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<When, TimeError> {
        if text == "never" {
            return Ok(When::Never);
        }
        text.parse().map(When::At).map_err(|_| TimeError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(time) => time.fmt(f),
            When::Never => f.write_str("never"),
        }
    }
}

serde_as_text!(When);
