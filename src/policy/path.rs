//! The canonical form of a request path, or a refusal with a reason. It never guesses: a path that a servlet container
//! could read in another way is refused. It handles neither query strings nor other target forms.

use std::borrow::Cow;
use std::fmt::Write;

/// A path that every server reads in the same way: it begins with `/` and contains no dot segment, no empty segment (one
/// trailing slash is allowed), no parameter, no escaped unreserved character. Borrowed when the request was canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, [u8]>);

/// The reason why a path was refused. The text is for the client: the problem, and what to send instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// `*`, the empty path, or anything else without a leading slash.
    #[error("the path does not begin with \"/\"; send an absolute path such as /profiles")]
    NotAbsolute,
    /// `%2f`.
    #[error(
        "the path contains an encoded slash (%2F), which servers interpret differently; do not use it in identifiers"
    )]
    EncodedSlash,
    /// `\`.
    #[error("the path contains a backslash; separate segments with \"/\"")]
    Backslash,
    /// `%5c`.
    #[error("the path contains an encoded backslash (%5C), which some servers treat as a separator; remove it")]
    EncodedBackslash,
    /// `.` or `..` as a whole segment, in any spelling.
    #[error("the path contains a dot segment (\".\" or \"..\", possibly as %2E); send the resolved path")]
    DotSegment,
    /// `;` or `%3b`: servers strip path parameters.
    #[error("the path contains a semicolon (\";\" or %3B), which servers strip as a path parameter; remove it")]
    Semicolon,
    /// `//`.
    #[error("the path contains an empty segment (\"//\"); send a single \"/\" between segments")]
    EmptySegment,
    /// A control character, raw or escaped, including NUL and the C1 range (U+0080 to U+009F).
    #[error("the path contains a control character, raw or escaped; remove it")]
    ControlCharacter,
    /// `%` without two hexadecimal digits.
    #[error("the path contains a \"%\" without two hexadecimal digits after it; write a literal percent sign as %25")]
    InvalidEscape,
    /// `%25` followed by the digits of `/ \ . ; %`.
    #[error(
        "the path was escaped twice (for example %252F); escape each character once, and do not use / \\ . ; in a segment"
    )]
    NestedEscape,
    /// Escapes from 0x80 on that are not UTF-8 together, including overlong forms and surrogates.
    #[error("the escapes of the path are not valid UTF-8; escape the UTF-8 bytes of each character")]
    InvalidUtf8,
    /// A raw byte from 0x80 on.
    #[error("the path contains a raw character outside ASCII; escape its UTF-8 bytes, as in %C3%A9")]
    NonAscii,
    /// `#`.
    #[error("the path contains a \"#\"; fragments are not sent to servers; write a literal # as %23")]
    Fragment,
    /// A raw character that RFC 3986, section 3.3, does not allow in a path.
    #[error(
        "the path contains a character that must be escaped (a space or one of \" < > ? [ ] ^ ` {{ | }}); write it as %XX"
    )]
    ForbiddenCharacter,
}

impl PathRefusal {
    /// The name of the reason in problem documents, logs and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            PathRefusal::NotAbsolute => "not_absolute",
            PathRefusal::EncodedSlash => "encoded_slash",
            PathRefusal::Backslash => "backslash",
            PathRefusal::EncodedBackslash => "encoded_backslash",
            PathRefusal::DotSegment => "dot_segment",
            PathRefusal::Semicolon => "semicolon",
            PathRefusal::EmptySegment => "empty_segment",
            PathRefusal::ControlCharacter => "control_character",
            PathRefusal::InvalidEscape => "invalid_escape",
            PathRefusal::NestedEscape => "nested_escape",
            PathRefusal::InvalidUtf8 => "invalid_utf8",
            PathRefusal::NonAscii => "non_ascii",
            PathRefusal::Fragment => "fragment",
            PathRefusal::ForbiddenCharacter => "forbidden_character",
        }
    }
}

impl<'a> CanonicalPath<'a> {
    /// Parses the path of a request target, without its query.
    ///
    /// Total and idempotent: a canonical path is returned as it is, borrowed. Escapes of unreserved characters are
    /// decoded, the digits of all others become upper case (RFC 3986, section 6.2.2).
    pub fn parse(raw: &'a [u8]) -> Result<CanonicalPath<'a>, PathRefusal> {
        if raw.first() != Some(&b'/') {
            return Err(PathRefusal::NotAbsolute);
        }
        if is_plainly_canonical(raw) {
            return Ok(CanonicalPath(Cow::Borrowed(raw)));
        }
        let text = decode(raw)?;
        check_segments(&text)?;
        let is_same = text.as_bytes() == raw;
        Ok(CanonicalPath(if is_same { Cow::Borrowed(raw) } else { Cow::Owned(text.into_bytes()) }))
    }

    /// The canonical text, when it differs from the parsed one.
    pub(crate) fn rewritten(self) -> Option<Vec<u8>> {
        match self.0 {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        }
    }

    /// The canonical path. ASCII only.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Classes of raw bytes for the single scan that most paths need. Plain is zero.
const DOT: u8 = 1;
/// The high bits are those that the next byte must not have: it is neither a dot nor a slash.
const SLASH: u8 = 2 | (2 | DOT) << 4;
/// Needs the slow path: an escape, or a byte that will be refused.
const CAREFUL: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [CAREFUL; 256];
    let mut byte = 0;
    while byte < 256 {
        if is_unreserved(byte as u8) || is_reserved_in_path(byte as u8) {
            classes[byte] = 0;
        }
        byte += 1;
    }
    classes[b'/' as usize] = SLASH;
    classes[b'.' as usize] = DOT;
    classes
};

/// RFC 3986, section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The reserved characters that RFC 3986 allows raw in a segment, without `;`.
const fn is_reserved_in_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// Whether the fast scan accepts the path. It has no branches inside the loop, so a segment that begins with a dot and an
/// empty segment are left to the slow path.
fn is_plainly_canonical(raw: &[u8]) -> bool {
    let (mut all, mut doubts, mut before) = (0, 0, 0);
    for &byte in raw {
        let class = CLASSES[byte as usize];
        all |= class;
        doubts |= class & (before >> 4);
        before = class;
    }
    doubts == 0 && all & CAREFUL == 0
}

/// The path with its escapes normalised; refuses every byte and escape that is not allowed. Segments and nested escapes
/// are checked afterwards, on the result, because escapes can hide both.
fn decode(raw: &[u8]) -> Result<String, PathRefusal> {
    let mut text = String::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'%' => at = decode_escape(raw, at, &mut text)?,
            byte => {
                text.push(allowed_raw(byte)?);
                at += 1;
            }
        }
    }
    Ok(text)
}

fn allowed_raw(byte: u8) -> Result<char, PathRefusal> {
    match byte {
        _ if CLASSES[byte as usize] != CAREFUL => Ok(char::from(byte)),
        b'\\' => Err(PathRefusal::Backslash),
        b';' => Err(PathRefusal::Semicolon),
        b'#' => Err(PathRefusal::Fragment),
        0..=0x1f | 0x7f => Err(PathRefusal::ControlCharacter),
        0x80.. => Err(PathRefusal::NonAscii),
        _ => Err(PathRefusal::ForbiddenCharacter),
    }
}

/// Appends the normal form of the escape at `at` and returns the index after it. A run of escapes from 0x80 on is decoded
/// together, as it must be UTF-8.
fn decode_escape(raw: &[u8], at: usize, text: &mut String) -> Result<usize, PathRefusal> {
    let byte = escaped_byte(raw, at).ok_or(PathRefusal::InvalidEscape)?;
    match byte {
        b'/' => Err(PathRefusal::EncodedSlash),
        b'\\' => Err(PathRefusal::EncodedBackslash),
        b';' => Err(PathRefusal::Semicolon),
        0..=0x1f | 0x7f => Err(PathRefusal::ControlCharacter),
        0x80.. => decode_non_ascii(raw, at, text),
        _ if is_unreserved(byte) => {
            text.push(char::from(byte));
            Ok(at + 3)
        }
        _ => {
            push_escape(byte, text);
            Ok(at + 3)
        }
    }
}

fn decode_non_ascii(raw: &[u8], start: usize, text: &mut String) -> Result<usize, PathRefusal> {
    let mut run = Vec::new();
    let mut at = start;
    while let Some(byte) = escaped_byte(raw, at).filter(|byte| !byte.is_ascii()) {
        run.push(byte);
        push_escape(byte, text);
        at += 3;
    }
    let characters = std::str::from_utf8(&run).map_err(|_| PathRefusal::InvalidUtf8)?;
    if characters.chars().any(char::is_control) {
        return Err(PathRefusal::ControlCharacter);
    }
    Ok(at)
}

/// The byte that the percent-escape at `at` stands for; `None` when there is no complete escape.
fn escaped_byte(raw: &[u8], at: usize) -> Option<u8> {
    let digits = raw.get(at..at + 3)?.strip_prefix(b"%")?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()
}

fn push_escape(byte: u8, text: &mut String) {
    let _ = write!(text, "%{byte:02X}");
}

fn check_segments(text: &str) -> Result<(), PathRefusal> {
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    // `/` alone has no segments, but `//` is refused.
    if inner.is_empty() {
        return if text.len() > 1 { Err(PathRefusal::EmptySegment) } else { Ok(()) };
    }
    for segment in inner.split('/') {
        match segment {
            "" => return Err(PathRefusal::EmptySegment),
            "." | ".." => return Err(PathRefusal::DotSegment),
            _ if contains_nested_escape(segment) => return Err(PathRefusal::NestedEscape),
            _ => {}
        }
    }
    Ok(())
}

/// Whether decoding `segment` a second time would produce one of `/ \ . ; %`.
fn contains_nested_escape(segment: &str) -> bool {
    let once_decoded = segment.replace("%25", "%").into_bytes();
    let mut escapes = (0..once_decoded.len()).filter_map(|at| escaped_byte(&once_decoded, at));
    escapes.any(|byte| matches!(byte, b'/' | b'\\' | b'.' | b';' | b'%'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads_as(raw: &str, canonical: &str) {
        let path = CanonicalPath::parse(raw.as_bytes()).unwrap_or_else(|refusal| panic!("{raw}: {refusal}"));
        assert_eq!(path.as_str(), canonical, "{raw}");
        assert_eq!(matches!(path.0, Cow::Borrowed(_)), raw == canonical, "{raw}");
    }

    fn refused(raw: impl AsRef<[u8]>, expected: PathRefusal) {
        let raw = raw.as_ref();
        assert_eq!(CanonicalPath::parse(raw), Err(expected), "{}", raw.escape_ascii());
    }

    #[test]
    fn what_is_canonical_stays() {
        for path in [
            "/",
            "/profiles",
            "/profiles/",
            "/profiles/42/extensions/Gold.Card",
            "/.well-known/a..b/...",
            "/a&b=c+d$e,f@g:h!i'j(k)l*m",
            "/%26%3D%2B%24%2C%40%3A%21%27%28%29%2A%3F%23%20%25",
            "/caf%C3%A9/%F0%9F%98%80",
            "/100%25",
            "/%2541",
            "/-._~",
        ] {
            reads_as(path, path);
        }
    }

    #[test]
    fn escapes_are_normalised() {
        reads_as("/%70rofiles/%7eme", "/profiles/~me");
        reads_as("/a%2eb", "/a.b");
        reads_as("/caf%c3%a9", "/caf%C3%A9");
        reads_as("/a%3fb", "/a%3Fb");
        reads_as("/%2E%2e%2E", "/...");
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        use PathRefusal::*;
        for (raw, expected) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("profiles", NotAbsolute),
            ("http://ucs/", NotAbsolute),
            ("/metadata/..%2fprofiles", EncodedSlash),
            ("/a%2Fb", EncodedSlash),
            ("/a\\b", Backslash),
            ("/a%5cb", EncodedBackslash),
            ("/.", DotSegment),
            ("/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/./b", DotSegment),
            ("/a/%2e", DotSegment),
            ("/a/%2E./b", DotSegment),
            ("/a/.%2e/", DotSegment),
            ("/metadata/..;/profiles", Semicolon),
            ("/a;b=c", Semicolon),
            ("/a%3Bb", Semicolon),
            ("//", EmptySegment),
            ("//a", EmptySegment),
            ("/a//", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a%00", ControlCharacter),
            ("/a%7F", ControlCharacter),
            ("/a\u{1}", ControlCharacter),
            ("/a\0", ControlCharacter),
            ("/a\u{7f}", ControlCharacter),
            ("/%C2%85", ControlCharacter),
            ("/%", InvalidEscape),
            ("/%4", InvalidEscape),
            ("/%4g", InvalidEscape),
            ("/%+1", InvalidEscape),
            ("/%u002f", InvalidEscape),
            ("/%252f", NestedEscape),
            ("/%255C", NestedEscape),
            ("/%252e%252e", NestedEscape),
            ("/%253b", NestedEscape),
            ("/%2525", NestedEscape),
            ("/%25252f", NestedEscape),
            ("/%25%32%66", NestedEscape),
            ("/%252%66", NestedEscape),
            ("/%c0%af", InvalidUtf8),
            ("/%e0%80%af", InvalidUtf8),
            ("/%ed%a0%80", InvalidUtf8),
            ("/%f4%90%80%80", InvalidUtf8),
            ("/%c3", InvalidUtf8),
            ("/%c3a%a9", InvalidUtf8),
            ("/café", NonAscii),
            ("/a#b", Fragment),
            ("/a b", ForbiddenCharacter),
            ("/{id}", ForbiddenCharacter),
            ("/a?b", ForbiddenCharacter),
            ("/a[0]", ForbiddenCharacter),
            ("/\"<>^`|", ForbiddenCharacter),
        ] {
            refused(raw, expected);
        }
        refused(b"/\xff", NonAscii);
    }

    #[test]
    fn the_reason_is_one_word_and_the_text_a_sentence() {
        assert_eq!(PathRefusal::EncodedSlash.reason(), "encoded_slash");
        assert!(PathRefusal::NestedEscape.to_string().contains("%252F"));
    }

    fn path_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[a-zA-Z0-9._~-]{1,3}".prop_map(String::into_bytes),
            3 => Just(b"/".to_vec()),
            3 => "%[0-9a-fA-F]{2}".prop_map(String::into_bytes),
            1 => Just(b"%25".to_vec()),
            1 => any::<char>().prop_map(|c| c.to_string().bytes().map(|b| format!("%{b:02x}")).collect::<String>().into_bytes()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| [vec![b'/'], pieces.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn parse_is_total(raw in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = CanonicalPath::parse(&raw);
        }

        #[test]
        fn parse_is_idempotent(raw in path_like()) {
            if let Ok(once) = CanonicalPath::parse(&raw) {
                let twice = CanonicalPath::parse(once.as_str().as_bytes()).unwrap();
                prop_assert_eq!(&twice, &once);
                prop_assert!(matches!(twice.0, Cow::Borrowed(_)));
            }
        }

        #[test]
        fn nothing_dangerous_comes_through(raw in path_like()) {
            let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
            let path = path.as_str();
            prop_assert!(path.starts_with('/') && path.is_ascii() && !path.contains("//"));
            prop_assert!(!path.contains([';', '\\', '#', ' ', '?']));
            for found in ["%2F", "%5C", "%3B", "%2E", "%00", "%252f", "%252F"] {
                prop_assert!(!path.contains(found), "{}", path);
            }
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }
}
