//! A fleet as control sees it: what its keys in the shared store hold, and what operators change there by commands.

pub(crate) mod founding;
pub(crate) mod keys;
pub(crate) mod operators;
