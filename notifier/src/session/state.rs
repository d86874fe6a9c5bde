//! What a session's lock guards.
//!
//! **Owns** who writes to the socket, and the little that is remembered for a client. Pure.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use shared::close::Close;
use tokio::time::Instant;

use super::Opening;
use super::outbox::Outbox;
use crate::access::Access;
use crate::control::Control;
use crate::erased::Erasure;
use crate::filter::Filter;
use crate::log::FeedState;
use crate::walk::Walk;

/// One stay with a worker: what belongs to an earlier one means nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held(u32);

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Its own task.
    Task,
    /// Nobody: it is on its way to the worker, with nothing to write.
    Joining,
    /// The worker.
    Worker,
}

/// A session's state.
#[derive(Debug)]
pub(super) struct State {
    /// Empty while a worker holds it.
    pub(super) outbox: Outbox,
    pub(super) walk: Walk,
    pub(super) filter: Option<Arc<Filter>>,
    /// The filter the client asks for. What it sees passes this and its token's.
    pub(super) asked: Option<Arc<Filter>>,
    pub(super) access: Access,
    /// What is to hold next, once all of the old filter's events are written.
    pub(super) change: Option<Box<Change>>,
    /// Whether the client takes control frames.
    pub(super) control: bool,
    pub(super) holder: Holder,
    pub(super) held: Held,
    /// Its last frame is in the outbox, or written.
    pub(super) ending: Option<Close>,
    /// The connection is.
    pub(super) gone: bool,
    /// Pings it may still leave unanswered before it is taken for gone.
    patience: u8,
    /// The client was told to move.
    pub(super) told_to_go: bool,
    /// The last sequence the client has, or was told of.
    pub(super) told: u64,
    /// Whether events were sent since the position was last looked at.
    pub(super) sent_lately: bool,
    /// What it was told of the feed.
    pub(super) told_feed: FeedState,
    /// Since when the client's messages are counted, and how many there were.
    heard: (Option<Instant>, u16),
}

/// What a client's messages have changed, and which answers it is owed for that: one of each kind, however
/// often it asks.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// It has asked for another filter.
    pub(super) filter: bool,
    /// It has sent a newer token, which ends then.
    pub(super) token: Option<u64>,
}

/// Messages a client may send in a window; pings count. A client has little to say, and each costs a turn.
const MESSAGES_A_WINDOW: u16 = 200;
const WINDOW: Duration = Duration::from_secs(10);
/// Pings a client may leave unanswered.
const PINGS_UNANSWERED_MAX: u8 = 1;
/// The same where events wait for its socket. What the kernel holds already comes before the ping, and takes
/// more than one interval at the least pace that is allowed.
const PINGS_UNANSWERED_BEHIND_MAX: u8 = 2;

impl State {
    pub(super) fn new(opening: Opening) -> State {
        State {
            told: opening.walk.cursor().sequence,
            outbox: Outbox::default(),
            walk: opening.walk,
            filter: opening.access.narrow(opening.asked.as_ref()),
            asked: opening.asked,
            access: opening.access,
            change: None,
            control: opening.control,
            holder: Holder::Task,
            held: Held(0),
            ending: None,
            gone: false,
            patience: PINGS_UNANSWERED_MAX,
            told_to_go: false,
            sent_lately: false,
            told_feed: FeedState::Live,
            heard: (None, 0),
        }
    }

    /// Its own task writes from here on.
    pub(super) fn take_back(&mut self) {
        self.holder = Holder::Task;
        self.held = Held(self.held.0.wrapping_add(1));
    }

    /// Something has come from the client.
    pub(super) fn heard_from(&mut self) {
        self.patience = self.patience.max(PINGS_UNANSWERED_MAX);
    }

    /// Whether the client is to be pinged once more; one that has left too many unanswered is taken for gone.
    /// While anything waits for its socket it is only judged by its pace.
    pub(super) fn asks_again(&mut self) -> bool {
        if !self.outbox.is_empty() {
            self.patience = PINGS_UNANSWERED_BEHIND_MAX;
            return true;
        }
        let left = self.patience.checked_sub(1);
        self.patience = left.unwrap_or_default();
        left.is_some()
    }

    /// Whether the client may send another message; counts it.
    pub(super) fn allows_another(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.heard;
        match since {
            Some(since) if now.duration_since(*since) < WINDOW => *count = count.saturating_add(1),
            Some(_) | None => (*since, *count) = (Some(now), 1),
        }
        *count <= MESSAGES_A_WINDOW
    }

    /// What the client is told of an erasure, where it takes control frames and may know of the person.
    pub(super) fn word_of(&self, erasure: &Erasure) -> Option<BytesMut> {
        let may_be_told = self.control && erasure.may_be_told(self.access.filter().map(|filter| &**filter));
        may_be_told.then(|| Control::Erased { recipient: erasure.tombstone.recipient }.frame())
    }

    /// Events up to here were sent, or wait in the outbox.
    pub(super) fn sent(&mut self, sequence: u64) {
        self.sent_lately = true;
        if self.filter.is_none() {
            self.told = sequence;
        }
    }
}
