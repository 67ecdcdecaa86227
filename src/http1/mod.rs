//! The bytes of HTTP/1.1 on both sides, and where each message begins and ends in them. Whatever more than one server could
//! read in more than one way is a fault and goes no further; what goes on is built anew from what was understood.
//!
//! [`ClientInput`] reads what a client sends, [`read_head`] and [`FramedBody`] what UCS answers. [`WireState`] is what a client's
//! connection shares with the worker's sweeper. Nothing here answers, or knows what a request is for.

mod answer;
mod chunks;
mod classes;
mod client;
mod fault;
mod fields;
mod head;
mod limits;
mod plain;
mod request_line;
mod state;

#[cfg(test)]
mod cases;

pub use answer::{ANSWER_LIMITS, AnswerFault, AnswerHead, FramedBody, HEAD_BYTES, Taken, read_head, told_length};
pub use client::{Asks, BodyFailed, ClientBody, ClientInput, Next, RequestHead, Scratch};
pub use fault::WireFault;
pub use fields::{FieldLine, Fields};
pub use limits::WireLimits;
pub use state::{DiscardLimits, WireState};
