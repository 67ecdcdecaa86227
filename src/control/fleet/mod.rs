//! A fleet as control sees it: what its keys in the shared store hold, what operators change there by commands, and one
//! member: its operations on the store, its clock, and what it keeps on the disk.

pub(crate) mod founding;
pub(crate) mod keys;
pub(super) mod membership;
pub(super) mod memory;
pub(crate) mod operators;
pub(super) mod ops;
pub(crate) mod rehearsal;
mod roster_hints;
pub(crate) mod sight;
pub(super) mod timers;
pub(crate) mod view;

#[cfg(test)]
mod tests;
