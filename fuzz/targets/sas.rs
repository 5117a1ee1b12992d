//! Tokens and connection strings.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz::checks::sas(data));
