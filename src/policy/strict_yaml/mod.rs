//! The strict reading of YAML files: a tree with the line of each value, typed access to it, and all diagnostics at once. It
//! is the only module that knows YAML, and it knows no keys; `routes_yaml` and `access` do. It reads no files.
//!
//! An event parser builds the tree with its spans; serde_yaml decides the types of scalars and must have read the same
//! document: a file that two parsers read differently is rejected. So is a key that is written twice.

mod diagnostic;
mod fields;
mod spanned;
mod spelling;

use serde_yaml::Value;

use crate::policy::table::Issue;

pub(crate) use self::diagnostic::Diagnostic;
pub(crate) use self::diagnostic::{Diagnostics, Span, list_of};
pub(crate) use self::fields::{Fields, entries, flag, list, name, text, version, whole_number, wrong_shape};
pub(crate) use self::spanned::{Content, Node};
pub(crate) use self::spelling::nearest;

/// The maximum size of a file, in bytes.
pub(crate) const SIZE_LIMIT: usize = 4 << 20;

/// Some editors put it at the start of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The tree of a file; `None` after a diagnostic that makes it unreadable. `keys` tells what to write in an empty file.
pub(crate) fn tree(text: &str, keys: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    let text = without_mark(text);
    if text.len() > SIZE_LIMIT {
        let message = format!("the file has {} bytes, more than {SIZE_LIMIT}", text.len());
        diagnostics
            .add(Span::START, Issue::new("", message, "use templates and regexes in place of many single paths"));
        return None;
    }
    spanned::read(text, keys).map_err(|(at, issue)| diagnostics.add(at, issue)).ok()
}

/// serde_yaml must read the same document as the tree.
pub(crate) fn compare_readings(text: &str, root: &Node, diagnostics: &mut Diagnostics) {
    match serde_yaml::from_str::<Value>(without_mark(text)) {
        Ok(value) if value == root.to_value() => {}
        Ok(_) => {
            let message = "two YAML parsers read this file differently";
            diagnostics.add(Span::START, Issue::new("", message, "use plain block style: one key: value per line"));
        }
        Err(error) => {
            let place = error.location().map_or(Span::START, |at| Span { line: at.line(), column: at.column() });
            diagnostics.add(place, Issue::new("", format!("this is not YAML: {error}"), ""));
        }
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}
