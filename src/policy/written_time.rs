//! Points in time in text form: RFC 3339, or `never`. It keeps no clock and knows no time zone.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in text form, for serde and for the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenTime {
    /// This time.
    At(Timestamp),
    /// Never.
    Never,
}

/// The reason why a text is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a time; write it like 2026-03-01T22:00:00Z or 2026-03-01T23:00:00+01:00, or \"never\"")]
pub(crate) struct TimeError(String);

impl std::str::FromStr for WrittenTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<WrittenTime, TimeError> {
        if text == "never" {
            return Ok(WrittenTime::Never);
        }
        text.parse().map(WrittenTime::At).map_err(|_| TimeError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for WrittenTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrittenTime::At(time) => time.fmt(f),
            WrittenTime::Never => f.write_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for WrittenTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WrittenTime, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for WrittenTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
