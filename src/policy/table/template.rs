//! The syntax of patterns: templates, regexes and `base_path`, each parsed or rejected with an [`Issue`]. It compiles
//! nothing and compares no routes.

use std::collections::HashSet;

use regex_automata::util::syntax;

use super::issue::Issue;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Exactly these bytes, which are canonical as they are.
    Literal(Box<str>),
    /// Any one non-empty segment.
    Parameter,
}

/// Parses `/`, or segments that are each a literal or one `{name}`.
pub(crate) fn parse_template(text: &str) -> Result<Vec<Segment>, Issue> {
    let issue = |message: String, instead: &str| Err(Issue::new(text, message, instead));
    let Some(rest) = text.strip_prefix('/') else {
        return issue(format!("the path \"{text}\" does not begin with /"), &format!("write /{text}"));
    };
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    if rest.ends_with('/') && !rest.ends_with("//") {
        let shorter = &text[..text.len() - 1];
        let instead = format!("write {shorter}, which also matches with a trailing slash");
        return issue(format!("the path \"{text}\" ends with /"), &instead);
    }
    let mut names = HashSet::new();
    let mut segments = Vec::new();
    for segment in rest.split('/') {
        segments.push(match parameter(segment) {
            Some(name) if !names.insert(name) => {
                return issue(
                    format!("the path \"{text}\" names {{{name}}} twice"),
                    "give each parameter its own name",
                );
            }
            Some(_) => Segment::Parameter,
            None => literal(segment, text)?,
        });
    }
    Ok(segments)
}

/// Parses a prefix of every path: empty, or literal segments without a trailing slash.
pub(crate) fn parse_base_path(text: &str) -> Result<Vec<Segment>, Issue> {
    let problem = match text {
        "" => return Ok(Vec::new()),
        _ if !text.starts_with('/') => "does not begin with /",
        _ if text.ends_with('/') => "ends with /",
        _ if text.contains(['{', '}']) => "contains a parameter",
        _ => return text[1..].split('/').map(|segment| literal(segment, text)).collect(),
    };
    let instead = "write \"\" or a path such as /genesys/1/cs";
    Err(Issue::new(text, format!("base_path \"{text}\" {problem}"), instead))
}

/// Parses a regex over a whole path, and returns the pattern to compile, which tolerates one trailing slash.
pub(crate) fn parse_regex(text: &str) -> Result<String, Issue> {
    let parsed = syntax::parse_with(text, &syntax_config()).map_err(|error| {
        let error = error.to_string();
        let cause = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let instead = "see docs.rs/regex for the syntax; Unicode classes are not available";
        Issue::new(text, format!("invalid regex \"{text}\": {cause}"), instead)
    })?;
    if parsed.properties().look_set().contains_anchor() {
        let instead = "remove ^ and $; a regex always spans the whole path";
        return Err(Issue::new(text, format!("the regex \"{text}\" contains an anchor"), instead));
    }
    let plain = format!("(?:{text})/?");
    // In verbose mode, (?x), the regex may end in a comment, which a line break ends.
    let verbose = || format!("(?:{text}\n)/?");
    Ok(if syntax::parse_with(&plain, &syntax_config()).is_ok() { plain } else { verbose() })
}

/// Bytes, not characters: a canonical path is ASCII, and Unicode classes would only make the automaton larger.
pub(super) fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// A template without its parameter names: equal for two templates that match the same paths.
pub(crate) fn without_names(template: &str) -> String {
    let nameless = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    template.split('/').map(nameless).collect::<Vec<_>>().join("/")
}

/// The name in `{name}`, when the whole segment is one.
fn parameter(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
}

fn literal(segment: &str, whole: &str) -> Result<Segment, Issue> {
    let issue = |message: String, instead: &str| Err(Issue::new(segment, message, instead));
    if segment.is_empty() {
        return issue(format!("the path \"{whole}\" contains an empty segment"), "write single slashes");
    }
    if segment == "." || segment == ".." {
        let message = format!("the path \"{whole}\" contains the dot segment \"{segment}\"");
        return issue(message, "write the resolved path");
    }
    if segment.contains(['{', '}']) {
        return match segment.matches('{').count() == segment.matches('}').count() {
            false => issue(format!("unbalanced braces in \"{segment}\""), "write a parameter as {name}"),
            true => issue(
                format!("\"{segment}\" is not a valid parameter"),
                "write {name} as a whole segment, with letters, digits and _ in the name; to match a part of a segment, \
                 use regex",
            ),
        };
    }
    match segment.chars().find(|&c| !is_literal(c)) {
        None => Ok(Segment::Literal(segment.into())),
        Some(';') => issue(format!("the path \"{whole}\" contains ;"), "remove it; path parameters are not allowed"),
        Some(c @ ('?' | '#')) => {
            issue(format!("the path \"{whole}\" contains {c}"), "write the path only, without query or fragment")
        }
        Some(c) => issue(
            format!("the path \"{whole}\" contains {c:?}"),
            "write only letters, digits and -._~!$&'()*+,=:@; to match an escape such as %20, use regex",
        ),
    }
}

/// The characters that a canonical path may contain unescaped (RFC 3986, pchar), but for `;`.
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@".contains(c)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::path::CanonicalPath;

    #[test]
    fn a_regex_with_a_comment_at_its_end_is_closed() {
        assert_eq!(parse_regex("/a+").unwrap(), "(?:/a+)/?");
        assert_eq!(parse_regex("(?x) /a # why").unwrap(), "(?:(?x) /a # why\n)/?");
        assert!(parse_regex("^/a").unwrap_err().message.contains("anchor"));
        assert!(parse_regex(r"/\p{L}").unwrap_err().instead.contains("Unicode"));
    }

    proptest! {
        #[test]
        fn every_literal_is_canonical_as_written(text in "(/([a-b.%{}é;-]|%2[0F]){0,4}){1,3}") {
            if let Ok(segments) = parse_template(&text)
                && !segments.contains(&Segment::Parameter)
            {
                let path = CanonicalPath::parse(text.as_bytes()).unwrap();
                prop_assert_eq!(path.as_str(), &text);
            }
        }
    }
}
