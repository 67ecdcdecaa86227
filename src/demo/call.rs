//! A request as the operations see it, and the reading of paths, queries and bodies into it.

use serde_json::Value;

use super::kinds::Kind;
use super::options::StandInOptions;
use super::response::UcsError;

/// The decoded segments of a path that stand for placeholders, by the names of these.
pub(super) type Ids = Vec<(&'static str, String)>;

/// A request to an operation.
pub(super) struct Call {
    /// The kind of resource that the operation is about.
    pub(super) kind: &'static Kind,
    /// The operation's path, with placeholders.
    pub(super) template: &'static str,
    /// Path and query as received.
    pub(super) uri: String,
    pub(super) ids: Ids,
    /// Decoded names and values.
    pub(super) query: Vec<(String, String)>,
    /// `None` for a request without a body.
    pub(super) body: Option<Value>,
    /// `http://address/base` of the stand-in.
    pub(super) base_uri: String,
    pub(super) options: StandInOptions,
}

impl Call {
    /// The segment that stands for the placeholder `name`; empty if the operation's path has none.
    pub(super) fn id(&self, name: &str) -> &str {
        self.ids.iter().find(|(known, _)| *known == name).map_or("", |(_, id)| id)
    }

    pub(super) fn has_id(&self, name: &str) -> bool {
        self.ids.iter().any(|(known, _)| *known == name)
    }

    /// The last segment of the operation's path.
    pub(super) fn last_word(&self) -> &'static str {
        self.template.rsplit('/').next().unwrap_or_default()
    }

    /// The first query parameter of this name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn value(&self) -> Result<&Value, UcsError> {
        self.body.as_ref().ok_or_else(|| UcsError::bad_request("a JSON body is mandatory"))
    }

    pub(super) fn object(&self) -> Result<&serde_json::Map<String, Value>, UcsError> {
        self.value()?.as_object().ok_or_else(|| UcsError::bad_request("the body must be a JSON object"))
    }
}

/// The rest of `path` after `prefix`, if the prefix ends at a border of segments.
pub(super) fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The decoded segments of a path; one trailing slash is tolerated, as in printed examples.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    path.strip_suffix('/').unwrap_or(path).split('/').map(decoded).collect()
}

/// The decoded pairs of a query, in which a plus is a space; pairs that cannot be decoded are left out.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let part = part.replace('+', " ");
        let (name, value) = part.split_once('=').unwrap_or((&part, ""));
        Some((decoded(name)?, decoded(value)?))
    };
    query.split('&').filter(|part| !part.is_empty()).filter_map(pair).collect()
}

/// `None` for an empty body.
pub(super) fn parse_body(bytes: &[u8]) -> Result<Option<Value>, UcsError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(bytes).map(Some);
    parsed.map_err(|error| UcsError::bad_request(format!("the body is not JSON: {error}")))
}

/// Percent-decoded; `None` for broken escapes and for bytes that are not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).filter(|(digits, _)| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_below_the_base_path() {
        let read = |base, path| below(base, path).and_then(segments);
        let expected = vec!["profiles".to_owned(), "a b/c".to_owned()];
        assert_eq!(read("/genesys/1/cs", "/genesys/1/cs/profiles/a%20b%2fc/"), Some(expected));
        assert_eq!(read("/cv", "/cvx/profiles"), None);
        assert_eq!(read("", "/profiles/%zz"), None);
        assert_eq!(read("", "/profiles/%+1"), None);
        assert_eq!(pairs("a=1+2&b"), [("a".to_owned(), "1 2".to_owned()), ("b".to_owned(), String::new())]);
    }
}
