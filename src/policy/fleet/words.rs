//! The types of the protocol: the contents that a member reads, its events and its effects.

use crate::policy::flip::{Brief, Failure, NextRecord, Outcome, Step, Ticket, UpstreamAnswer, Wish};
use crate::policy::mode::{DrainOutcome, OnTimeout};

/// A random number that is never used again: of a state directory, of one joining, of one attempt to change the record.
pub(crate) type Id = u128;

/// The record, as far as the protocol depends on it. Two records are the same if these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub brief: Brief,
    /// Names a flip from its switching record to the one that ends it, and any other change alone.
    pub attempt: Id,
    /// Of a record that restores the old mode: why.
    pub failure: Option<Failure>,
    pub on_timeout: OnTimeout,
    pub force: bool,
}

impl Record {
    /// Whether this is the same record.
    pub(crate) fn is(&self, other: &Record) -> bool {
        (self.brief, self.attempt) == (other.brief, other.attempt)
    }
}

/// The acknowledgement in a member's own entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ack {
    /// The switching record that it acknowledges, and no other.
    pub revision: u64,
    pub word: Word,
    pub drain: DrainOutcome,
}

/// Whether a member will be in the mode once that is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    InMode,
    /// It is closed: its UCS is not in production.
    Behind,
    /// It is closed: its UCS has no profile schema.
    NoSchema,
    /// It is closed by an operator.
    LocalClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// The state directory to which it belongs.
    pub directory: Id,
    /// The joining that wrote it.
    pub incarnation: Id,
    pub ack: Option<Ack>,
}

/// The keys of the fleet, read in one linearizable transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// The store is the one that the fleet was made in.
    pub is_home: bool,
    pub record: Record,
    /// The store's mark of the record, for compare-and-set.
    pub token: i64,
    /// The entry under this member's name, and its mark.
    pub own: Option<(Entry, i64)>,
    /// Every other entry, if the roster was read.
    pub others: Option<Vec<Entry>>,
    /// The journal's record of the revision that was asked for.
    pub journal: Option<Record>,
}

/// The state of a member on its own disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub directory: Id,
    /// The highest revision that a linearizable read or a confirmed write has shown.
    pub highest: u64,
    /// The settled record whose mode was opened last.
    pub opened: u64,
}

/// A write to the record whose outcome is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tried {
    /// The mark of the record that it follows.
    pub token: i64,
    pub record: Record,
    pub next: NextRecord,
    /// The requester, unless it was told already.
    pub ticket: Option<Ticket>,
    /// An outcome was unknown: only the journal tells.
    pub is_unknown: bool,
}

/// One operation on the store. A member has at most one under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Read the record and the own entry, with `roster` every other entry too, and this entry of the journal.
    Read { journal: Option<u64>, roster: bool },
    /// Write the record and its entry of the journal, if the record bears its mark and the own entry bears `own`: a member
    /// that was forgotten changes nothing. `again`: the same write as before.
    Save { tried: Tried, own: i64, again: bool },
    /// Write the own entry, if it bears this mark; 0: if there is none.
    PutEntry { entry: Entry, token: i64 },
    /// Delete the own entry, if it bears this mark.
    DeleteEntry { token: i64 },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OpEnd {
    Read(View),
    /// Written, and this is the mark.
    Done(i64),
    /// The mark was another one.
    Conflict,
    /// It is known not to have been done; a failed read too.
    NotDone,
    /// It may have been done, or may be done later.
    Unknown,
}

/// The input of the step function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A change is requested: it is compared with the record of a read that is sent from now on.
    Asked(Ticket),
    /// The change, compared with the record of that read.
    Requested(Wish),
    OpEnded(OpEnd),
    /// Something may have changed, or it is time to read again.
    Resync,
    /// The store has not responded for long: the waiting requesters are told.
    StoreLost,
    /// The last read that showed the own entry is too long ago.
    Fence,
    /// The look at the profile schema is over.
    Looked {
        undefined: bool,
    },
    /// The drain, or the drain after a cut, is over: complete, or its time is up. `assumed`: it had to wait for graces of what
    /// was given up.
    Drained {
        complete: bool,
        assumed: bool,
    },
    UpstreamAnswered(UpstreamAnswer),
    /// Why this member is closed beside the record, or that it is not.
    Narrowed(Option<Word>),
    /// A member that did not begin the flip may end it.
    Turn,
    /// The whole limit of the flip has passed, by this member's own count.
    Overdue,
    Stop,
    /// No request is in flight any more, and none will come.
    Emptied,
    /// The graces of the requests that were abandoned here are over.
    GraceOver,
}

/// The output of the step function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// The state that the gate enforces from now on.
    Show(Shown),
    /// The response is [`Event::OpEnded`].
    Store(Op),
    /// Compare the change of this ticket with the record shown, for [`Event::Requested`].
    Consider(Ticket),
    Begin(Step),
    SetUpstreamBack(Failure),
    Reply(Ticket, End),
    /// An earlier process of this directory was killed: the requests that it left at UCS have the orphan grace.
    Crashed,
    /// The name belongs to another state directory.
    Refused,
    Remember(Memory),
    Left,
}

/// The reply to a requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Of(Outcome),
    /// A flip that ended with the record of this revision, which is in the journal: a later record is in force by now.
    Journalled(Outcome, u64),
    /// The store did not respond: whether the change is made is not known.
    StoreUnavailable,
}

/// The record in force here, and whether its mode is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    pub record: Record,
    pub closed: Option<Closed>,
}

/// Why single modes are closed at this member alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Closed {
    /// It has not joined, or requests of an earlier process may be running.
    Joining,
    /// The store has not confirmed it for too long.
    Fenced,
    /// The store is another one, or an older copy.
    AnotherStore,
    /// Its UCS is not in the mode.
    Behind,
    /// Its UCS has no profile schema.
    NoSchema,
    /// It stops.
    Leaving,
}

impl Closed {
    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Closed::Joining => "joining",
            Closed::Fenced => "fenced",
            Closed::AnotherStore => "another_store",
            Closed::Behind => "upstream_behind",
            Closed::NoSchema => "no_profile_schema",
            Closed::Leaving => "leaving",
        }
    }

    /// Until UCS agrees with the record.
    pub(crate) fn is_of_upstream(self) -> bool {
        matches!(self, Closed::Behind | Closed::NoSchema)
    }
}
