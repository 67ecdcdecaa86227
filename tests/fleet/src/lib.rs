//! Model-checks the fleet protocol: the files that the gateway runs, with their model (`model`), in a package
//! of their own, so that it is optimised and built in seconds. It contains nothing but stand-ins for the modes.
#![cfg(test)]
// The parts that only the gateway uses.
#![allow(dead_code, unused_imports)]

mod policy;
