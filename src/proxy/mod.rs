//! The data plane: it moves requests from a client's connection through the gate to UCS, and responses back. It neither
//! classifies requests (`policy`) nor sets the mode (`control`).

pub(crate) mod access_log;
mod bypass;
mod capabilities;
pub mod class_limits;
mod classify;
pub mod client;
mod context;
mod cors;
mod handler;
pub mod headers;
mod http2;
mod incoming;
mod local;
pub(crate) mod origins;
mod outgoing;
pub mod recorder;
mod refusal;
mod request_log;
mod response;
mod settings;
mod stop;
pub(crate) mod upstream;
pub mod worker;
