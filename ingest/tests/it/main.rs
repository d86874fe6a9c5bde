//! ingest as Mandrill and the broker see it: real sockets, a real `nats-server`.
#![allow(unreachable_pub)] // one test binary: nothing in it is reachable
#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

mod answers;
mod attack;
mod cluster;
mod duplicates;
mod faults;
mod fixtures;
mod harness;
mod large;
mod limits;
mod origins;
mod program;
mod stream;
mod telemetry;
