//! See `targets::connection`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ucs_gateway_fuzz::targets::connection(bytes));
