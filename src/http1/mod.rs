//! HTTP/1.1 messages as bytes: parsing and writing of heads, bodies and trailers. Bytes that two servers could understand
//! differently are an error. A forwarded head is written anew from its parsed parts.
//!
//! | part | files |
//! |---|---|
//! | a request's head: [`RequestHead`], its line, its fields and its errors | `head`, `request_head`, `request_line`, `error` |
//! | a response's head: [`read_response_head`] | `response` |
//! | a body by its framing, of requests and responses: `FramedBody` | `body`, `chunks`, `trailers` |
//! | field lines: `Fields` as places in a head, `FieldNames` as a list in a field | `fields`, `field_names`, `lines` |
//! | the names that are recognised: `KnownName` | `known_names` |
//! | the shared basics: character classes, the fast path for usual lines, limits | `syntax`, `fast_path`, `limits` |
//! | writing: field lines, and a whole message as fast as the peer accepts it | `encode`, `writer`, `buffers` |
//!
//! Everything works on buffers that the callers fill, except `writer`, which writes to a socket. Nothing here opens or closes
//! a connection, applies a deadline, or decides how a request is handled. `tests/differential` compares the parsers with
//! httparse and hyper.

mod body;
mod buffers;
mod chunks;
pub(crate) mod encode;
mod error;
mod fast_path;
mod field_names;
mod fields;
mod head;
mod known_names;
mod limits;
mod lines;
mod request_head;
mod request_line;
mod response;
mod syntax;
mod trailers;
pub(crate) mod writer;

pub use body::BodyEvent;
pub(crate) use body::FramedBody;
pub(crate) use buffers::{Buffer, Buffers, copied_part};
pub(crate) use error::RequestError;
pub(crate) use field_names::FieldNames;
pub(crate) use fields::{FieldLine, Fields};
pub(crate) use known_names::KnownName;
pub use limits::HeadLimits;
pub(crate) use request_head::Framing;
pub use request_head::RequestHead;
pub(crate) use response::ResponseHead;
pub(crate) use response::{HEAD_BYTES, declared_length};
pub use response::{RESPONSE_LIMITS, ResponseError, read_response_head};
pub(crate) use trailers::check_trailer;
