//! Texts of the control channel, both ways.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz::checks::control_json(data));
