//! The side of UCS: connections and their pool, the exchange that holds a permit, and forwarding of requests.

pub(crate) mod body;
mod client_task;
mod connection;
pub(crate) mod drain_watch;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod forward;
mod gathered;
mod gave_up;
pub(crate) mod pace;
pub(crate) mod pool;
mod queue;
mod request;
pub(crate) mod source;
