//! The options of a message's `Connection` field: the fields that they name are dropped at this hop.

use super::names::is_end_to_end;
use crate::http1::{FieldLine, FieldNames, Fields, KnownName};

/// RFC 9110, 7.6.1: the fields that `Connection` names are for this hop only. The names of framing fields and of `Host` have no
/// effect: these describe the message, and a client must not be able to remove them.
pub(super) struct ConnectionOptions(FieldNames);

impl ConnectionOptions {
    pub(super) fn by(fields: &Fields) -> ConnectionOptions {
        if !fields.has(KnownName::Connection) {
            return ConnectionOptions(FieldNames::default());
        }
        // The usual options name no field that would pass otherwise.
        let is_usual = |list: &[u8]| {
            list == b"keep-alive" || list.eq_ignore_ascii_case(b"close") || list.eq_ignore_ascii_case(b"keep-alive")
        };
        let lists = || fields.values_of(KnownName::Connection).filter(|list| !is_usual(list));
        ConnectionOptions(if lists().next().is_none() {
            FieldNames::default()
        } else {
            FieldNames::by(lists(), |name| !is_end_to_end(KnownName::of(name)))
        })
    }

    /// Whether they name this field, in any case.
    #[inline]
    pub(super) fn remove(&self, name: &[u8]) -> bool {
        self.0.has(name)
    }

    /// Whether they name the field of this line.
    #[inline]
    pub(super) fn remove_line(&self, line: &FieldLine<'_>) -> bool {
        !self.0.is_empty() && self.0.has(line.name())
    }
}
