//! The names in a field that lists other fields: `Trailer`, `Connection` (RFC 9110, 6.6.2 and 7.6.1).

use hyper::header::HeaderName;

use super::limits::LIST_ENTRIES;

/// The listed names as they were written, sorted without regard to case; usually none.
#[derive(Debug, Default)]
pub(crate) struct FieldNames(Option<Box<[Box<[u8]>]>>);

impl FieldNames {
    /// The names in the first 100 entries of these lists that `keeps` takes; an entry that is not a field name is ignored.
    pub(crate) fn by<'f>(lists: impl Iterator<Item = &'f [u8]>, keeps: impl Fn(&[u8]) -> bool) -> FieldNames {
        let entries = lists.flat_map(|list| list.split(|&byte| byte == b',')).take(LIST_ENTRIES);
        let keeps = |name: &&[u8]| HeaderName::from_bytes(name).is_ok() && keeps(name);
        let mut names: Vec<Box<[u8]>> = entries.map(<[u8]>::trim_ascii).filter(keeps).map(Box::from).collect();
        // Each field line is looked up in them.
        names.sort_unstable_by(|one, other| in_lower_case(one).cmp(in_lower_case(other)));
        FieldNames(Some(names.into_boxed_slice()).filter(|names| !names.is_empty()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether `name`, in any case, is among them.
    #[inline]
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.written(name).is_some()
    }

    /// `name`, in any case, as it was written.
    #[inline]
    pub(crate) fn written(&self, name: &[u8]) -> Option<&[u8]> {
        let names = self.0.as_deref()?;
        let place = names.binary_search_by(|other| in_lower_case(other).cmp(in_lower_case(name))).ok()?;
        Some(&names[place])
    }
}

fn in_lower_case(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(u8::to_ascii_lowercase)
}
