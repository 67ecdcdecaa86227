//! A flag whose values have names, each with its meaning for the help.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Parses a domain type that lists its values, each with its name and meaning.
pub(crate) fn named<T: Clone + Send + Sync + 'static>(
    values: &'static [(T, &'static str, &'static str)],
) -> impl TypedValueParser<Value = T> {
    let shown = values.iter().map(|(_, name, meaning)| PossibleValue::new(*name).help(*meaning));
    PossibleValuesParser::new(shown).try_map(|text| {
        let found = values.iter().find(|(_, name, _)| *name == text);
        found.map(|(value, ..)| value.clone()).ok_or("no such value")
    })
}
