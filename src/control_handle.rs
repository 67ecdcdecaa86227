//! The control handle: the channel for mode changes and reloads, and their results. It contains no policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::policy::mode::{DrainReport, LocalChange, ModeChange, ModeRecord, OperationCount};

/// The capacity of the channel; further requesters wait for room.
const QUEUE_LENGTH: usize = 64;

/// The sending side: cheap to clone, usable from every thread.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    commands: mpsc::Sender<Command>,
    schema_hint: Arc<SchemaHint>,
}

/// The receiving side, for `control`.
#[derive(Debug)]
pub struct CommandReceiver {
    /// The commands, in order.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Hints of requests about the profile schema.
    pub(crate) schema_hint: Arc<SchemaHint>,
}

/// One command, with the sender for its result.
#[derive(Debug)]
pub(crate) enum Command {
    /// Change the mode; the result is sent when the change has settled, failed or been rejected.
    SetMode(ModeChange, oneshot::Sender<Result<Flipped, ChangeError>>),
    /// Close or open this gateway alone; the result is sent once it is in force and saved. At any time, during a flip too.
    SetLocal(LocalChange, oneshot::Sender<Result<(), ChangeError>>),
    /// Give a sign of life.
    Ping(oneshot::Sender<()>),
    /// A principal has sent a request past the mode, for the history.
    NoteBypass(BypassUse),
    /// Read the route table again.
    Reload(ReloadWhen, oneshot::Sender<Result<Reloaded, ReloadError>>),
}

/// A request that a principal has sent past the mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BypassUse {
    /// The principal's name.
    pub(crate) principal: String,
    /// The operation's name.
    pub(crate) operation: String,
}

/// The behaviour of a reload while a flip is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadWhen {
    /// It fails as busy.
    Now,
    /// It waits for the end of the flip.
    AfterFlip,
}

/// A hint that the profile schema may be missing: UCS returned 404 for a route that needs it.
#[derive(Debug, Default)]
pub(crate) struct SchemaHint {
    create_refused: AtomicBool,
    noticed: Notify,
}

impl SchemaHint {
    pub(crate) async fn noticed(&self) {
        self.noticed.notified().await;
    }

    /// Returns and clears whether UCS returned 404 for Create Customer Profile.
    pub(crate) fn take_create_refused(&self) -> bool {
        self.create_refused.swap(false, Ordering::AcqRel)
    }
}

/// A successful change.
#[derive(Clone, Debug)]
pub(crate) struct Flipped {
    pub record: Arc<ModeRecord>,
    pub report: FlipReport,
}

/// The report of a flip: the time of its drain, and the requests that it waited for or abandoned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FlipReport {
    /// Whether anything changed; false if the mode was already in force.
    pub changed: bool,
    /// Milliseconds from the first publication to the end of the drain.
    pub drain_ms: u64,
    /// In flight when the drain began, by operation.
    pub waited_for: Vec<OperationCount>,
    /// Abandoned by the gateway since the old mode was last drained: UCS may still have carried these out.
    pub abandoned: Vec<OperationCount>,
    /// Still in flight at the drain timeout.
    pub still_running: Vec<OperationCount>,
}

impl FlipReport {
    /// The part that the record keeps.
    pub(crate) fn of_the_drain(&self) -> DrainReport {
        let FlipReport { changed: _, drain_ms, waited_for, abandoned, still_running } = self.clone();
        let bounded = OperationCount::bounded;
        DrainReport {
            drain_ms,
            waited_for: bounded(waited_for),
            abandoned: bounded(abandoned),
            still_running: bounded(still_running),
            ..DrainReport::default()
        }
    }
}

/// The reason why a change failed, with the record in force.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// `if_revision` named another revision.
    #[error("the record is at revision {}, not at the requested one", .0.revision)]
    Stale(Arc<ModeRecord>),
    #[error("another change is under way")]
    Busy(Arc<ModeRecord>),
    #[error("no profile schema is defined in UCS")]
    NoSchema(Arc<ModeRecord>),
    /// A later change back to the old mode cancelled this flip.
    #[error("the flip was cancelled; {} is in force", .0.mode)]
    Cancelled(Arc<ModeRecord>),
    /// UCS refused Set Server Mode, or its outcome is unknown.
    #[error("UCS did not change its mode: {detail}; {} is in force", .record.mode)]
    Upstream { record: Arc<ModeRecord>, detail: String, report: FlipReport },
    #[error("requests were still running at the drain timeout; {} is in force again", .record.mode)]
    Deadline { record: Arc<ModeRecord>, report: FlipReport },
    /// The record could not be saved; the old mode is in force.
    #[error("the change could not be saved: {detail}")]
    NotDurable { record: Arc<ModeRecord>, detail: String },
    /// Members of the fleet did not acknowledge the flip in time; the old mode is in force again. The record names them.
    #[error("members of the fleet have not acknowledged the flip: {}; {} is in force", named(&.record.missing), .record.mode)]
    MemberMissing {
        record: Arc<ModeRecord>,
        /// The report of the gateway that was asked.
        report: FlipReport,
    },
    /// The store of the fleet does not respond: whether the change is made is not known. With the last known record.
    #[error("the store of the fleet does not respond; whether the change is made is not known")]
    StoreUnavailable(Option<Arc<ModeRecord>>),
    /// Why this gateway takes no part in its fleet.
    #[error("this gateway is not in its fleet: {0}")]
    NotInFleet(String),
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

/// The names of members, as far as the record has them.
fn named(members: &[String]) -> String {
    if members.is_empty() { "see the history".to_owned() } else { members.join(", ") }
}

impl ChangeError {
    /// The word for this failure: on both ports, as the cause of a reverted record, and in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            ChangeError::Stale(_) => "stale",
            ChangeError::Busy(_) => "switching",
            ChangeError::NoSchema(_) => "no_profile_schema",
            ChangeError::Cancelled(_) => "cancelled",
            ChangeError::Upstream { .. } => "upstream_refused",
            ChangeError::Deadline { .. } => "drain_timeout",
            ChangeError::NotDurable { .. } => "not_durable",
            ChangeError::MemberMissing { .. } => "member_missing",
            ChangeError::StoreUnavailable(_) | ChangeError::NotInFleet(_) => "store_unavailable",
            ChangeError::ShuttingDown => "shutting_down",
        }
    }

    /// The record in force; `None` when control has stopped.
    pub(crate) fn record(&self) -> Option<Arc<ModeRecord>> {
        match self {
            ChangeError::Stale(record)
            | ChangeError::Busy(record)
            | ChangeError::NoSchema(record)
            | ChangeError::Cancelled(record)
            | ChangeError::Upstream { record, .. }
            | ChangeError::Deadline { record, .. }
            | ChangeError::MemberMissing { record, .. }
            | ChangeError::NotDurable { record, .. } => Some(Arc::clone(record)),
            ChangeError::StoreUnavailable(record) => record.clone(),
            ChangeError::NotInFleet(_) | ChangeError::ShuttingDown => None,
        }
    }
}

/// A successful reload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reloaded {
    /// The new table's generation.
    pub generation: u32,
    pub routes: usize,
    /// Whether its content differs from the previous table.
    pub changed: bool,
    /// Requests of the old table that are still running.
    pub still_running: u64,
}

/// The reason why the old table stays in force.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The file cannot be read or has faults; each is listed with its place.
    #[error("the route table was not replaced:\n{0}")]
    Faults(String),
    #[error("a flip is under way; reload after it")]
    Busy,
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl ControlHandle {
    /// A control handle and its receiver.
    pub fn new() -> (ControlHandle, CommandReceiver) {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let schema_hint = Arc::new(SchemaHint::default());
        let inbox = CommandReceiver { commands: receiver, schema_hint: Arc::clone(&schema_hint) };
        (ControlHandle { commands: sender, schema_hint }, inbox)
    }

    /// Requests a change and waits for its result, which may take longer than the drain timeout.
    pub(crate) async fn set_mode(&self, change: ModeChange) -> Result<Flipped, ChangeError> {
        self.ask(|reply| Command::SetMode(change, reply), ChangeError::ShuttingDown).await
    }

    /// Requests a local close or its end, and waits for its result.
    pub(crate) async fn set_local(&self, change: LocalChange) -> Result<(), ChangeError> {
        self.ask(|reply| Command::SetLocal(change, reply), ChangeError::ShuttingDown).await
    }

    /// Notes a use of a bypass. If control has no room for it, the log and the metrics have it nevertheless.
    pub(crate) fn note_bypass(&self, bypass: BypassUse) {
        let _ = self.commands.try_send(Command::NoteBypass(bypass));
    }

    /// Requests a reload of the route table and waits for its result.
    pub(crate) async fn reload(&self, when: ReloadWhen) -> Result<Reloaded, ReloadError> {
        self.ask(|reply| Command::Reload(when, reply), ReloadError::ShuttingDown).await
    }

    /// Sends a command and waits for its result; `stopped` if control has ended.
    async fn ask<T, E>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
        stopped: E,
    ) -> Result<T, E> {
        let (sender, receiver) = oneshot::channel();
        if self.commands.send(command(sender)).await.is_err() {
            return Err(stopped);
        }
        receiver.await.unwrap_or(Err(stopped))
    }

    /// Waits for a sign of life of control; false if it has ended.
    pub(crate) async fn is_alive(&self) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Ping(sender)).await.is_ok() && receiver.await.is_ok()
    }

    /// Notifies control that UCS returned 404 for a route with `needs_profile_schema`; `create` if it was Create Customer
    /// Profile. Only a hint: the probe decides.
    pub(crate) fn hint_schema(&self, create: bool) {
        if create {
            self.schema_hint.create_refused.store(true, Ordering::Release);
        }
        self.schema_hint.noticed.notify_one();
    }
}
