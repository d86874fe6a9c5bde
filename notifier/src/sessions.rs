//! All sessions of this replica.
//!
//! **Owns** admission, the limit, and the drain: every session is counted from before its handshake is
//! answered to its last byte. **May not** know what a session sends.

use std::sync::Arc;
use std::time::Duration;

use shared::close::Close;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Refusal;
use crate::handshake::Upgrade;
use crate::log::{FeedState, Log};
use crate::session::{Session, refuse};

/// From the answer of a handshake to the socket being ours: the time a client may take to read it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long to come again where there is no room.
const NO_ROOM_RETRY_SECONDS: u16 = 5;
/// After how long to come again where the ring is being filled.
const STARTING_RETRY_SECONDS: u16 = 1;

/// The sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    log: Arc<Log>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    draining: CancellationToken,
}

impl Sessions {
    pub(crate) fn new(log: Arc<Log>, sessions_max: u32) -> Sessions {
        Sessions {
            log,
            places: Arc::new(Semaphore::new(sessions_max as usize)),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
        }
    }

    /// A place for one more session.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.draining.is_cancelled() {
            return Err(Refusal::Draining);
        }
        if *self.log.feed().borrow() == FeedState::Starting {
            let detail = "this replica has not read the stream yet";
            return Err(Refusal::NoRoom { detail, retry_seconds: STARTING_RETRY_SECONDS });
        }
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Refusal::NoRoom {
            detail: "this replica has as many sessions as it may have",
            retry_seconds: NO_ROOM_RETRY_SECONDS,
        })
    }

    /// Starts the session of a handshake that is being answered.
    pub(crate) fn start(&self, upgrade: Upgrade, place: OwnedSemaphorePermit) {
        let (log, draining) = (Arc::clone(&self.log), self.draining.clone());
        self.tasks.spawn(async move {
            if let Ok(Some((stream, unread))) = timeout(HANDSHAKE_TIMEOUT, upgrade.socket()).await {
                Session::new(stream, log).run(unread, draining).await;
            }
            drop(place);
        });
    }

    /// Tells a client that was upgraded only to be refused.
    pub(crate) fn refuse(&self, upgrade: Upgrade, close: Close) {
        self.tasks.spawn(async move {
            if let Ok(Some((stream, _))) = timeout(HANDSHAKE_TIMEOUT, upgrade.socket()).await {
                refuse(stream, close).await;
            }
        });
    }

    /// Takes no more sessions and ends those there are.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.draining.cancel();
        self.tasks.close();
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.tasks.len(), "sessions were still open at the end of the drain: leaving them");
        }
    }
}
