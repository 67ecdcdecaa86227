//! Typed access to nodes: a map with known keys, a list, text, a flag. A node of another shape becomes a diagnostic that
//! names its shape and the expected one. It does not know the keys of routes.

use std::collections::HashMap;

use serde_yaml::Value;

use super::diagnostic::{Diagnostics, Span};
use super::spanned::{Content, Key, Node};
use super::spelling::nearest;
use crate::policy::table::Issue;

/// A map whose keys were checked against the known ones.
pub(crate) struct Fields<'n> {
    at: Span,
    what: &'static str,
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// Reads `node`, named `what` in messages, e.g. "a route". `None` when it is not a map.
    pub(crate) fn of(
        node: &'n Node,
        what: &'static str,
        known: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> Option<Fields<'n>> {
        let entries = entries(node, what, diagnostics)?;
        for (key, _) in &entries {
            if !known.contains(&key.name.as_str()) {
                let instead = match nearest(&key.name, known) {
                    Some(meant) => format!("write {meant}"),
                    None => format!("the keys of {what} are {}", known.join(", ")),
                };
                let message = format!("unknown key \"{}\" in {what}", key.name);
                diagnostics.add(key.at, Issue::new(&key.name, message, instead));
            }
        }
        Some(Fields { at: node.at, what, entries })
    }

    /// The value under `name`, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| *node)
    }

    /// The value under `name`; a diagnostic when there is none.
    pub(crate) fn need(&self, name: &str, instead: &str, diagnostics: &mut Diagnostics) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            diagnostics.add(self.at, Issue::new("", format!("{} has no \"{name}\"", self.what), instead));
        }
        found
    }
}

/// The entries of a map. A repeated key is a diagnostic, and its first value counts.
pub(crate) fn entries<'n>(
    node: &'n Node,
    what: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<(&'n Key, &'n Node)>> {
    let Content::Map(written) = &node.content else {
        wrong_shape(node, what, "a map: keys with their values, one per line", diagnostics);
        return None;
    };
    let mut first_lines = HashMap::new();
    let mut unique = Vec::new();
    for (key, value) in written {
        match first_lines.get(key.name.as_str()) {
            None => {
                first_lines.insert(key.name.as_str(), key.at.line);
                unique.push((key, value));
            }
            Some(line) => {
                let message = format!("duplicate key \"{}\" in {what}, first in line {line}", key.name);
                diagnostics.add(key.at, Issue::new(&key.name, message, "remove one of them"));
            }
        }
    }
    Some(unique)
}

pub(crate) fn list<'n>(node: &'n Node, what: &str, wanted: &str, diagnostics: &mut Diagnostics) -> Option<&'n [Node]> {
    match &node.content {
        Content::List(items) => Some(items),
        _ => {
            wrong_shape(node, what, wanted, diagnostics);
            None
        }
    }
}

/// Any text, quoted or plain.
pub(crate) fn text<'n>(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Option<&'n str> {
    let Content::Scalar(Value::String(text)) = &node.content else {
        wrong_shape(node, what, "text, in quotes if it looks like something else", diagnostics);
        return None;
    };
    Some(text)
}

/// Text of one line that is not blank.
pub(crate) fn name<'n>(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Option<&'n str> {
    let text = text(node, what, diagnostics)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        let message = format!("{what} is empty or contains a control character");
        diagnostics.add(node.at, Issue::new(text, message, "write it as one line of text"));
        return None;
    }
    Some(text)
}

/// The version of the format: 1.
pub(crate) fn version(node: &Node, diagnostics: &mut Diagnostics) {
    match &node.content {
        Content::Scalar(Value::Number(number)) if number.as_u64() == Some(1) => {}
        Content::Scalar(Value::Number(number)) => {
            let message = format!("version {number} is not supported");
            diagnostics.add(node.at, Issue::new(&number.to_string(), message, "write 1"));
        }
        _ => wrong_shape(node, "version", "1", diagnostics),
    }
}

/// A number without a sign or a fraction.
pub(crate) fn whole_number(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<u64> {
    let number = match &node.content {
        Content::Scalar(Value::Number(number)) => number.as_u64(),
        _ => None,
    };
    if number.is_none() {
        wrong_shape(node, what, "a whole number", diagnostics);
    }
    number
}

/// `true` or `false`.
pub(crate) fn flag(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<bool> {
    match &node.content {
        Content::Scalar(Value::Bool(flag)) => Some(*flag),
        _ => {
            wrong_shape(node, what, "true or false", diagnostics);
            None
        }
    }
}

/// Adds the diagnostic that `node` has another shape than the `wanted` one.
pub(crate) fn wrong_shape(node: &Node, what: &str, wanted: &str, diagnostics: &mut Diagnostics) {
    let (shape, offending) = match &node.content {
        Content::List(_) => ("a list", String::new()),
        Content::Map(_) => ("a map", String::new()),
        Content::Scalar(Value::Null) => ("empty", String::new()),
        Content::Scalar(Value::Bool(flag)) => ("true or false", flag.to_string()),
        Content::Scalar(Value::Number(number)) => ("a number", number.to_string()),
        Content::Scalar(Value::String(text)) => ("text", text.clone()),
        Content::Scalar(_) => ("something else", String::new()),
    };
    diagnostics.add(node.at, Issue::new(&offending, format!("{what} is {shape}"), format!("write {wanted}")));
}
