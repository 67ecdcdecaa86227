//! What a request is, and whether a mode admits it. Pure: no I/O, no async, no clock, no HTTP library.

pub mod duration;
pub mod explain;
mod matcher;
pub mod mode;
pub mod path;
pub mod proof;
pub mod routes;
pub mod routes_yaml;
mod segments;
