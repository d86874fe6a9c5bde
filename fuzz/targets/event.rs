//! Any text, read as an event.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shared::invariants::event(input));
