//! HTTP/1.1 messages as bytes: where each begins and ends, and what its head says. Whatever more than one server could read in
//! more than one way is an error and goes no further; what goes on is built anew from what was understood.
//!
//! [`RequestHead`] is read from a client's bytes, [`read_head`] and [`FramedBody`] read the responses of UCS. Nothing here knows
//! what a request is for, opens a socket, or makes a response.

mod buffers;
mod chunks;
pub(crate) mod encode;
mod error;
mod fast_path;
mod field_names;
mod fields;
mod head;
mod limits;
mod lines;
mod request_head;
mod request_line;
mod response;
mod syntax;
mod trailers;
pub(crate) mod writer;

pub use buffers::{Buffer, Buffers};
pub(crate) use buffers::{copied_part, room_for};
pub use error::RequestError;
pub use field_names::FieldNames;
pub use fields::{FieldLine, Fields};
pub use limits::HeadLimits;
pub(crate) use request_head::Framing;
pub use request_head::{Expectations, RequestHead};
pub use response::{
    BodyEvent, FramedBody, HEAD_BYTES, RESPONSE_LIMITS, ResponseError, ResponseHead, declared_length, read_head,
};
