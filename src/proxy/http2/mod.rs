//! HTTP/2 with clients, by h2: it maps each stream to a request of the one handler, and its responses back. What h2 has no timer
//! for is here: unfinished heads, unread responses, floods of control frames. UCS gets HTTP/1.1.

mod connection;
mod fields;
mod frames;
mod incoming;
mod interim;
mod open_stream;
mod outgoing;
mod request;
mod socket;
mod stream;
mod unwritten;
mod watched;

pub(crate) use connection::serve;
pub(crate) use incoming::StreamBody;
