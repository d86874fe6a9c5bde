//! Ports for servers that are told their number, and that may go and come again under it.
//!
//! **Owns** the choice. The kernel gives connections and listeners on port 0 numbers of a range of its own; one
//! from that range is soon somebody else's while its server is down. These are from below it.

use std::net::TcpListener;

/// Below the range of every system's own choice (Linux begins at 32768), above what services are known by.
const RANGE: std::ops::Range<u16> = 12_000..32_000;
const TRIES: usize = 100;

/// A port nobody listens on.
#[must_use]
pub fn free() -> u16 {
    (0..TRIES)
        .map(|_| rand::random_range(RANGE))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
