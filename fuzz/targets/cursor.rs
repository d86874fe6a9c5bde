//! Any text in a cursor's place.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shared::invariants::cursor(input));
