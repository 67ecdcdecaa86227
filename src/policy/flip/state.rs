//! The words of a flip: its state, its events and its effects.

use crate::policy::mode::{DrainOutcome, Mode, OnTimeout};

/// Names a requester, whose reply is with the caller.
pub(crate) type Ticket = u64;

/// The part of a record on which a flip depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Brief {
    pub revision: u64,
    /// The mode; while switching, the target.
    pub mode: Mode,
    pub switching: bool,
}

/// The mode of one gateway, and the change under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The record in force: the one that was published last.
    pub(super) in_force: Brief,
    /// The store may not hold the record in force: saving it is retried.
    pub(super) unsaved: bool,
    /// The highest revision of any attempted save; a later record is always above it.
    pub(super) tried: u64,
    /// The save under way. It is never given up: its outcome decides.
    pub(super) saving: Option<Saving>,
    pub(super) flip: Option<Flip>,
    /// The gateway stops: it takes no further change.
    pub(super) stopping: bool,
}

/// A save, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Saving {
    pub record: Brief,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// A step of the flip.
    Flip,
    /// A change without a flip, for this requester.
    Note(Ticket),
    /// Another attempt to save the record in force.
    Retry,
}

/// The change of the mode under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flip {
    pub target: Mode,
    pub on_timeout: OnTimeout,
    /// UCS may lack its profile schema, or be gone.
    pub force: bool,
    pub step: Step,
    /// The requesters: the first one, and those that joined.
    pub tickets: Vec<Ticket>,
    pub cancel: Option<Ticket>,
    /// Why the old mode is being restored.
    pub failure: Option<Failure>,
    pub drain: DrainOutcome,
    /// UCS may have been set to the target.
    pub touched_upstream: bool,
}

/// The step of a flip, by what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// For one look at the profile schema. Nothing has changed yet.
    Look,
    /// For the save of the switching record.
    Announce,
    /// For the requests that only the old mode admits.
    Drain,
    /// For the end of the requests that were cut, and their grace.
    Cut,
    /// For UCS's own Set Server Mode.
    Upstream,
    /// For the save of the settled record.
    Settle,
    /// After a crash: for the grace of the requests that the killed gateway left at UCS.
    Grace,
    /// For the save of the record that restores the old mode.
    Restore,
}

/// Why a flip does not settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    DrainTimeout,
    /// UCS did not go to production.
    Upstream,
    /// UCS did not go to production because it has no profile schema.
    NoSchema,
    Cancelled,
    /// The settled record could not be saved.
    NotDurable,
    ShuttingDown,
    /// A crash left the flip unfinished.
    Recovered,
    /// In a fleet: at the limit members had not acknowledged it.
    MemberMissing,
}

impl Failure {
    const CAUSES: [(Failure, &str); 8] = [
        (Failure::DrainTimeout, "drain_timeout"),
        (Failure::Upstream, "upstream_refused"),
        (Failure::NoSchema, "no_profile_schema"),
        (Failure::Cancelled, "cancelled"),
        (Failure::NotDurable, "not_durable"),
        (Failure::ShuttingDown, "shutting_down"),
        (Failure::Recovered, "recovered"),
        (Failure::MemberMissing, "member_missing"),
    ];

    /// The cause of the record that restores the old mode.
    pub(crate) fn cause(self) -> &'static str {
        Failure::CAUSES.iter().find(|(failure, _)| *failure == self).map_or("", |(_, cause)| cause)
    }

    /// The failure behind the cause of a record.
    pub(crate) fn of_cause(cause: &str) -> Option<Failure> {
        Failure::CAUSES.iter().find(|(_, known)| *known == cause).map(|(failure, _)| *failure)
    }
}

/// The result for a requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The flip has settled.
    Settled,
    /// The requested mode was in force, and is durable with the additions of the request.
    InForce,
    /// The request cancelled the flip, durably.
    Restored,
    /// The request names another revision.
    Stale,
    /// Another change is under way, or the change is not due.
    Busy,
    /// There is no profile schema.
    NoSchema,
    /// The record could not be saved. The old mode is in force.
    NotDurable,
    ShuttingDown,
    /// The flip failed, and the old mode is in force.
    Failed(Failure),
}

/// A requested change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    pub ticket: Ticket,
    pub mode: Mode,
    /// A requester waits for it. Other changes neither join nor cancel a flip.
    pub requested: bool,
    /// The result of `mode::apply` for it and the record in force.
    pub applied: Applied,
    pub on_timeout: OnTimeout,
    pub force: bool,
    /// It wants production without `force`, and there is no profile schema.
    pub lacks_schema: bool,
}

/// The consequence of a change for a settled record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Applied {
    /// The change names another revision.
    Stale,
    /// The change is not due.
    Refused,
    /// It cancels the scheduled flip while another is under way: it waits for the end of that one.
    Later,
    /// The same record.
    Same,
    /// A record of the same mode.
    Noted,
    /// A flip.
    Flip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Requested(Wish),
    /// The look at the profile schema is over.
    Looked {
        undefined: bool,
    },
    /// The drain, or the drain after a cut, is over: complete, or its time is up.
    Drained {
        complete: bool,
    },
    UpstreamAnswered(UpstreamAnswer),
    /// The grace after a crash is over.
    GraceOver,
    /// The save under way is over.
    SaveEnded {
        saved: bool,
    },
    /// Time to save the record in force again.
    RetryDue,
    Stop,
}

/// The outcome of UCS's own Set Server Mode, verified by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UpstreamAnswer {
    /// UCS reports the target, or has no mode of its own.
    InStep,
    /// UCS has no profile schema.
    NoSchema,
    /// UCS cannot be reached or does not know the operation: `force` goes on without it.
    Absent,
    /// UCS refused, said yes and did not do it, or did not respond in time.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// Save this record; the response is [`Event::SaveEnded`].
    Save(NextRecord),
    /// Publish the record that was just saved.
    Publish,
    /// Publish the record that could not be saved, and retry saving it: the old mode must be restored.
    KeepUnsaved,
    /// Begin the work of this step, whose end is an event. The work of any other step is dropped.
    Begin(Step),
    /// Set UCS back to the mode in force, in the background.
    SetUpstreamBack(Failure),
    Reply(Ticket, Outcome),
    /// Request it again once nothing is under way.
    Wait(Ticket),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NextRecord {
    pub revision: u64,
    pub kind: RecordKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RecordKind {
    /// The change of this requester, applied to the record in force.
    Requested(Ticket),
    /// The flip under way, settled.
    Settled(DrainOutcome),
    /// The old mode, signed by the requester that cancels.
    Cancelled(Ticket),
    /// The old mode, signed by the gateway.
    Reverted(Failure),
    /// The record in force, again.
    Same,
}
