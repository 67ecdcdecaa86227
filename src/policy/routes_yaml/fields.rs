//! Typed reading of nodes: a map with known keys, a list, text, a flag. Whatever has another shape becomes a fault that
//! names the shape it has and the one it should have. It knows nothing of routes.

use std::collections::HashMap;

use serde_yaml::Value;

use super::diagnostic::{Faults, Flaw, Place};
use super::spanned::{Content, Key, Node};
use super::spelling::nearest;

/// A map whose keys were checked against the ones that may stand there.
pub(super) struct Fields<'n> {
    at: Place,
    what: &'static str,
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// Reads `node`, called `what` in messages, e.g. "a route". `None` when it is no map.
    pub fn of(node: &'n Node, what: &'static str, known: &[&str], faults: &mut Faults) -> Option<Fields<'n>> {
        let entries = entries(node, what, faults)?;
        for (key, _) in &entries {
            if !known.contains(&key.name.as_str()) {
                let instead = match nearest(&key.name, known) {
                    Some(meant) => format!("write {meant}"),
                    None => format!("the keys of {what} are {}", known.join(", ")),
                };
                let message = format!("unknown key \"{}\" in {what}", key.name);
                faults.add(key.at, Flaw::new(&key.name, message, instead));
            }
        }
        Some(Fields { at: node.at, what, entries })
    }

    /// The value under `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| *node)
    }

    /// The value under `name`; a fault when there is none.
    pub fn need(&self, name: &str, instead: &str, faults: &mut Faults) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            faults.add(self.at, Flaw::new("", format!("{} without \"{name}\"", self.what), instead));
        }
        found
    }
}

/// The entries of a map; a key that stands twice is a fault, and its first value counts.
pub(super) fn entries<'n>(node: &'n Node, what: &str, faults: &mut Faults) -> Option<Vec<(&'n Key, &'n Node)>> {
    let Content::Map(written) = &node.content else {
        wrong_shape(node, what, "a map: keys with their values, one a line", faults);
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
                let message = format!("\"{}\" stands twice in {what}, first in line {line}", key.name);
                faults.add(key.at, Flaw::new(&key.name, message, "keep one of them"));
            }
        }
    }
    Some(unique)
}

/// The items of a list.
pub(super) fn list<'n>(node: &'n Node, what: &str, wanted: &str, faults: &mut Faults) -> Option<&'n [Node]> {
    match &node.content {
        Content::List(items) => Some(items),
        _ => {
            wrong_shape(node, what, wanted, faults);
            None
        }
    }
}

/// Any text.
pub(super) fn text<'n>(node: &'n Node, what: &str, faults: &mut Faults) -> Option<&'n str> {
    let Content::Scalar(Value::String(text)) = &node.content else {
        wrong_shape(node, what, "text, in quotes if it looks like something else", faults);
        return None;
    };
    Some(text)
}

/// Text of one line that says something.
pub(super) fn name<'n>(node: &'n Node, what: &str, faults: &mut Faults) -> Option<&'n str> {
    let text = text(node, what, faults)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        let message = format!("{what} is empty or holds a control character");
        faults.add(node.at, Flaw::new(text, message, "write it as one line of text"));
        return None;
    }
    Some(text)
}

/// `true` or `false`.
pub(super) fn flag(node: &Node, what: &str, faults: &mut Faults) -> Option<bool> {
    match &node.content {
        Content::Scalar(Value::Bool(flag)) => Some(*flag),
        _ => {
            wrong_shape(node, what, "true or false", faults);
            None
        }
    }
}

/// Adds the fault that `node` is not what was `wanted`.
pub(super) fn wrong_shape(node: &Node, what: &str, wanted: &str, faults: &mut Faults) {
    let (shape, offending) = match &node.content {
        Content::List(_) => ("a list", String::new()),
        Content::Map(_) => ("a map", String::new()),
        Content::Scalar(Value::Null) => ("empty", String::new()),
        Content::Scalar(Value::Bool(flag)) => ("true or false", flag.to_string()),
        Content::Scalar(Value::Number(number)) => ("a number", number.to_string()),
        Content::Scalar(Value::String(text)) => ("text", text.clone()),
        Content::Scalar(_) => ("something else", String::new()),
    };
    faults.add(node.at, Flaw::new(&offending, format!("{what} is {shape}"), format!("write {wanted}")));
}
