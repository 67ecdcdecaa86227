//! The names in a field that lists other fields: `Trailer`, `Connection` (RFC 9110, 6.6.2 and 7.6.1).

use hyper::header::HeaderName;

use super::limits::LIST_ENTRIES;

/// The listed names, sorted; usually none.
#[derive(Debug, Default)]
pub(crate) struct FieldNames(Option<Box<[HeaderName]>>);

impl FieldNames {
    /// The names in the first 100 entries of these lists that `keeps` takes, in lower case; an entry that is not a field name is
    /// ignored.
    pub(crate) fn by<'f>(lists: impl Iterator<Item = &'f [u8]>, keeps: impl Fn(&[u8]) -> bool) -> FieldNames {
        let entries = lists.flat_map(|list| list.split(|&byte| byte == b',')).take(LIST_ENTRIES);
        let names = entries.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        let mut names: Vec<_> = names.filter(|name| keeps(name.as_str().as_bytes())).collect();
        // Each field line is looked up in them.
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        FieldNames(Some(names.into_boxed_slice()).filter(|names| !names.is_empty()))
    }

    /// Whether `name`, in lower case, is among them.
    #[inline]
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        let among = |names: &[HeaderName]| names.binary_search_by(|other| other.as_str().as_bytes().cmp(name)).is_ok();
        self.0.as_deref().is_some_and(among)
    }
}
