//! What a request is, and whether a mode admits it. Pure: no I/O, no async, no clock, no HTTP library.

pub mod analysis;
pub mod duration;
pub mod explain;
pub mod mode;
pub mod path;
pub mod routes_yaml;
pub mod table;
