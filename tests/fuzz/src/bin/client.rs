//! See `targets::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ucs_gateway_fuzz::targets::client(bytes));
