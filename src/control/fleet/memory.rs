//! The contents of `fleet.json`: the id of the state directory, and the revisions that the member has seen. It reads and
//! writes no file.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keys::{FORMAT, hex_id};
use crate::policy::fleet::{Id, Memory};

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    directory: String,
    highest: u64,
    opened: u64,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Reads the text of an earlier process.
pub(crate) fn read(text: &str) -> Result<Memory, String> {
    let Written { format, directory, highest, opened, unknown: _ } =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if format != FORMAT {
        return Err(format!("its format is {format}"));
    }
    let directory = Id::from_str_radix(&directory, 16).map_err(|error| format!("directory: {error}"))?;
    Ok(Memory { directory, highest, opened })
}

/// The text for the next process.
pub(crate) fn text_of(memory: &Memory) -> String {
    let Memory { directory, highest, opened } = *memory;
    let written = Written { format: FORMAT, directory: hex_id(directory), highest, opened, unknown: Map::new() };
    serde_json::to_string(&written).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_read_back_and_nothing_else_is_taken_for_one() {
        let memory = Memory { directory: 0xabc, highest: 7, opened: 6 };
        assert_eq!(read(&text_of(&memory)), Ok(memory));
        for text in ["", "{}", r#"{"format":2,"directory":"1","highest":1,"opened":1}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
