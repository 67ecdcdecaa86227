//! The words of `policy::flip`, which the protocol shares.

#[path = "../../../../src/policy/flip/state.rs"]
mod state;

pub(crate) use state::{
    Applied, Brief, Effect, Event, Failure, NextRecord, Outcome, RecordKind, State, Step, Ticket, UpstreamAnswer, Wish,
};
