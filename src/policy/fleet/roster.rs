//! The sum of the acknowledgements of a roster.

use super::words::{Entry, Word};
use crate::policy::flip::Failure;
use crate::policy::mode::DrainOutcome;

/// The acknowledgements of one switching record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Every member has acknowledged it.
    pub is_full: bool,
    /// Members that will be in the mode.
    pub in_mode: usize,
    /// A member lacks its profile schema.
    pub lacks_schema: bool,
    /// The weakest of their words.
    pub drain: DrainOutcome,
}

/// Counts the acknowledgements of exactly this revision.
pub(crate) fn acknowledged<'e>(revision: u64, roster: impl Iterator<Item = &'e Entry> + Clone) -> Acknowledged {
    let acks = || roster.clone().map(|entry| entry.ack.filter(|ack| ack.revision == revision));
    let words = || acks().flatten().map(|ack| ack.word);
    Acknowledged {
        is_full: acks().all(|ack| ack.is_some()),
        in_mode: words().filter(|word| *word == Word::InMode).count(),
        lacks_schema: words().any(|word| word == Word::NoSchema),
        drain: acks().flatten().map(|ack| ack.drain).max().unwrap_or(DrainOutcome::Complete),
    }
}

impl Acknowledged {
    /// Why production is not settled although every member has acknowledged it: none is in it.
    pub(crate) fn refusal(self) -> Option<Failure> {
        match self {
            Acknowledged { in_mode: 1.., .. } => None,
            Acknowledged { lacks_schema: true, .. } => Some(Failure::NoSchema),
            Acknowledged { lacks_schema: false, .. } => Some(Failure::Upstream),
        }
    }
}
