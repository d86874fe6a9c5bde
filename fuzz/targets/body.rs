//! Any request body, judged with and without keys.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ingest::invariants::body(input));
