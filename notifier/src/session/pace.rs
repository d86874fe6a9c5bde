//! For how long a session may be slow, and the wait for its socket.
//!
//! **Owns** the account of what a session that is behind takes, and of how long its last frame may take.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use shared::pace::{Least, Pace};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// How much a session that is behind has taken lately.
#[derive(Debug, Default)]
pub(super) struct Lag {
    pace: Pace,
    ending_since: Option<Instant>,
}

impl Lag {
    /// Its socket took some bytes.
    pub(super) fn took(&mut self, bytes: usize) {
        self.pace.took(bytes, std::time::Instant::now());
    }

    /// Its socket takes nothing now; returns when to look at it again.
    pub(super) fn blocked(&mut self, least: &Least) -> Instant {
        self.pace.blocked(std::time::Instant::now(), least).into()
    }

    /// Whether it has been waited for long enough, and took too little.
    pub(super) fn is_too_slow(&mut self, least: &Least) -> bool {
        self.pace.is_too_slow(std::time::Instant::now(), least)
    }

    pub(super) fn ending_since(&mut self) -> Instant {
        *self.ending_since.get_or_insert_with(Instant::now)
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
