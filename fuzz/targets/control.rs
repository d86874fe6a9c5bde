//! Any message of a client of the subprotocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| notifier::invariants::control(input));
