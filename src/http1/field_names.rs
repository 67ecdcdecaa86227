//! Names of fields that another field lists: `Trailer`, `Connection` (RFC 9110, 6.6.2 and 7.6.1).

use hyper::header::HeaderName;

/// Names of fields that another field announces, in order; mostly none.
#[derive(Debug, Default)]
pub struct FieldNames(Option<Box<[HeaderName]>>);

impl FieldNames {
    /// Those of lists (RFC 9110, 6.6.2 and 7.6.1); what is no name announces nothing.
    pub(crate) fn by<'f>(lists: impl Iterator<Item = &'f [u8]>) -> FieldNames {
        let names = lists.flat_map(|list| list.split(|&byte| byte == b','));
        let mut names: Vec<_> = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
        // A client may send thousands, and each field line is looked for among them.
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        FieldNames(Some(names.into_boxed_slice()).filter(|names| !names.is_empty()))
    }

    /// Whether the field, whose name is in lower case, is among them.
    #[inline]
    pub fn has(&self, name: &[u8]) -> bool {
        let among = |names: &[HeaderName]| names.binary_search_by(|other| other.as_str().as_bytes().cmp(name)).is_ok();
        self.0.as_deref().is_some_and(among)
    }
}
