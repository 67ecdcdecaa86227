//! The options of a message's `Connection` field: the fields that they name end at this hop.

use super::names::is_of_the_message;
use crate::http1::{FieldNames, Fields};

/// RFC 9110, 7.6.1: who names a header in `Connection` means it for this hop. Names of framing and of `Host` do nothing:
/// these describe the message that goes on, and a client must not be able to take them away.
pub(super) struct ConnectionOptions(FieldNames);

impl ConnectionOptions {
    pub(super) fn by(fields: &Fields) -> ConnectionOptions {
        // The usual words name nothing that would pass otherwise.
        let is_usual = |list: &[u8]| {
            list == b"keep-alive" || list.eq_ignore_ascii_case(b"close") || list.eq_ignore_ascii_case(b"keep-alive")
        };
        let mut lists = fields.values("connection").filter(|list| !is_usual(list)).peekable();
        ConnectionOptions(if lists.peek().is_some() { FieldNames::by(lists) } else { FieldNames::default() })
    }

    #[inline]
    pub(super) fn takes(&self, name: &[u8]) -> bool {
        self.0.has(name) && !is_of_the_message(name)
    }
}
