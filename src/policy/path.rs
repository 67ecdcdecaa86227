//! One reading of a request path, or a refusal with a reason. It never guesses: what a servlet container could read in
//! another way is refused.

use std::borrow::Cow;

/// A path that every server reads in the same way: begins with `/`, holds no dot segment, no empty segment (one trailing
/// slash is allowed), no parameter, no escaped unreserved character. Borrowed when the request already wrote it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// Not the final list.
    #[error("x")]
    EncodedSlash,
}

impl PathRefusal {
    /// Stub.
    pub fn reason(self) -> &'static str {
        "encoded_slash"
    }
}

impl<'a> CanonicalPath<'a> {
    /// Reads the path of a request target: what stands before the `?`.
    pub fn parse(raw: &'a [u8]) -> Result<CanonicalPath<'a>, PathRefusal> {
        if raw.to_ascii_lowercase().windows(3).any(|escape| escape == b"%2f") {
            return Err(PathRefusal::EncodedSlash);
        }
        std::str::from_utf8(raw).map(|path| CanonicalPath(Cow::Borrowed(path))).map_err(|_| PathRefusal::EncodedSlash)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
