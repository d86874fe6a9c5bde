//! Any bytes on a client's WebSocket.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| notifier::invariants::frames(input));
