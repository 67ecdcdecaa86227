//! ucs-gateway: a reverse proxy that enforces UCS's Server Mode. It forwards the operations that the current mode allows and
//! refuses the rest.
//!
//! Two paths run through the crate. They meet in [`gate`] and nowhere else:
//!
//! ```text
//! request  accept → canonical path → classify → gate.enter → forward → stream back → permit dropped
//! change   command → mode::apply → store.save → gate.publish → drain → store.save (settled) → response
//! ```
//!
//! The rooms, from the bottom up. An arrow points down, never up; `tests/it/architecture.rs` lists every one.

// The classification of requests and the rules of the mode. Pure: no I/O, no async, no clock.
pub mod policy;

// Admission and in-flight counts, where both paths meet.
pub mod gate;

// The channel for mode-change requests and their results. It contains no policy.
pub mod control_handle;

// SHA-256 in hex.
mod hex;

// Faults that tests inject; empty in the shipped binary.
mod faults;

// Files that are read again under the running gateway, and the watch over them.
mod files;

// Principals, their credentials and permissions.
pub mod access;

// Sockets, and the only place that names their options.
mod transport;

// One-shot calls over HTTP/1.1.
mod http_client;

// Messages of HTTP/1.1 as bytes.
pub mod http1;

// A fleet as operators see it.
mod fleet_view;

// The path of a change: the only writer of the mode.
pub mod control;

// The path of a request: how bytes move.
pub mod proxy;

// The reload of everything that comes from a file.
mod reloads;

// Logs and metrics.
pub mod telemetry;

// Whether every part gives a sign of life.
mod liveness;

// The second listener, for operators and machines.
mod admin;

// Route files, read and compiled.
mod route_file;

// The command line's settings.
pub mod config;

// The whole gateway, assembled, run and stopped.
mod launch;

// One file for each command.
pub mod cli;

// A stand-in UCS, for the demo and the tests.
pub mod demo;
