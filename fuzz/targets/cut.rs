//! Any event, cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ingest::invariants::cut(input));
