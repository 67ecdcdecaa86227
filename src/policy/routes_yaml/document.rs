//! The tree of a file → a draft of its table. Every value is checked by itself here; what concerns several routes is
//! checked by the caller. A route with a fault is left out of the draft, never repaired.

use std::sync::Arc;

use serde_yaml::Value;

use super::diagnostic::{Faults, Flaw, Place};
use super::fields::{Fields, entries, flag, list, name, text, wrong_shape};
use super::spanned::{Content, Node};
use super::spelling;
use crate::policy::mode::ModeSet;
use crate::policy::table::{Answer, AnswerTemplate, Class, Pattern, Route, RouteMethod, Unmatched};

/// Keys of the file.
pub(super) const FILE_KEYS: [&str; 6] = ["version", "base_path", "unmatched", "classes", "answers", "routes"];
/// Keys of a route.
pub(super) const ROUTE_KEYS: [&str; 9] =
    ["operation", "id", "method", "path", "regex", "class", "modes", "answer", "needs_profile_schema"];
/// Keys of an answer.
pub(super) const ANSWER_KEYS: [&str; 2] = ["content_type", "body"];
/// Reasons whose answer can be replaced.
pub(super) const REASONS: [&str; 6] = ["mode", "switching", "no_profile_schema", "unmatched", "overload", "upstream"];

/// The classes that are there without being written.
const DEFAULT_CLASSES: [(&str, ModeSet); 4] = [
    ("schema", ModeSet::Maintenance),
    ("profile", ModeSet::Production),
    ("service", ModeSet::Production),
    ("server", ModeSet::Both),
];

/// What a file says, as far as it could be read.
#[derive(Default)]
pub(super) struct Draft {
    pub base_path: Arc<str>,
    pub classes: Vec<Class>,
    /// `None` when it is not written (or at fault): not found.
    pub unmatched: Option<Unmatched>,
    pub answers: Vec<(Arc<str>, AnswerTemplate)>,
    pub routes: Vec<DraftRoute>,
    /// Whether `routes` could be read as a list at all.
    pub has_routes: bool,
}

/// A route and the places of what the table-wide rules complain about.
pub(super) struct DraftRoute {
    pub at: Place,
    pub path_at: Place,
    pub modes_at: Place,
    pub method_at: Place,
    /// Known even when the route has a fault elsewhere.
    pub answer: Option<Answer>,
    /// `None` when the route has a fault.
    pub route: Option<Route>,
}

/// Reads the whole file.
pub(super) fn read(root: &Node, faults: &mut Faults) -> Draft {
    let Some(file) = Fields::of(root, "the file", &FILE_KEYS, faults) else {
        return Draft::default();
    };
    if let Some(node) = file.need("version", "write version: 1", faults) {
        version(node, faults);
    }
    let base_path = file.get("base_path").and_then(|node| {
        let prefix = text(node, "base_path", faults)?;
        spelled(node, prefix, spelling::base_path, faults)
    });
    let classes = classes(file.get("classes"), faults);
    let unmatched = file.get("unmatched").and_then(|node| unmatched(node, &classes, faults));
    let answers = file.get("answers").map(|node| answers(node, faults)).unwrap_or_default();
    let items = file
        .need("routes", "write routes: and a list of operations", faults)
        .and_then(|node| list(node, "routes", "a list, each item beginning with \"- operation:\"", faults));
    let routes = items.unwrap_or_default().iter().map(|node| route(node, &classes, faults)).collect();
    Draft {
        base_path: base_path.unwrap_or_default().into(),
        classes,
        unmatched,
        answers,
        routes,
        has_routes: items.is_some(),
    }
}

fn version(node: &Node, faults: &mut Faults) {
    match &node.content {
        Content::Scalar(Value::Number(number)) if number.as_u64() == Some(1) => {}
        Content::Scalar(Value::Number(number)) => {
            let message = format!("version {number} is unknown to this gateway");
            faults.add(node.at, Flaw::new(&number.to_string(), message, "write 1"));
        }
        _ => wrong_shape(node, "version", "1", faults),
    }
}

/// What `classes` says, in its order, and then those of the four that it does not name.
fn classes(node: Option<&Node>, faults: &mut Faults) -> Vec<Class> {
    let mut classes = Vec::new();
    let written = node.and_then(|node| entries(node, "classes", faults)).unwrap_or_default();
    for (key, node) in written {
        if let Err(flaw) = spelling::class_name(&key.name) {
            faults.add(key.at, flaw);
        }
        // With a fault in its modes the class still exists, so that its routes are not at fault as well.
        let modes = modes(node, &format!("the value of class {}", key.name), faults).unwrap_or(ModeSet::Both);
        classes.push(Class { name: key.name.as_str().into(), modes });
    }
    for (name, modes) in DEFAULT_CLASSES {
        if classes.iter().all(|class| &*class.name != name) {
            classes.push(Class { name: name.into(), modes });
        }
    }
    classes
}

fn modes(node: &Node, what: &str, faults: &mut Faults) -> Option<ModeSet> {
    let items = list(node, what, "a list: [production], [maintenance] or [maintenance, production]", faults)?;
    let (mut production, mut maintenance, mut sound) = (false, false, true);
    for item in items {
        match text(item, "a mode", faults) {
            Some("production") => production = true,
            Some("maintenance") => maintenance = true,
            Some(other) => {
                let message = format!("unknown mode \"{other}\"");
                faults.add(item.at, Flaw::new(other, message, "write production or maintenance"));
                sound = false;
            }
            None => sound = false,
        }
    }
    match (production, maintenance) {
        _ if !sound => None,
        (true, true) => Some(ModeSet::Both),
        (true, false) => Some(ModeSet::Production),
        (false, true) => Some(ModeSet::Maintenance),
        (false, false) => {
            let instead = "name at least one mode; to close an operation in both, remove its route";
            faults.add(node.at, Flaw::new("[]", format!("{what} admits no mode"), instead));
            None
        }
    }
}

fn class_index(node: &Node, classes: &[Class], faults: &mut Faults) -> Option<usize> {
    let written = text(node, "class", faults)?;
    let found = classes.iter().position(|class| &*class.name == written);
    if found.is_none() {
        let names: Vec<&str> = classes.iter().map(|class| &*class.name).collect();
        let message = format!("unknown class \"{written}\"");
        faults.add(node.at, Flaw::new(written, message, format!("write one of {}", names.join(", "))));
    }
    found
}

fn unmatched(node: &Node, classes: &[Class], faults: &mut Faults) -> Option<Unmatched> {
    let wanted = "not_found, or class: with the class that the rest belongs to";
    match &node.content {
        Content::Scalar(Value::String(word)) if word == "not_found" => Some(Unmatched::NotFound),
        Content::Scalar(Value::String(word)) => {
            let message = format!("unknown value \"{word}\" of unmatched");
            faults.add(node.at, Flaw::new(word, message, format!("write {wanted}")));
            None
        }
        Content::Map(_) => {
            let fields = Fields::of(node, "unmatched", &["class"], faults)?;
            let class = fields.need("class", &format!("write {wanted}"), faults)?;
            class_index(class, classes, faults).map(Unmatched::Class)
        }
        _ => {
            wrong_shape(node, "unmatched", wanted, faults);
            None
        }
    }
}

fn answers(node: &Node, faults: &mut Faults) -> Vec<(Arc<str>, AnswerTemplate)> {
    let mut answers = Vec::new();
    for (key, node) in entries(node, "answers", faults).unwrap_or_default() {
        if !REASONS.contains(&key.name.as_str()) {
            let message = format!("unknown reason \"{}\" in answers", key.name);
            let instead = format!("write one of {}", REASONS.join(", "));
            faults.add(key.at, Flaw::new(&key.name, message, instead));
        }
        if let Some(template) = answer_template(node, faults) {
            answers.push((key.name.as_str().into(), template));
        }
    }
    answers
}

fn answer_template(node: &Node, faults: &mut Faults) -> Option<AnswerTemplate> {
    let fields = Fields::of(node, "an answer", &ANSWER_KEYS, faults)?;
    let content_type = fields.need("content_type", "add for example content_type: application/json", faults);
    let body = fields.need("body", "add body: with the text to send", faults);
    let content_type = content_type.and_then(|node| {
        let written = text(node, "content_type", faults)?;
        spelled(node, written, spelling::content_type, faults)
    });
    let body = body.and_then(|node| {
        let written = text(node, "body", faults)?;
        spelled(node, written, |body| spelling::body(body, content_type.unwrap_or_default()), faults)
    });
    Some(AnswerTemplate { content_type: content_type?.into(), body: body?.into() })
}

fn route(node: &Node, classes: &[Class], faults: &mut Faults) -> DraftRoute {
    let mut draft =
        DraftRoute { at: node.at, path_at: node.at, modes_at: node.at, method_at: node.at, answer: None, route: None };
    let faults_before = faults.count();
    let Some(fields) = Fields::of(node, "a route", &ROUTE_KEYS, faults) else {
        return draft;
    };
    let operation = fields.need("operation", "add operation: and its name in the documentation of UCS", faults);
    let operation = operation.and_then(|node| name(node, "operation", faults));
    let method_node = fields.need("method", "add method: with for example GET, or ANY", faults);
    let method = method_node.and_then(|node| method(node, faults));
    let class_node = fields.need("class", "add class: with the class that the operation belongs to", faults);
    let class = class_node.and_then(|node| class_index(node, classes, faults));
    let pattern = pattern(&fields, node.at, faults);
    let id = fields.get("id").and_then(|node| name(node, "id", faults));
    let own_modes = fields.get("modes").and_then(|node| modes(node, "modes", faults));
    let needs_schema = fields.get("needs_profile_schema");
    let needs_profile_schema = needs_schema.and_then(|node| flag(node, "needs_profile_schema", faults));
    draft.answer = fields.get("answer").and_then(|node| answer(node, faults));
    draft.path_at = fields.get("path").or(fields.get("regex")).map_or(node.at, |node| node.at);
    draft.modes_at = fields.get("modes").or(class_node).map_or(node.at, |node| node.at);
    draft.method_at = method_node.map_or(node.at, |node| node.at);
    if let (Some(operation), Some(method), Some(class), Some(pattern)) = (operation, method, class, pattern)
        && faults.count() == faults_before
    {
        draft.route = Some(Route {
            operation: operation.into(),
            id: id.map(Arc::from),
            method,
            pattern,
            class,
            modes: own_modes.unwrap_or(classes[class].modes),
            answer: draft.answer,
            needs_profile_schema: needs_profile_schema.unwrap_or(false),
            line: node.at.line,
        });
    }
    draft
}

fn method(node: &Node, faults: &mut Faults) -> Option<RouteMethod> {
    let written = text(node, "method", faults)?;
    match spelled(node, written, spelling::method, faults)? {
        "ANY" => Some(RouteMethod::Any),
        only => Some(RouteMethod::Only(only.into())),
    }
}

fn pattern(fields: &Fields, at: Place, faults: &mut Faults) -> Option<Pattern> {
    match (fields.get("path"), fields.get("regex")) {
        (Some(node), None) => {
            let written = text(node, "path", faults)?;
            spelled(node, written, spelling::template, faults).map(|path| Pattern::Template(path.into()))
        }
        (None, Some(node)) => {
            let written = text(node, "regex", faults)?;
            spelled(node, written, spelling::regex, faults).map(|regex| Pattern::Regex(regex.into()))
        }
        (Some(_), Some(regex)) => {
            faults.add(regex.at, Flaw::new("regex", "a route with both path and regex", "keep one of them"));
            None
        }
        (None, None) => {
            faults.add(
                at,
                Flaw::new("", "a route without \"path\"", "add path: with for example /profiles/{customer_id}"),
            );
            None
        }
    }
}

fn answer(node: &Node, faults: &mut Faults) -> Option<Answer> {
    match text(node, "answer", faults)? {
        "set_mode" => Some(Answer::SetMode),
        "status" => Some(Answer::Status),
        other => {
            let message = format!("unknown answer \"{other}\"");
            faults.add(node.at, Flaw::new(other, message, "write set_mode or status, or leave it out to forward"));
            None
        }
    }
}

/// `written`, unless `rule` finds a flaw in it.
fn spelled<'n>(
    node: &Node,
    written: &'n str,
    rule: impl Fn(&str) -> Result<(), Flaw>,
    faults: &mut Faults,
) -> Option<&'n str> {
    match rule(written) {
        Ok(()) => Some(written),
        Err(flaw) => {
            faults.add(node.at, flaw);
            None
        }
    }
}
