//! The notifier against a real broker, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

mod bounds;
mod catchup;
mod control;
mod drain;
mod erasures;
mod export;
mod feed;
mod http;
mod large;
mod limits;
mod live;
mod origins;
mod program;
mod protocol;
mod restricted;
mod resume;
mod signed_in;
mod sse;
mod stats;
mod stored;
mod storm;
mod support;
mod tokens;
