//! The stream behind the ring, for readers the ring has left behind.
//!
//! **Owns** the reading of stretches of stored events: shared between the sessions that need the same one,
//! and bounded in how many are read at once, wait, and are kept. **May not** delay the feed or know of a
//! session. It reads by direct get in batches, which leaves nothing behind on the broker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, Message, StatusCode, jetstream};
use futures_util::StreamExt;
use shared::stream::{self, StreamError};
use shared::subject;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use crate::chunk::{Chunk, ChunkBuilder, Place};
use crate::metrics::StoreMetrics;
use crate::walk::{Request, Stretch};

/// Messages of one stretch.
const STRETCH_MESSAGES: u64 = 512;
/// Bytes of one stretch; a message larger than this still comes, alone.
const STRETCH_BYTES: u64 = 4 << 20;
/// Stretches that are kept for the next reader on the same way.
const STRETCHES_KEPT: usize = 8;
/// Readers that may wait for their turn, for each that may read.
const WAITING_A_READER: usize = 64;
/// For the broker's next message of a batch.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a stretch was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// As many readers as may wait are waiting.
    #[error("too many readers are catching up")]
    Busy,
    /// The broker does not answer.
    #[error("the broker does not answer")]
    Away,
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

type Cell = OnceCell<Arc<Stretch>>;

/// Reads stretches.
#[derive(Debug)]
pub(crate) struct Store {
    client: async_nats::Client,
    context: jetstream::Context,
    stream: String,
    readers: Semaphore,
    waiting: Semaphore,
    shared: Mutex<Shared>,
    metrics: StoreMetrics,
}

/// Stretches being read or read lately.
#[derive(Debug, Default)]
struct Shared {
    known: HashMap<Request, Weak<Cell>>,
    kept: VecDeque<Arc<Cell>>,
}

impl Store {
    pub(crate) fn new(
        client: &async_nats::Client,
        context: jetstream::Context,
        stream: String,
        readers_max: u32,
        metrics: StoreMetrics,
    ) -> Store {
        let readers = readers_max as usize;
        Store {
            client: client.clone(),
            context,
            stream,
            readers: Semaphore::new(readers),
            waiting: Semaphore::new(readers * WAITING_A_READER),
            shared: Mutex::default(),
            metrics,
        }
    }

    /// The stretch a reader needs; one that several need at the same time is read once.
    pub(crate) async fn stretch(&self, request: Request) -> Result<Arc<Stretch>, StoreError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| StoreError::Busy)?;
        let cell = self.cell(request);
        let read = cell.get_or_try_init(async || {
            // The semaphore is never closed.
            let _reader = self.readers.acquire().await.map_err(|_| StoreError::Busy)?;
            self.metrics.read();
            self.read(request).await.map(Arc::new)
        });
        read.await.cloned()
    }

    fn cell(&self, request: Request) -> Arc<Cell> {
        // Both collections hold whole values at any moment a panic could strike.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = shared.known.get(&request).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(Cell::new());
        shared.known.retain(|_, cell| cell.strong_count() > 0);
        shared.known.insert(request, Arc::downgrade(&cell));
        shared.kept.push_back(Arc::clone(&cell));
        if shared.kept.len() > STRETCHES_KEPT {
            shared.kept.pop_front();
        }
        cell
    }

    async fn read(&self, request: Request) -> Result<Stretch, StoreError> {
        let info = stream::info(&self.context, &self.stream).await?;
        let epoch = stream::epoch_of(&info)?;
        let first_kept = info.state.first_sequence;
        let after = request.after.max(first_kept.saturating_sub(1));
        if epoch != request.epoch || after >= info.state.last_sequence {
            return Ok(Stretch { chunks: Vec::new(), through: after.max(request.after), first_kept, epoch });
        }
        let (mut chunks, mut batch) = (Vec::new(), ChunkBuilder::new(epoch));
        let mut through = None;
        let inbox = self.client.new_inbox();
        let mut messages = self.client.subscribe(inbox.clone()).await.map_err(|_| StoreError::Away)?;
        self.ask(after, inbox).await?;
        loop {
            let waited = timeout(MESSAGE_TIMEOUT, messages.next()).await;
            let message = waited.ok().flatten().ok_or(StoreError::Away)?;
            match message.status {
                None => {
                    let place = place(message.headers.as_ref()).ok_or(StoreError::Away)?;
                    through = Some(place.sequence);
                    add(&mut batch, &mut chunks, place, &message);
                }
                // Nothing is left, up to the last sequence the stream's leader knew before.
                Some(StatusCode::NOT_FOUND) => {
                    through = through.or(Some(info.state.last_sequence));
                    break;
                }
                Some(status) if status.as_u16() == END_OF_BATCH => break,
                Some(_) => return Err(StoreError::Away),
            }
        }
        chunks.extend(batch.take().map(Arc::new));
        // A batch without a message that does not say that there is none must not pass for a hole.
        let through = through.ok_or(StoreError::Away)?;
        Ok(Stretch { chunks, through, first_kept, epoch })
    }

    async fn ask(&self, after: u64, inbox: String) -> Result<(), StoreError> {
        let request = serde_json::json!({
            "seq": after + 1,
            "batch": STRETCH_MESSAGES,
            "max_bytes": STRETCH_BYTES,
            "next_by_subj": subject::EVENTS_ALL,
        });
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        let sent = self.client.publish_with_reply(subject, inbox, request.to_string().into()).await;
        sent.map_err(|_| StoreError::Away)
    }
}

/// The status of the message that ends a batch.
const END_OF_BATCH: u16 = 204;

fn add(batch: &mut ChunkBuilder, chunks: &mut Vec<Arc<Chunk>>, place: Place, message: &Message) {
    if let Err(reason) = batch.push(place, &message.payload) {
        tracing::error!(sequence = place.sequence, %reason, "a stored message is not an event and is left out");
    }
    if batch.is_full() {
        chunks.extend(batch.take().map(Arc::new));
    }
}

/// The place of a message got directly: its reply subject says nothing, its headers do.
fn place(headers: Option<&HeaderMap>) -> Option<Place> {
    let header = |name: &str| headers?.get(name).map(|value| value.as_str());
    let sequence = header(async_nats::header::NATS_SEQUENCE.as_ref())?.parse().ok()?;
    let stored = humantime::parse_rfc3339(header(async_nats::header::NATS_TIME_STAMP.as_ref())?).ok()?;
    let since = stored.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Place { sequence, stored_ms: u64::try_from(since.as_millis()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_message_is_the_same_however_it_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Sequence", "42");
        headers.insert("Nats-Time-Stamp", "2026-01-02T03:04:05.678999999Z");
        let expected = Place { sequence: 42, stored_ms: 1_767_323_045_678 };
        assert_eq!(place(Some(&headers)), Some(expected));
        headers.insert("Nats-Time-Stamp", "2026-01-02T03:04:05Z");
        assert_eq!(place(Some(&headers)).map(|place| place.stored_ms), Some(1_767_323_045_000));
        assert_eq!(place(None), None);
    }
}
