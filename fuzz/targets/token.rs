//! Any text in a token's place, any header and claims under a good signature, any change of a good token.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| notifier::invariants::token(input));
