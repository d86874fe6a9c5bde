//! Any path and query, as a request's target has them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| notifier::invariants::query(input));
