//! The local close in force, and the changes of it that are not saved yet.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::control_handle::ChangeError;
use crate::policy::mode::{LocalChange, LocalLog};

pub(super) type LocalReply = oneshot::Sender<Result<(), ChangeError>>;

/// The local close in force, and its changes.
pub(super) struct LocalClose {
    pub log: LocalLog,
    /// The change that is being saved, with its result.
    pub saving: Option<(LocalChange, LocalLog, LocalReply)>,
    pub waiting: VecDeque<(LocalChange, LocalReply)>,
}

impl LocalClose {
    pub(super) fn new(log: LocalLog) -> LocalClose {
        LocalClose { log, saving: None, waiting: VecDeque::new() }
    }
}
