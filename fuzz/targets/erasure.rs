//! Any body that asks to erase somebody.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| notifier::invariants::erasure(input));
