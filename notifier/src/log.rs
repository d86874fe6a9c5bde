//! The log as the parts of this replica share it: written by the feed, read by every session.
//!
//! **Owns** the lock around the ring, the announcement of a new head, and what is known of the feed's
//! state. **May not touch** the broker or a socket.

use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::ring::{Reach, Ring};

/// Whether this replica hears the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedState {
    /// It has not filled its ring yet: there is nothing to read.
    Starting,
    /// Events arrive as they are stored.
    Live,
    /// Nothing arrives since this moment, in milliseconds since 1970.
    Stalled { since_ms: u64 },
}

/// The shared log.
#[derive(Debug)]
pub(crate) struct Log {
    ring: RwLock<Option<Ring>>,
    head: watch::Sender<u64>,
    feed: watch::Sender<FeedState>,
}

impl Log {
    /// A log that nobody can read yet.
    pub(crate) fn new() -> Log {
        Log { ring: RwLock::new(None), head: watch::Sender::new(0), feed: watch::Sender::new(FeedState::Starting) }
    }

    /// Opens it with what the ring was filled with.
    pub(crate) fn open(&self, ring: Ring) {
        let head = ring.head_index();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring);
        self.head.send_replace(head);
    }

    /// Changes the ring, once it is open, and tells everybody of the new head.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Ring)) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = ring.as_mut() {
            change(ring);
            self.head.send_replace(ring.head_index());
        }
    }

    /// Reads the ring; nothing where it is not open yet. No wait may happen inside.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Ring) -> T) -> Option<T> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(read)
    }

    /// What lies at an index.
    pub(crate) fn at(&self, index: u64) -> Reach {
        self.read(|ring| ring.at(index)).unwrap_or(Reach::Head)
    }

    /// The index of the next item, announced whenever it moves.
    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The feed's state, announced whenever it changes.
    pub(crate) fn feed(&self) -> watch::Receiver<FeedState> {
        self.feed.subscribe()
    }

    /// Notes that the feed hears the broker.
    pub(crate) fn live(&self) {
        self.feed.send_if_modified(|now| std::mem::replace(now, FeedState::Live) != FeedState::Live);
    }

    /// Notes that it does not, since `since_ms` unless it did not before.
    pub(crate) fn stalled(&self, since_ms: u64) {
        self.feed.send_if_modified(|now| match now {
            FeedState::Stalled { .. } => false,
            FeedState::Starting | FeedState::Live => {
                *now = FeedState::Stalled { since_ms };
                true
            }
        });
    }
}
