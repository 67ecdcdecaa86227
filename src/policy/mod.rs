//! Classifies requests, and decides whether a mode admits them. Pure: no I/O, no async, no clock, no HTTP library.

pub mod analysis;
pub(crate) mod duration;
pub mod explain;
pub(crate) mod fleet;
pub(crate) mod flip;
pub mod mode;
pub mod path;
pub mod routes_yaml;
pub(crate) mod strict_yaml;
pub mod table;
pub(crate) mod upstream_mode;
pub(crate) mod written_time;
