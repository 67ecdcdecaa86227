//! The fleet part of control: the keys in the shared store, the operators' commands on them, and one member with its
//! operations on the store, its clock and its file. It decides nothing about the mode: `policy::fleet` does.

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
