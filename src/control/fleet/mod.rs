//! A fleet as control sees it: what its keys in the shared store hold, what operators change there by commands, and the
//! operations of a member on the store.

pub(crate) mod founding;
pub(crate) mod keys;
pub(crate) mod operators;
#[cfg_attr(not(test), allow(dead_code, reason = "for the members in control, which come next"))]
mod ops;
pub(crate) mod sight;
pub(crate) mod view;

#[cfg(test)]
mod tests;
