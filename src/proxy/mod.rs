//! How bytes move.

pub mod headers;
pub mod wire;
