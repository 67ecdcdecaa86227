//! The flip as a value: the state of the mode and of the change under way, and the one function that steps it. Pure: no I/O,
//! no async, no clock. `control` performs the effects and feeds the events; a flip that was requested and a flip that a
//! start found unfinished run the same steps.
//!
//! `mode::apply` makes the records; this module decides when which one is saved and published.

mod state;
mod step;

pub(crate) use state::{
    Applied, Brief, Effect, Event, Failure, NextRecord, Outcome, RecordKind, State, Step, Ticket, UpstreamAnswer, Wish,
};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
