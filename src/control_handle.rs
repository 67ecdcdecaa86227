//! The control handle: where either line, and every operator, asks control for a change and waits for the answer. It decides
//! nothing and holds nothing; `control` works it off, one ask after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::policy::mode::{ModeChange, ModeRecord};

/// How many asks may wait before a further one is told that the gateway is busy.
const QUEUE_LENGTH: usize = 64;

/// The asking side: cheap to clone, usable from every thread.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    asks: mpsc::Sender<Command>,
    schema_hint: Arc<SchemaHint>,
}

/// The answering side, held by `control` alone.
#[derive(Debug)]
pub struct CommandReceiver {
    /// What was asked, in order.
    pub asks: mpsc::Receiver<Command>,
    /// What requests made one doubt about the profile schema.
    pub schema_hint: Arc<SchemaHint>,
}

/// One ask, with the place for its answer.
#[derive(Debug)]
pub enum Command {
    /// Change the mode; answered when it settled, failed or was refused.
    SetMode(ModeChange, oneshot::Sender<Result<Flipped, ChangeError>>),
    /// Read the route table again.
    Reload(oneshot::Sender<Result<Reloaded, ReloadError>>),
}

/// What requests noticed about the profile schema: UCS answered 404 to a route that needs it.
#[derive(Debug, Default)]
pub struct SchemaHint {
    create_refused: AtomicBool,
    noticed: Notify,
}

impl SchemaHint {
    /// Waits until a request noticed something.
    pub async fn noticed(&self) {
        self.noticed.notified().await;
    }

    /// Takes (and forgets) whether UCS answered 404 to Create Customer Profile.
    pub fn take_create_refused(&self) -> bool {
        self.create_refused.swap(false, Ordering::AcqRel)
    }
}

/// A change that ended well.
#[derive(Clone, Debug)]
pub struct Flipped {
    /// The settled record.
    pub record: Arc<ModeRecord>,
    /// What the flip did.
    pub report: FlipReport,
}

/// What a flip did: how long it drained, what it waited for, what it gave up on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlipReport {
    /// Whether anything changed (false: the mode was already there).
    pub changed: bool,
    /// Milliseconds from the first publication to the end of the drain.
    pub drain_ms: u64,
    /// In flight when the drain began, by operation.
    pub waited_for: Vec<OperationCount>,
    /// Given up on by the gateway while draining or shortly before: UCS may have gone on with these.
    pub abandoned: Vec<OperationCount>,
    /// Still in flight at the deadline.
    pub still_running: Vec<OperationCount>,
}

/// So many of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationCount {
    /// The operation's name in the route table.
    pub operation: String,
    /// Its class.
    pub class: String,
    /// How many.
    pub count: u64,
}

/// Why a change did not happen. Each carries the record that is in force.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError {
    /// `if_revision` named another revision.
    #[error("the record is at revision {}, not at the one that was named", .0.revision)]
    Stale(Arc<ModeRecord>),
    /// Another flip, or a reload, is under way.
    #[error("another change is under way")]
    Busy(Arc<ModeRecord>),
    /// Production was asked for while no profile schema is defined.
    #[error("no profile schema is defined at UCS")]
    NoSchema(Arc<ModeRecord>),
    /// A later ask for the old mode took this flip back.
    #[error("the flip was cancelled")]
    Cancelled(Arc<ModeRecord>),
    /// UCS refused Set Server Mode, or its outcome could not be learned.
    #[error("UCS did not change its mode: {detail}")]
    Upstream {
        /// The record in force again.
        record: Arc<ModeRecord>,
        /// What UCS said.
        detail: String,
        /// What the flip did until then.
        report: FlipReport,
    },
    /// The drain was not over at its deadline; the old mode is in force again.
    #[error("the drain was not over at its deadline, the old mode is in force again")]
    Deadline {
        /// The record in force again.
        record: Arc<ModeRecord>,
        /// What was waited for and what still runs.
        report: FlipReport,
    },
    /// The record could not be saved; the old mode is in force.
    #[error("the change could not be saved: {detail}")]
    NotDurable {
        /// The record in force.
        record: Arc<ModeRecord>,
        /// The error of the store, whole.
        detail: String,
    },
    /// The gateway is shutting down or its control line is gone.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl ChangeError {
    /// The word for this failure: on both ports, as the cause of a reverted record, and in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            ChangeError::Stale(_) => "stale",
            ChangeError::Busy(_) => "switching",
            ChangeError::NoSchema(_) => "no_profile_schema",
            ChangeError::Cancelled(_) => "cancelled",
            ChangeError::Upstream { .. } => "upstream_refused",
            ChangeError::Deadline { .. } => "drain_timeout",
            ChangeError::NotDurable { .. } => "not_durable",
            ChangeError::ShuttingDown => "shutting_down",
        }
    }

    /// The same failure, with the record that is in force by now.
    pub fn with_record(mut self, now: Arc<ModeRecord>) -> ChangeError {
        match &mut self {
            ChangeError::Stale(record)
            | ChangeError::Busy(record)
            | ChangeError::NoSchema(record)
            | ChangeError::Cancelled(record)
            | ChangeError::Upstream { record, .. }
            | ChangeError::Deadline { record, .. }
            | ChangeError::NotDurable { record, .. } => *record = now,
            ChangeError::ShuttingDown => {}
        }
        self
    }

    /// The record in force; `None` when nobody can tell any more.
    pub fn record(&self) -> Option<Arc<ModeRecord>> {
        match self {
            ChangeError::Stale(record)
            | ChangeError::Busy(record)
            | ChangeError::NoSchema(record)
            | ChangeError::Cancelled(record)
            | ChangeError::Upstream { record, .. }
            | ChangeError::Deadline { record, .. }
            | ChangeError::NotDurable { record, .. } => Some(Arc::clone(record)),
            ChangeError::ShuttingDown => None,
        }
    }
}

/// A table that was swapped in.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// The new table's generation.
    pub generation: u32,
    /// How many routes it has.
    pub routes: usize,
    /// Whether its content differs from the one before.
    pub changed: bool,
    /// Requests of the old table that were still running when this was answered.
    pub still_running: u64,
}

/// Why the table in force stays in force.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read or has faults: all of them, each with its place.
    #[error("the route table was not replaced:\n{0}")]
    Faults(String),
    /// A flip is under way.
    #[error("a flip is under way; reload after it")]
    Busy,
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl ControlHandle {
    /// A control handle and the inbox behind it.
    pub fn new() -> (ControlHandle, CommandReceiver) {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let schema_hint = Arc::new(SchemaHint::default());
        let inbox = CommandReceiver { asks: receiver, schema_hint: Arc::clone(&schema_hint) };
        (ControlHandle { asks: sender, schema_hint }, inbox)
    }

    /// Asks for a change and waits for its end, which may take the drain timeout and longer.
    pub async fn set_mode(&self, change: ModeChange) -> Result<Flipped, ChangeError> {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Command::SetMode(change, sender)).await.map_err(|_| ChangeError::ShuttingDown)?;
        receiver.await.unwrap_or(Err(ChangeError::ShuttingDown))
    }

    /// Asks for a reload of the route table and waits for its end.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Command::Reload(sender)).await.map_err(|_| ReloadError::ShuttingDown)?;
        receiver.await.unwrap_or(Err(ReloadError::ShuttingDown))
    }

    /// Tells control that UCS answered 404 to a route with `needs_profile_schema`; `create` when it was Create Customer
    /// Profile. Only a hint: the probe decides.
    pub fn hint_schema(&self, create: bool) {
        if create {
            self.schema_hint.create_refused.store(true, Ordering::Release);
        }
        self.schema_hint.noticed.notify_one();
    }
}

/// The longest that a caller should wait for a flip beyond its drain timeout: UCS's own wait and two saves.
pub const FLIP_SLACK: Duration = Duration::from_secs(120);
