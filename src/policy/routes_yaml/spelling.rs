//! How single values must be spelled: templates, regexes, prefixes, methods, answer bodies. Pure functions from text to
//! a flaw or to nothing; they know no places.

use std::collections::HashSet;

use super::diagnostic::Flaw;

/// Names in braces that an answer's body may hold. `status` and `revision` are filled in as numbers, the rest as the
/// inside of a JSON string.
pub(super) const PLACEHOLDERS: [&str; 9] =
    ["operation", "method", "path", "mode", "status", "detail", "reason", "revision", "class"];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// A route's path: `/`, or segments that are each a literal or one `{name}`.
pub(super) fn template(text: &str) -> Result<(), Flaw> {
    let flaw = |message: String, instead: &str| Err(Flaw::new(text, message, instead));
    let Some(rest) = text.strip_prefix('/') else {
        return flaw(format!("the path \"{text}\" does not begin with /"), &format!("write /{text}"));
    };
    if rest.is_empty() {
        return Ok(());
    }
    if rest.ends_with('/') && !rest.ends_with("//") {
        let shorter = &text[..text.len() - 1];
        return flaw(
            format!("the path \"{text}\" ends with /"),
            &format!("write {shorter}, which takes one trailing slash as well"),
        );
    }
    let mut names = HashSet::new();
    for segment in rest.split('/') {
        match parameter(segment) {
            Some(name) if !names.insert(name) => {
                return flaw(format!("the path \"{text}\" names {{{name}}} twice"), "give each parameter its own name");
            }
            Some(_) => {}
            None => literal(segment, text)?,
        }
    }
    Ok(())
}

/// The name in `{name}`, when the whole segment is one.
fn parameter(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
}

fn literal(segment: &str, whole: &str) -> Result<(), Flaw> {
    let flaw = |message: String, instead: &str| Err(Flaw::new(segment, message, instead));
    if segment.is_empty() {
        return flaw(format!("the path \"{whole}\" has an empty segment"), "write single slashes");
    }
    if segment == "." || segment == ".." {
        return flaw(
            format!("the path \"{whole}\" has the dot segment \"{segment}\""),
            "write the path that it leads to",
        );
    }
    if segment.contains(['{', '}']) {
        let (opened, closed) = (segment.matches('{').count(), segment.matches('}').count());
        return match opened == closed {
            false => flaw(format!("unbalanced braces in \"{segment}\""), "write a parameter as {name}"),
            true => flaw(
                format!("\"{segment}\" is not one parameter"),
                "write {name} alone between two slashes, with letters, digits and _ in the name; \
                 for a mixture use regex",
            ),
        };
    }
    match segment.chars().find(|&c| !is_literal(c)) {
        None => Ok(()),
        Some(';') => flaw(format!("the path \"{whole}\" holds ;"), "path parameters are refused; leave them out"),
        Some(c @ ('?' | '#')) => flaw(format!("the path \"{whole}\" holds {c}"), "write the path only, without query"),
        Some(c) => flaw(
            format!("the path \"{whole}\" holds {c:?}"),
            "write letters, digits and -._~!$&'()*+,=:@ only; for an escape such as %20 use regex",
        ),
    }
}

/// What a canonical path may hold unescaped, but for `;` and `/` (RFC 3986, pchar).
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@".contains(c)
}

/// A template with its parameter names taken out: equal for two templates that take the same paths.
pub(super) fn without_names(template: &str) -> String {
    let nameless = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    template.split('/').map(nameless).collect::<Vec<_>>().join("/")
}

/// A regular expression over a whole path.
pub(super) fn regex(text: &str) -> Result<(), Flaw> {
    if let Err(error) = regex::Regex::new(text) {
        let said = error.to_string();
        let cause = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
        return Err(Flaw::new(text, format!("bad regex \"{text}\": {cause}"), "the syntax is that of docs.rs/regex"));
    }
    match regex_automata::util::syntax::parse(text) {
        Ok(parsed) if parsed.properties().look_set().contains_anchor() => Err(Flaw::new(
            text,
            format!("the regex \"{text}\" holds an anchor"),
            "leave out ^ and $; a regex always spans the whole path",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(Flaw::new(text, format!("bad regex \"{text}\": {error}"), "")),
    }
}

/// A prefix of every path: empty, or literal segments without a trailing slash.
pub(super) fn base_path(text: &str) -> Result<(), Flaw> {
    let shape = "write \"\" or a path such as /genesys/1/cs";
    if text.is_empty() {
        return Ok(());
    }
    if !text.starts_with('/') {
        return Err(Flaw::new(text, format!("base_path \"{text}\" does not begin with /"), shape));
    }
    if text.ends_with('/') {
        return Err(Flaw::new(text, format!("base_path \"{text}\" ends with /"), shape));
    }
    if text.contains(['{', '}']) {
        return Err(Flaw::new(text, format!("base_path \"{text}\" holds a parameter"), shape));
    }
    text[1..].split('/').try_for_each(|segment| literal(segment, text))
}

/// An upper-case method token. A near miss of a usual one is taken for a slip of the pen.
pub(super) fn method(text: &str) -> Result<(), Flaw> {
    if METHODS.contains(&text) || text == "ANY" {
        return Ok(());
    }
    let upper = text.to_ascii_uppercase();
    let message = format!("unknown method \"{text}\"");
    if upper != text && (METHODS.contains(&upper.as_str()) || upper == "ANY") {
        return Err(Flaw::new(text, message, format!("write {upper}")));
    }
    if let Some(meant) = nearest(&upper, &METHODS) {
        return Err(Flaw::new(text, message, format!("write {meant}")));
    }
    let is_token = !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    if !is_token {
        return Err(Flaw::new(text, message, "write an upper-case method such as GET or POST, or ANY"));
    }
    Ok(())
}

/// The name of a class: it becomes a label in metrics.
pub(super) fn class_name(text: &str) -> Result<(), Flaw> {
    let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase());
    if begins_well && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Ok(());
    }
    let message = format!("bad class name \"{text}\"");
    Err(Flaw::new(text, message, "write lower-case letters, digits and _, beginning with a letter"))
}

/// A content type: `type/subtype`, visible ASCII.
pub(super) fn content_type(text: &str) -> Result<(), Flaw> {
    let visible = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    let halves = text.split_once('/').is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
    if visible && halves {
        return Ok(());
    }
    Err(Flaw::new(text, format!("bad content type \"{text}\""), "write for example application/json"))
}

/// A body with placeholders. When its content type is JSON it must be JSON once it is filled in.
pub(super) fn body(text: &str, content_type: &str) -> Result<(), Flaw> {
    if let Some(control) = text.chars().find(|char| char.is_control() && !matches!(char, '\t' | '\r' | '\n')) {
        let found = control.escape_unicode().to_string();
        return Err(Flaw::new(&found, format!("the control character {found}"), "leave it out".to_owned()));
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let Some(name) = rest.find('}').map(|close| &rest[1..close]).filter(|name| parameter_like(name)) else {
            filled.push('{');
            rest = &rest[1..];
            continue;
        };
        if !PLACEHOLDERS.contains(&name) {
            let instead = match nearest(name, &PLACEHOLDERS) {
                Some(meant) => format!("write {{{meant}}}"),
                None => format!("the placeholders are {{{}}}", PLACEHOLDERS.join("} {")),
            };
            return Err(Flaw::new(name, format!("unknown placeholder {{{name}}}"), instead));
        }
        filled.push_str(if matches!(name, "status" | "revision") { "1" } else { "x" });
        rest = &rest[name.len() + 2..];
    }
    filled.push_str(rest);
    if !is_json(content_type) {
        return Ok(());
    }
    match serde_json::from_str::<serde_json::Value>(&filled) {
        Ok(_) => Ok(()),
        Err(error) => Err(Flaw::new(
            text,
            format!("the body is not JSON once it is filled in ({error})"),
            "put quotes around every placeholder but {status} and {revision}",
        )),
    }
}

fn parameter_like(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The one of `known` that `written` most likely stands for: at most two edits away, and fewer than half its letters.
pub(super) fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|candidate| (edits(written, candidate), *candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2 && distance * 2 <= candidate.len() + 1).then_some(candidate)
}

/// Levenshtein's distance, a swap of two neighbours counting two.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
