//! What tests of every crate need (feature `testing`): a real broker, wires to it that fail, services as processes,
//! requests signed as Mandrill's, and a WebSocket client that may be a bad one.
//!
//! Panics where a test cannot go on: nothing here runs in a service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod authority;
pub mod broker;
pub mod http;
pub mod log;
pub mod port;
pub mod process;
pub mod program;
pub mod proxy;
pub mod sse;
pub mod websocket;

use std::future::Future;
use std::time::Duration;

/// How long a test waits for something that must happen before it is called a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The future's result, within [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("still not after {PATIENCE:?}: {what}"),
    }
}

/// Waits until a condition holds, within [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
