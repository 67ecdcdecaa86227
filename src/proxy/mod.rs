//! How bytes move: from a client's connection through the gate to UCS and back. Nothing here decides what a request is
//! (`policy`) or changes the mode (`control`).

pub mod access_log;
pub mod account;
mod answers;
pub mod body;
pub mod buffers;
pub mod bulkhead;
mod connection;
mod drain_watch;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod headers;
mod pages;
pub mod pool;
pub mod reply;
pub mod respond;
mod sending;
mod serving;
pub mod wire;
pub mod worker;
