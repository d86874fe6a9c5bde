//! How fast a session has to take what it is sent, and for how long it may not.
//!
//! **Owns** the windows in which a session that is behind is measured, and the wait for its socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::engine::Limits;

/// How much a session that is behind has taken lately.
#[derive(Debug, Default)]
pub(super) struct Lag {
    window_start: Option<Instant>,
    taken: usize,
    ending_since: Option<Instant>,
}

impl Lag {
    pub(super) fn took(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    pub(super) fn window_start(&mut self) -> Instant {
        *self.window_start.get_or_insert_with(Instant::now)
    }

    pub(super) fn ending_since(&mut self) -> Instant {
        *self.ending_since.get_or_insert_with(Instant::now)
    }

    /// At the end of a window: whether too little was taken in it. Begins the next.
    pub(super) fn is_too_slow(&mut self, limits: &Limits) -> bool {
        let least = limits.min_rate_bytes as f64 * limits.lag_timeout.as_secs_f64();
        let taken = std::mem::take(&mut self.taken);
        self.window_start = None;
        (taken as f64) < least
    }
}

/// What a wait for a socket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// It takes more.
    Writable,
    /// The time is over.
    TimeIsUp,
    /// The connection is gone.
    Gone,
}

/// A wait for a socket. It is made when there is one to wait for: most sessions are idle, and would carry
/// its memory with them.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Waited> + Send>>;

/// Waits until the socket takes more, where that is waited for, at most until `limit`.
pub(super) fn wait(stream: Arc<TcpStream>, for_room: bool, limit: Instant) -> Waiting {
    Box::pin(async move {
        let room = async { if for_room { stream.writable().await } else { std::future::pending().await } };
        match timeout_at(limit, room).await {
            Ok(Ok(())) => Waited::Writable,
            Ok(Err(_)) => Waited::Gone,
            Err(_) => Waited::TimeIsUp,
        }
    })
}

/// The outcome of a wait, where there is one.
pub(super) async fn waited(waiting: &mut Option<Waiting>) -> Waited {
    match waiting {
        Some(waiting) => waiting.as_mut().await,
        None => std::future::pending().await,
    }
}
