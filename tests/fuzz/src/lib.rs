//! The fuzz targets as a library: the programs of `src/bin` hand them to the fuzzer.

pub mod targets;
