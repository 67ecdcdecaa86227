//! The tree of a file → a partial table. Every value is checked by itself here; rules about several routes are checked by
//! the caller. A route with a diagnostic is left out, never repaired.

use std::sync::Arc;

use serde_yaml::Value;

use super::spelling;
use crate::policy::mode::ModeSet;
use crate::policy::strict_yaml::{
    Content, Diagnostics, Fields, Node, Span, entries, flag, list, name, text, version, wrong_shape,
};
use crate::policy::table::{
    AnswerTemplate, Class, Issue, Pattern, Route, RouteAnswer, RouteMethod, Unmatched, parse_base_path, parse_regex,
    parse_template,
};

pub(super) const FILE_KEYS: [&str; 6] = ["version", "base_path", "unmatched", "classes", "answers", "routes"];
pub(super) const ROUTE_KEYS: [&str; 9] =
    ["operation", "id", "method", "path", "regex", "class", "modes", "answer", "needs_profile_schema"];
pub(super) const ANSWER_KEYS: [&str; 3] = ["content_type", "body", "headers"];
/// The reasons whose response body can be replaced.
pub(super) const REASONS: [&str; 7] =
    ["mode", "switching", "local_close", "no_profile_schema", "unmatched", "overload", "upstream"];

/// The classes that exist without being listed.
const DEFAULT_CLASSES: [(&str, ModeSet); 4] = [
    ("schema", ModeSet::Maintenance),
    ("profile", ModeSet::Production),
    ("service", ModeSet::Production),
    ("server", ModeSet::Both),
];

/// The contents of a file, as far as they are valid.
#[derive(Default)]
pub(super) struct PartialTable {
    pub(crate) base_path: Arc<str>,
    pub(crate) classes: Vec<Class>,
    /// `None` when it is absent or invalid: not found.
    pub(crate) unmatched: Option<Unmatched>,
    pub(crate) answers: Vec<(Arc<str>, AnswerTemplate)>,
    pub(crate) routes: Vec<PartialRoute>,
    /// Whether `routes` is a list.
    pub(crate) has_routes: bool,
}

/// A route and the spans that the table-wide rules report.
pub(super) struct PartialRoute {
    pub(crate) at: Span,
    pub(crate) path_at: Span,
    pub(crate) modes_at: Span,
    pub(crate) method_at: Span,
    /// Known even when another key of the route is invalid.
    pub(crate) answer: Option<RouteAnswer>,
    /// `None` when a key of the route is invalid.
    pub(crate) route: Option<Route>,
}

/// Reads the whole file.
pub(super) fn read(root: &Node, diagnostics: &mut Diagnostics) -> PartialTable {
    let Some(file) = Fields::of(root, "the file", &FILE_KEYS, diagnostics) else {
        return PartialTable::default();
    };
    if let Some(node) = file.need("version", "add version: 1", diagnostics) {
        version(node, diagnostics);
    }
    let base_path = file.get("base_path").and_then(|node| {
        let prefix = text(node, "base_path", diagnostics)?;
        spelled(node, prefix, parse_base_path, diagnostics)
    });
    let classes = classes(file.get("classes"), diagnostics);
    let unmatched = file.get("unmatched").and_then(|node| unmatched(node, &classes, diagnostics));
    let answers = file.get("answers").map(|node| answers(node, diagnostics)).unwrap_or_default();
    let items = file
        .need("routes", "add routes: with a list of operations", diagnostics)
        .and_then(|node| list(node, "routes", "a list, each item starting with \"- operation:\"", diagnostics));
    let routes = items.unwrap_or_default().iter().map(|node| route(node, &classes, diagnostics)).collect();
    PartialTable {
        base_path: base_path.unwrap_or_default().into(),
        classes,
        unmatched,
        answers,
        routes,
        has_routes: items.is_some(),
    }
}

/// The listed classes in their order, followed by those of the four that are not listed.
fn classes(node: Option<&Node>, diagnostics: &mut Diagnostics) -> Vec<Class> {
    let mut classes = Vec::new();
    let written = node.and_then(|node| entries(node, "classes", diagnostics)).unwrap_or_default();
    for (key, node) in written {
        if let Err(issue) = spelling::class_name(&key.name) {
            diagnostics.add(key.at, issue);
        }
        // A class with invalid modes still exists, so that its routes are not reported as well.
        let modes = modes(node, &format!("the value of class {}", key.name), diagnostics).unwrap_or(ModeSet::Both);
        classes.push(Class { name: key.name.as_str().into(), modes });
    }
    for (name, modes) in DEFAULT_CLASSES {
        if classes.iter().all(|class| &*class.name != name) {
            classes.push(Class { name: name.into(), modes });
        }
    }
    classes
}

fn modes(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<ModeSet> {
    let items = list(node, what, "a list: [production], [maintenance] or [maintenance, production]", diagnostics)?;
    let (mut production, mut maintenance, mut sound) = (false, false, true);
    for item in items {
        match text(item, "a mode", diagnostics) {
            Some("production") => production = true,
            Some("maintenance") => maintenance = true,
            Some(other) => {
                let message = format!("unknown mode \"{other}\"");
                diagnostics.add(item.at, Issue::new(other, message, "write production or maintenance"));
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
            let instead = "name at least one mode; to close an operation in both modes, remove its route";
            diagnostics.add(node.at, Issue::new("[]", format!("{what} admits no mode"), instead));
            None
        }
    }
}

fn class_index(node: &Node, classes: &[Class], diagnostics: &mut Diagnostics) -> Option<usize> {
    let written = text(node, "class", diagnostics)?;
    let found = classes.iter().position(|class| &*class.name == written);
    if found.is_none() {
        let names: Vec<&str> = classes.iter().map(|class| &*class.name).collect();
        let message = format!("unknown class \"{written}\"");
        diagnostics.add(node.at, Issue::new(written, message, format!("write one of {}", names.join(", "))));
    }
    found
}

fn unmatched(node: &Node, classes: &[Class], diagnostics: &mut Diagnostics) -> Option<Unmatched> {
    let wanted = "not_found, or class: with the class of unmatched requests";
    match &node.content {
        Content::Scalar(Value::String(word)) if word == "not_found" => Some(Unmatched::NotFound),
        Content::Scalar(Value::String(word)) => {
            let message = format!("unknown value \"{word}\" of unmatched");
            diagnostics.add(node.at, Issue::new(word, message, format!("write {wanted}")));
            None
        }
        Content::Map(_) => {
            let fields = Fields::of(node, "unmatched", &["class"], diagnostics)?;
            let class = fields.need("class", &format!("write {wanted}"), diagnostics)?;
            class_index(class, classes, diagnostics).map(Unmatched::Class)
        }
        _ => {
            wrong_shape(node, "unmatched", wanted, diagnostics);
            None
        }
    }
}

fn answers(node: &Node, diagnostics: &mut Diagnostics) -> Vec<(Arc<str>, AnswerTemplate)> {
    let mut answers = Vec::new();
    for (key, node) in entries(node, "answers", diagnostics).unwrap_or_default() {
        if !REASONS.contains(&key.name.as_str()) {
            let message = format!("unknown reason \"{}\" in answers", key.name);
            let instead = format!("write one of {}", REASONS.join(", "));
            diagnostics.add(key.at, Issue::new(&key.name, message, instead));
        }
        if let Some(template) = answer_template(node, diagnostics) {
            answers.push((key.name.as_str().into(), template));
        }
    }
    answers
}

fn answer_template(node: &Node, diagnostics: &mut Diagnostics) -> Option<AnswerTemplate> {
    let fields = Fields::of(node, "an answer", &ANSWER_KEYS, diagnostics)?;
    let content_type = fields.need("content_type", "add content_type: with for example application/json", diagnostics);
    let body = fields.need("body", "add body: with the text to send", diagnostics);
    let content_type = content_type.and_then(|node| {
        let written = text(node, "content_type", diagnostics)?;
        spelled(node, written, spelling::content_type, diagnostics)
    });
    let body = body.and_then(|node| {
        let written = text(node, "body", diagnostics)?;
        spelled(node, written, |body| spelling::body(body, content_type.unwrap_or_default()), diagnostics)
    });
    let headers = fields.get("headers").map(|node| answer_headers(node, diagnostics)).unwrap_or_default();
    Some(AnswerTemplate { content_type: content_type?.into(), body: body?.into(), headers })
}

fn answer_headers(node: &Node, diagnostics: &mut Diagnostics) -> Vec<(Arc<str>, Arc<str>)> {
    let mut headers: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for (key, node) in entries(node, "headers", diagnostics).unwrap_or_default() {
        if let Err(issue) = spelling::header_name(&key.name) {
            diagnostics.add(key.at, issue);
        }
        let value = text(node, "a header", diagnostics);
        if let Some(value) = value.and_then(|value| spelled(node, value, spelling::header_value, diagnostics)) {
            headers.push((key.name.as_str().into(), value.into()));
        }
    }
    headers
}

fn route(node: &Node, classes: &[Class], diagnostics: &mut Diagnostics) -> PartialRoute {
    let at = node.at;
    let faults_before = diagnostics.count();
    let Some(fields) = Fields::of(node, "a route", &ROUTE_KEYS, diagnostics) else {
        return PartialRoute { at, path_at: at, modes_at: at, method_at: at, answer: None, route: None };
    };
    let (answer, route) = values(&fields, at, classes, diagnostics);
    let place = |keys: &[&str]| keys.iter().find_map(|key| fields.get(key)).map_or(at, |node| node.at);
    PartialRoute {
        at,
        path_at: place(&["path", "regex"]),
        modes_at: place(&["modes", "class"]),
        method_at: place(&["method"]),
        answer,
        route: route.filter(|_| diagnostics.count() == faults_before),
    }
}

/// The values of a route's keys; no route if a mandatory one is missing or invalid.
fn values(
    fields: &Fields,
    at: Span,
    classes: &[Class],
    diagnostics: &mut Diagnostics,
) -> (Option<RouteAnswer>, Option<Route>) {
    let operation = fields.need("operation", "add operation: with its name in the UCS documentation", diagnostics);
    let operation = operation.and_then(|node| name(node, "operation", diagnostics));
    let method_node = fields.need("method", "add method: with a method such as GET, or ANY", diagnostics);
    let method = method_node.and_then(|node| method(node, diagnostics));
    let class_node = fields.need("class", "add class: with the class of the operation", diagnostics);
    let class = class_node.and_then(|node| class_index(node, classes, diagnostics));
    let pattern = pattern(fields, at, diagnostics);
    let id = fields.get("id").and_then(|node| name(node, "id", diagnostics));
    let modes = fields.get("modes").and_then(|node| modes(node, "modes", diagnostics));
    let needs_schema = fields.get("needs_profile_schema");
    let needs_schema = needs_schema.and_then(|node| flag(node, "needs_profile_schema", diagnostics));
    let answer = fields.get("answer").and_then(|node| answer(node, diagnostics));
    let (Some(operation), Some(method), Some(class), Some(pattern)) = (operation, method, class, pattern) else {
        return (answer, None);
    };
    let route = Route {
        operation: operation.into(),
        id: id.map(Arc::from),
        method,
        pattern,
        class,
        modes: modes.unwrap_or(classes[class].modes),
        answer,
        needs_profile_schema: needs_schema.unwrap_or(false),
        line: at.line,
    };
    (answer, Some(route))
}

fn method(node: &Node, diagnostics: &mut Diagnostics) -> Option<RouteMethod> {
    let written = text(node, "method", diagnostics)?;
    match spelled(node, written, spelling::method, diagnostics)? {
        "ANY" => Some(RouteMethod::Any),
        only => Some(RouteMethod::Only(only.into())),
    }
}

fn pattern(fields: &Fields, at: Span, diagnostics: &mut Diagnostics) -> Option<Pattern> {
    match (fields.get("path"), fields.get("regex")) {
        (Some(node), None) => {
            let written = text(node, "path", diagnostics)?;
            spelled(node, written, parse_template, diagnostics).map(|path| Pattern::Template(path.into()))
        }
        (None, Some(node)) => {
            let written = text(node, "regex", diagnostics)?;
            spelled(node, written, parse_regex, diagnostics).map(|regex| Pattern::Regex(regex.into()))
        }
        (Some(_), Some(regex)) => {
            diagnostics.add(regex.at, Issue::new("regex", "a route has both path and regex", "remove one of them"));
            None
        }
        (None, None) => {
            diagnostics.add(
                at,
                Issue::new("", "a route has no \"path\"", "add path: with a template such as /profiles/{customer_id}"),
            );
            None
        }
    }
}

fn answer(node: &Node, diagnostics: &mut Diagnostics) -> Option<RouteAnswer> {
    match text(node, "answer", diagnostics)? {
        "set_mode" => Some(RouteAnswer::SetMode),
        "status" => Some(RouteAnswer::Status),
        other => {
            let message = format!("unknown answer \"{other}\"");
            diagnostics.add(
                node.at,
                Issue::new(other, message, "write set_mode or status, or remove it to forward the request"),
            );
            None
        }
    }
}

/// `written`, unless `rule` rejects it.
fn spelled<'n, T>(
    node: &Node,
    written: &'n str,
    rule: impl Fn(&str) -> Result<T, Issue>,
    diagnostics: &mut Diagnostics,
) -> Option<&'n str> {
    rule(written).map(|_| written).map_err(|issue| diagnostics.add(node.at, issue)).ok()
}
