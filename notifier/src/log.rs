//! The log as the parts of this replica share it: written by the feed, read by every session.
//!
//! **Owns** the lock around the ring, the announcement of a new head, and what is known of the feed's
//! state. **May not touch** the broker or a socket.

use std::sync::{PoisonError, RwLock};

use shared::cursor::Epoch;
use tokio::sync::watch;

use crate::erased::Tombstone;
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
    erased: watch::Sender<Option<Met>>,
    applied: watch::Sender<Option<Met>>,
}

/// A tombstone that this replica has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) epoch: Epoch,
    pub(crate) tombstone: Tombstone,
    /// The item that follows it.
    pub(crate) next: u64,
}

impl Log {
    /// A log that nobody can read yet.
    pub(crate) fn new() -> Log {
        Log {
            ring: RwLock::new(None),
            head: watch::Sender::new(0),
            feed: watch::Sender::new(FeedState::Starting),
            erased: watch::Sender::new(None),
            applied: watch::Sender::new(None),
        }
    }

    /// Opens it with what the ring was filled with.
    pub(crate) fn open(&self, ring: Ring) {
        let head = ring.head_index();
        // Somebody may wait already for one that was met while it was filled.
        let newest = ring.erased().newest().copied();
        let met = newest.map(|tombstone| Met { epoch: ring.epoch(), tombstone, next: head });
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring);
        self.head.send_replace(head);
        self.erased.send_replace(met);
    }

    /// Changes the ring, once it is open, and tells everybody of the new head.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Ring)) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = ring.as_mut() {
            change(ring);
            self.head.send_replace(ring.head_index());
        }
    }

    /// Changes the ring, and takes a person's events out of it, for everybody who reads it from here on.
    pub(crate) fn erase(&self, tombstone: Tombstone, change: impl FnOnce(&mut Ring)) {
        let mut met = None;
        self.change(|ring| {
            change(ring);
            ring.erase(tombstone);
            met = Some(Met { epoch: ring.epoch(), tombstone, next: ring.head_index() });
        });
        self.erased.send_replace(met);
    }

    /// The newest tombstone that was met, announced whenever there is one.
    pub(crate) fn erased(&self) -> watch::Receiver<Option<Met>> {
        self.erased.subscribe()
    }

    /// Notes that nothing of this replica shows any more what a tombstone covers, nor what those before it cover.
    pub(crate) fn applied(&self, met: Met) {
        self.applied.send_replace(Some(met));
    }

    /// The newest tombstone of which nothing is shown any more, announced whenever there is one.
    pub(crate) fn fully_applied(&self) -> watch::Receiver<Option<Met>> {
        self.applied.subscribe()
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
