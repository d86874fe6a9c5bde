//! Answers about stored events.
//!
//! **Owns** what a query sees: the newest part of the stream from the ring, what lies behind from the store,
//! each event once; how much work one query may be, and how many there may be at once. **May not** know of
//! HTTP. [`back`] reads newest first, [`forward`] oldest first; both meet events through a [`Wanted`].
//!
//! Whose events were erased is left out of whatever was read, when it becomes a part of an answer and once more
//! when the answer is given: the store may answer from before, and a query takes its time.
//!
//! Before anything is read the feed has reached the last sequence the stream had when the query came: what was
//! acknowledged before is in the answer. While the feed is stalled the store alone answers, or nobody does.

mod back;
mod counts;
mod forward;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::cursor::{Cursor, Epoch};
use shared::subject::RecipientHash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::chunk::{Chunk, ChunkBuilder, Entry, Place};
use crate::erased::Erased;
use crate::filter::subjects::Subjects;
use crate::filter::{Filter, wants};
use crate::log::{FeedState, Log};
use crate::ring::{GapReason, Ring};
use crate::storage::{Most, Storage, StorageError, Stored};

pub(crate) use counts::Counts;
pub(crate) use forward::Forward;

/// How long the feed may take to reach the stream's last sequence.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
/// After this long without reaching it, the store is asked whether there is anything to reach.
const REACH_DOUBT: Duration = Duration::from_millis(250);
/// Events one query looks at behind the ring.
const LOOKED_AT_MAX: usize = 20_000;
/// How long one query goes on looking.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one page's events; the first comes whatever its size.
const PAGE_BYTES: usize = 4 << 20;
/// What is asked of the store at once.
const PIECE: Most = Most { events: 512, bytes: 2 << 20 };
/// What an index may find at once.
const FEW: Most = Most { events: 1000, bytes: PAGE_BYTES };
/// Chunks of the ring that are looked at between two waits.
const CHUNKS_AT_ONCE: usize = 16;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// As many as may are under way.
    #[error("too many queries")]
    Busy,
    /// The store does not answer, or the stream changed under the query.
    #[error("{0}")]
    Store(String),
    /// The cursor's events cannot be given.
    #[error("the cursor leads nowhere: {0:?}")]
    Gone(GapReason),
}

impl From<StorageError> for QueryError {
    fn from(error: StorageError) -> QueryError {
        QueryError::Store(error.to_string())
    }
}

/// Which events a query is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) filter: Option<Arc<Filter>>,
    /// Stored at this time or later, in milliseconds since 1970.
    pub(crate) from: Option<u64>,
    /// Stored before this time.
    pub(crate) to: Option<u64>,
    /// Stored there, where that is known more exactly than the filter says.
    pub(crate) subjects: Option<Subjects>,
}

impl Wanted {
    fn holds(&self, entry: &Entry) -> bool {
        let ms = entry.place.stored_ms;
        self.from.is_none_or(|from| from <= ms)
            && self.to.is_none_or(|to| ms < to)
            && wants(self.filter.as_deref(), &entry.labels)
    }

    fn subjects(&self) -> Subjects {
        let by_filter = || self.filter.as_ref().map(|filter| filter.subjects().clone());
        self.subjects.clone().or_else(by_filter).unwrap_or_default()
    }
}

/// An event of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) place: Place,
    /// Whose it is.
    pub(crate) recipient: Option<RecipientHash>,
    /// Its JSON text, with `_cursor` and `_received` in front.
    pub(crate) text: Bytes,
}

/// A part of an answer.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) hits: Vec<Hit>,
    /// Where to go on; nothing where nothing follows.
    pub(crate) next: Option<Place>,
}

/// Where stored events are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    log: Arc<Log>,
    storage: Arc<dyn Storage>,
    places: Arc<Semaphore>,
    /// Answers that last for as long as their clients take leave places to the others.
    downloads: Arc<Semaphore>,
}

impl Archive {
    pub(crate) fn new(log: Arc<Log>, storage: Arc<dyn Storage>, queries_max: u32) -> Archive {
        let places = |count: u32| Arc::new(Semaphore::new(count.max(1) as usize));
        Archive { log, storage, places: places(queries_max), downloads: places(queries_max / 2) }
    }

    /// A place among exports and originals of large events, beside the one that every query has.
    pub(crate) fn download_place(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        Arc::clone(&self.downloads).try_acquire_owned().map_err(|_| QueryError::Busy)
    }

    /// What is stored beside events.
    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// A place among the queries; given back when it is dropped.
    fn place(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| QueryError::Busy)
    }

    /// Begins a query: it sees everything that was acknowledged before.
    pub(crate) async fn view(&self) -> Result<View, QueryError> {
        let place = self.place()?;
        let span = self.storage.span().await?;
        let mut view = View {
            log: Arc::clone(&self.log),
            storage: Arc::clone(&self.storage),
            epoch: span.epoch,
            first: span.first,
            last: span.last,
            ring_counts: false,
            _place: place,
        };
        view.ring_counts = view.reached().await?;
        if let Some(head) = view.ring(Ring::head) {
            view.last = view.last.max(head.sequence);
        }
        Ok(view)
    }
}

/// What one query sees.
#[derive(Debug)]
pub(crate) struct View {
    log: Arc<Log>,
    storage: Arc<dyn Storage>,
    epoch: Epoch,
    /// The first sequence that is kept.
    first: u64,
    /// The last sequence the query is for.
    last: u64,
    /// Whether the ring has the newest part of what the query is for.
    ring_counts: bool,
    _place: OwnedSemaphorePermit,
}

impl View {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Waits until the feed has heard all the query is for; says whether it has.
    async fn reached(&self) -> Result<bool, QueryError> {
        let (mut head, deadline) = (self.log.head(), Instant::now() + REACH_TIMEOUT);
        let mut doubt = Instant::now() + REACH_DOUBT;
        loop {
            head.mark_unchanged();
            let known = self.log.read(|ring| (ring.epoch(), ring.head().sequence));
            let Some((epoch, sequence)) = known.filter(|_| *self.log.feed().borrow() == FeedState::Live) else {
                return Ok(false);
            };
            if epoch != self.epoch || Instant::now() >= deadline {
                return Ok(false);
            }
            if sequence >= self.last || self.first > self.last {
                return Ok(true);
            }
            if timeout_at(doubt.min(deadline), head.changed()).await.is_err() {
                // The stream's last messages may have been deleted: then there is nothing to wait for.
                let everything = Subjects::default();
                let rest = self.storage.range(&everything, sequence, self.last, Most { events: 1, bytes: 1 }).await?;
                if rest.events.is_empty() && rest.through == self.last {
                    return Ok(true);
                }
                doubt = deadline;
            }
        }
    }

    /// Reads the ring, where it counts for this query.
    pub(crate) fn ring<T>(&self, read: impl FnOnce(&Ring) -> T) -> Option<T> {
        self.log.read(|ring| (self.ring_counts && ring.epoch() == self.epoch).then(|| read(ring))).flatten()
    }

    /// The ring's answer, or that the stream is another one by now.
    fn still<T>(&self, read: impl FnOnce(&Ring) -> T) -> Result<T, QueryError> {
        self.ring(read).ok_or_else(|| QueryError::Store("the stream was made anew meanwhile".into()))
    }

    /// Whose events are erased by now.
    fn erased(&self) -> Arc<Erased> {
        let known = self.log.read(|ring| Arc::clone(ring.erased()));
        known.unwrap_or_else(|| Arc::new(Erased::nobody(self.epoch)))
    }

    fn is_erased(&self, hit: &Hit) -> bool {
        let is_erased = |ring: &Ring| ring.erased().covers(self.epoch, hit.recipient, hit.place);
        self.log.read(is_erased).unwrap_or(false)
    }

    /// The events of a chunk that are wanted, oldest first.
    fn hits<'a>(&self, chunk: &'a Chunk, wanted: &'a Wanted) -> impl DoubleEndedIterator<Item = Hit> + use<'a> {
        let erased = self.erased();
        let entries = chunk.entries().iter().enumerate().filter(move |(_, entry)| {
            wanted.holds(entry) && !erased.covers(chunk.epoch(), entry.recipient, entry.place)
        });
        entries.map(|(at, entry)| Hit { place: entry.place, recipient: entry.recipient, text: chunk.text(at) })
    }

    /// A page as it is given: without those who were erased while it was put together.
    fn given(&self, mut page: Page) -> Page {
        page.hits.retain(|hit| !self.is_erased(hit));
        page
    }

    /// Refuses a cursor that is not of this stream.
    async fn check(&self, cursor: &Cursor) -> Result<(), QueryError> {
        let gone = Err(QueryError::Gone(GapReason::Epoch));
        if cursor.epoch != self.epoch || cursor.sequence > self.last {
            return gone;
        }
        let Some(before) = cursor.sequence.checked_sub(1) else { return Ok(()) };
        let in_ring = self.ring(|ring| ring.chunks_after(before, 1).first()?.place_of(cursor.sequence)).flatten();
        let known = match in_ring {
            Some(place) => Some(place),
            None if cursor.sequence < self.first => None,
            None => {
                let most = Most { events: 1, bytes: 1 };
                let found = self.storage.range(&Subjects::default(), before, cursor.sequence, most).await?;
                found.events.first().map(|stored| stored.place)
            }
        };
        if known.is_some_and(|place| !place.is_same_time(cursor.stored_ms)) { gone } else { Ok(()) }
    }

    /// The sequences that may hold what is wanted: after the first, up to the second. Each event's time is
    /// compared as well.
    async fn bounds(&self, wanted: &Wanted) -> Result<(u64, u64), QueryError> {
        let mut lower = self.first.saturating_sub(1);
        if let Some(from) = wanted.from {
            // The newest events may be in the ring only.
            let none = self.ring(Ring::floor).unwrap_or(self.last);
            lower = lower.max(self.storage.first_since(from).await?.map_or(none, |first| first - 1));
        }
        let upper = match wanted.to {
            Some(to) => self.storage.first_since(to).await?.map_or(self.last, |first| first - 1),
            None => self.last,
        };
        Ok((lower, upper.min(self.last)))
    }

    /// Stored events as they are sent.
    fn chunks(&self, events: Vec<Stored>) -> Vec<Chunk> {
        let (mut batch, mut chunks) = (ChunkBuilder::new(self.epoch), Vec::new());
        for Stored { place, event } in events {
            if let Err(reason) = batch.push(place, &event) {
                tracing::error!(sequence = place.sequence, %reason, "a stored message is not an event and is left out");
            }
            if batch.is_full() {
                chunks.extend(batch.take());
            }
        }
        chunks.extend(batch.take());
        chunks
    }
}

/// How far one query may look.
#[derive(Debug)]
struct Budget {
    events: usize,
    ends: Instant,
}

impl Budget {
    fn new() -> Budget {
        Budget { events: LOOKED_AT_MAX, ends: Instant::now() + LOOK_TIMEOUT }
    }

    fn spend(&mut self, events: usize) {
        self.events = self.events.saturating_sub(events);
    }

    fn is_spent(&self) -> bool {
        self.events == 0 || Instant::now() >= self.ends
    }

    /// A read of the store, unless it goes on for longer than a query may.
    async fn within<T>(&self, read: impl Future<Output = Result<T, StorageError>>) -> Result<T, QueryError> {
        let grace = self.ends.saturating_duration_since(Instant::now()) + LOOK_TIMEOUT;
        let read = timeout(grace, read).await.map_err(|_| StorageError::Away)?;
        Ok(read?)
    }
}
