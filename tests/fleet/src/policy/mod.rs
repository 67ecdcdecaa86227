//! The gateway's own `policy::fleet`, and what it uses.

#[path = "../../../../src/policy/fleet/mod.rs"]
pub(crate) mod fleet;
pub(crate) mod flip;
pub(crate) mod mode;
