//! Requested changes without a result yet, and their requesters.

use tokio::sync::oneshot;

use crate::control_handle::{ChangeError, Flipped};
use crate::policy::mode::{Change, Mode};

pub(super) type Ended = Result<Flipped, ChangeError>;

/// A change that was requested, and its requester.
pub(super) struct Request {
    pub change: Change,
    pub requester: Requester,
}

/// The recipient of the result of a change.
pub(super) enum Requester {
    Command(oneshot::Sender<Ended>),
    /// The record's own end.
    Expiry,
    /// The scheduled flip, in words.
    Scheduled(String),
    /// A scheduled flip is given up.
    GiveUp,
    EndForce,
    /// The automatic switch to maintenance, by its cause.
    Close(&'static str),
    /// UCS is followed to maintenance; with the words of its refusal of production, if it refused.
    Follow(Option<String>),
    /// UCS went to production past the gateway, which enters the history.
    Moved,
    /// The first mode that UCS reports replaces a guess.
    Adopt(Mode),
}

impl From<oneshot::Sender<Ended>> for Requester {
    fn from(reply: oneshot::Sender<Ended>) -> Requester {
        Requester::Command(reply)
    }
}
