//! The preamble of two bridges, both ways.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz::checks::preamble(data));
