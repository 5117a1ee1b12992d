//! Request and response heads, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz::checks::http_head(data));
