//! Control through its front door, and what its tests share.

mod flip;
mod start;
pub mod support;
mod upstream;
