//! The options of a message's `Connection` field: the fields that they name are dropped at this hop.

use super::names::is_end_to_end;
use crate::http1::{FieldNames, Fields};

/// RFC 9110, 7.6.1: the fields that `Connection` names are for this hop only. The names of framing fields and of `Host` have no
/// effect: these describe the message, and a client must not be able to remove them.
pub(super) struct ConnectionOptions(FieldNames);

impl ConnectionOptions {
    pub(super) fn by(fields: &Fields) -> ConnectionOptions {
        // The usual options name no field that would pass otherwise.
        let is_usual = |list: &[u8]| {
            list == b"keep-alive" || list.eq_ignore_ascii_case(b"close") || list.eq_ignore_ascii_case(b"keep-alive")
        };
        let mut lists = fields.values("connection");
        ConnectionOptions(if lists.all(is_usual) {
            FieldNames::default()
        } else {
            FieldNames::by(fields.values("connection").filter(|list| !is_usual(list)), |name| !is_end_to_end(name))
        })
    }

    #[inline]
    pub(super) fn removes(&self, name: &[u8]) -> bool {
        self.0.has(name)
    }
}
