//! See `targets::state_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ucs_gateway_fuzz::targets::state_file(bytes));
