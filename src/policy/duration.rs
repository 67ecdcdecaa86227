//! Durations in text form: `500ms`, `5s`, `2m`, `1h`, `7d`. One number and one unit; compound forms are rejected.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest accepted duration: ten years. Adding a longer one to a timestamp might leave the calendar.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A duration in text form, for serde and for the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written(pub Duration);

/// The reason why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("\"{0}\" is not a duration; write a whole number and a unit, like 500ms, 5s, 2m, 1h or 7d")]
    Malformed(String),
    #[error("\"{0}\" is longer than ten years, the longest accepted duration")]
    TooLong(String),
}

/// Milliseconds by unit, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration such as `5s`.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.chars().take(40).collect());
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(malformed)?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
    if number.is_empty() {
        return Err(malformed());
    }
    let too_long = || DurationError::TooLong(text.chars().take(40).collect());
    let millis = number.parse::<u64>().ok().and_then(|count| count.checked_mul(*factor)).ok_or_else(too_long)?;
    let duration = Duration::from_millis(millis);
    if duration > LONGEST { Err(too_long()) } else { Ok(duration) }
}

/// Formats a duration in the largest unit that divides it. Fractions of a millisecond are cut off.
pub(crate) fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let exact = UNITS.iter().find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)));
    let (unit, factor) = exact.copied().unwrap_or(("ms", 1));
    format!("{}{unit}", millis / u128::from(factor))
}

/// How long until a mode ends by itself, in text form: a duration from settling on, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    After(Duration),
    /// An existing expiry is removed.
    Never,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<End, String> {
        let after = || parse(text).map(End::After).map_err(|fault| format!("{fault}, or \"never\""));
        if text == "never" { Ok(End::Never) } else { after() }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::After(after) => Written(*after).fmt(f),
            End::Never => f.write_str("never"),
        }
    }
}

impl FromStr for Written {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Written, DurationError> {
        parse(text).map(Written)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format(self.0))
    }
}

/// Makes serde read and write a type in its text form.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
pub(crate) use serde_as_text;

serde_as_text!(Written);
serde_as_text!(End);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parses_each_unit() {
        let cases = [("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)];
        for (text, millis) in cases {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn rejects_text_that_is_not_a_duration() {
        for text in ["", "5", "s", "-5s", "+5s", "5 s", " 5s", "5s ", "1.5h", "1h30m", "5S", "5sec", "٥s", "1e3s"] {
            assert!(matches!(parse(text), Err(DurationError::Malformed(_))), "{text:?}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d", "3651d"] {
            assert!(matches!(parse(text), Err(DurationError::TooLong(_))), "{text:?}");
        }
    }

    #[test]
    fn formats_the_text_that_it_parses() {
        for text in ["500ms", "5s", "90s", "2m", "1h", "7d", "0s", "1500ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(Duration::from_secs(120)), "2m");
        assert_eq!(format(Duration::from_micros(10)), "0s");
    }

    #[test]
    fn round_trips_through_json() {
        let written: Written = serde_json::from_str("\"2m\"").unwrap();
        assert_eq!(written.0, Duration::from_secs(120));
        assert_eq!(serde_json::to_string(&written).unwrap(), "\"2m\"");
        assert!(serde_json::from_str::<Written>("5").is_err());
    }
}
