//! The notifier against a real broker, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

mod bounds;
mod catchup;
mod control;
mod drain;
mod feed;
mod http;
mod limits;
mod live;
mod protocol;
mod resume;
mod sse;
mod storm;
mod support;
