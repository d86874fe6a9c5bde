//! Any headers of a request, a line each.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    shared::invariants::headers(input);
    notifier::invariants::headers(input);
    ingest::invariants::headers(input);
});
