//! The side of UCS: connections and their pool, the exchange that holds a permit, and forwarding of requests.

pub mod body;
mod connection;
pub(crate) mod drain_watch;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod pool;
mod request;
