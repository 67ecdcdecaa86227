//! Control through its front door, and what its tests share.

pub mod support;
