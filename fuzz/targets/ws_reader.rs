//! Frames, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viaduct_fuzz::checks::ws_reader(data));
