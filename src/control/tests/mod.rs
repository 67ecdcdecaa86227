//! Control as a whole, through its handle, with the helpers of its tests.

mod flip;
mod start;
pub mod support;
mod upstream;
