//! The spelling of single values: methods, class names, content types, answer bodies. Pure functions from text to an
//! optional issue, without spans; the table parses patterns itself.

use crate::policy::strict_yaml::nearest;
use crate::policy::table::Issue;

/// Names in braces that an answer's body may contain. `status` and `revision` are filled in as numbers, the rest as the
/// inside of a JSON string.
pub(super) const PLACEHOLDERS: [&str; 12] = [
    "operation",
    "method",
    "path",
    "mode",
    "status",
    "detail",
    "reason",
    "revision",
    "class",
    "message",
    "back_at",
    "expires",
];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// An upper-case method token. A near miss of a well-known one counts as a typo.
pub(super) fn method(text: &str) -> Result<(), Issue> {
    if METHODS.contains(&text) || text == "ANY" {
        return Ok(());
    }
    let upper = text.to_ascii_uppercase();
    let message = format!("unknown method \"{text}\"");
    if upper != text && (METHODS.contains(&upper.as_str()) || upper == "ANY") {
        return Err(Issue::new(text, message, format!("write {upper}")));
    }
    if let Some(meant) = nearest(&upper, &METHODS) {
        return Err(Issue::new(text, message, format!("write {meant}")));
    }
    let is_token = !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    if !is_token {
        return Err(Issue::new(text, message, "write an upper-case method such as GET or POST, or ANY"));
    }
    Ok(())
}

/// The name of a class: it becomes a label in metrics.
pub(super) fn class_name(text: &str) -> Result<(), Issue> {
    let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase());
    if begins_well && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Ok(());
    }
    let message = format!("invalid class name \"{text}\"");
    Err(Issue::new(text, message, "use lower-case letters, digits and _, starting with a letter"))
}

/// A content type: `type/subtype` in visible ASCII.
pub(super) fn content_type(text: &str) -> Result<(), Issue> {
    let visible = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    let halves = text.split_once('/').is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
    if visible && halves {
        return Ok(());
    }
    Err(Issue::new(text, format!("invalid content type \"{text}\""), "write for example application/json"))
}

/// A header line of an answer: not one that the gateway writes itself, nor one of a connection.
pub(super) fn header_name(text: &str) -> Result<(), Issue> {
    const RESERVED: [&str; 14] = [
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "proxy-connection",
        "retry-after",
        "te",
        "trailer",
        "transfer-encoding",
        "ucs-gateway",
        "upgrade",
        "via",
    ];
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(is_token) {
        return Err(Issue::new(text, format!("invalid header name \"{text}\""), "write a name such as X-Reason"));
    }
    if RESERVED.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        return Err(Issue::new(text, format!("the gateway itself decides about the header {text}"), "remove it"));
    }
    Ok(())
}

/// The value of such a line.
pub(super) fn header_value(text: &str) -> Result<(), Issue> {
    if text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && text.trim() == text {
        return Ok(());
    }
    Err(Issue::new(text, "invalid header value", "write visible ASCII, without spaces at its ends"))
}

/// A body with placeholders. When its content type is JSON, it must be valid JSON once filled in.
pub(super) fn body(text: &str, content_type: &str) -> Result<(), Issue> {
    if let Some(control) = text.chars().find(|char| char.is_control() && !matches!(char, '\t' | '\r' | '\n')) {
        let found = control.escape_unicode().to_string();
        return Err(Issue::new(&found, format!("the body contains the control character {found}"), "remove it"));
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
            return Err(Issue::new(name, format!("unknown placeholder {{{name}}}"), instead));
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
        Err(error) => Err(Issue::new(
            text,
            format!("the body is not valid JSON once filled in ({error})"),
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
