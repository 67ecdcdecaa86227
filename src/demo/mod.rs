//! A stand-in UCS: a small HTTP/1.1 server that behaves as the public documentation of UCS 8.1 Context Services says.
//! The `demo` command and the tests put it where a UCS would be. It keeps everything in memory, knows nothing of the
//! gateway, and proves nothing about a real UCS where the documentation is silent; such guesses are marked where they
//! are made.
//!
//! Reading order: `server` (connections and the course of one request), `operations` (the table of operations),
//! `kinds` (the table of resources), `actions` and `extensions` (the work of the operations), `store` (the data),
//! `mode_switch` (its own Server Mode), `control` (settings that change while it runs), `record` (the exchanges).

mod actions;
mod call;
mod control;
mod extensions;
mod kinds;
mod mode_switch;
mod operations;
mod options;
mod record;
mod response;
mod seed;
mod server;
mod stand_in;
mod store;

pub use control::Control;
pub use options::StandInOptions;
pub use record::Exchange;
pub use stand_in::StandIn;
