//! Addresses, queries and URLs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz::checks::address(data));
