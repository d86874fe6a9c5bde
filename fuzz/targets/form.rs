//! Any form, decoded and encoded again.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shared::invariants::form(input));
