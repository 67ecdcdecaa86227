//! The protocol of a fleet: one record in a shared store, and members that each stand before one UCS. A member is a value with
//! one step function: events (what was read, how a write ended, the end of local work, the clock) → effects. Pure: no I/O,
//! no async, no clock, no randomness. The words of a flip are those of `policy::flip`; `mode::apply` makes the records.
//!
//! A flip settles once every member has acknowledged its switching record: published it, drained, and brought its UCS into the
//! mode, or closed itself. A member learns of a record only by reading it, or by its own confirmed write. `control` and
//! the model in `tests/fleet` run these functions.

mod adopt;
mod decide;
mod member;
mod roster;
mod words;

pub(crate) use member::Member;
pub(crate) use words::{
    Ack, Closed, Effect, End, Entry, Event, Id, Memory, Op, OpEnd, Record, Shown, Tried, View, Word,
};

#[cfg(fleet_model)]
#[path = "../../../tests/fleet/src/model/mod.rs"]
mod model;
